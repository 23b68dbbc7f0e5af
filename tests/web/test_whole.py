"""An instrument writes, the daemon measures, the web process serves, and somebody looks on."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from daemons import Daemon, kill
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan

pytest_plugins = ["browser"]

FRAMES, WELLS = 6, 4
PATIENCE_MS = 120_000  # until the next image is measured, on a busy machine
AREA = re.compile(r"[\d,.]+ (µm²|px)")
IN_TIME = 2.0  # seconds from a commit to every open page


class Web:
    """`spheroidd web` in a process of its own, always on the same port."""

    def __init__(self, config: Path) -> None:
        self.config = config
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.config.with_name("web.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spheroidd", "web", "-c", str(self.config),
                 "--port", str(self.port)],
                stderr=log,
            )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/static/icon.svg", timeout=5).close()
                return
            time.sleep(0.1)
        raise AssertionError(self.config.with_name("web.log").read_text())

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    kill(one)


@pytest.fixture
def web(daemon: Daemon) -> Iterator[Web]:
    daemon.configure(watch={"interval_minutes": 180, "scan_seconds": 2})
    one = Web(daemon.config)
    one.start()  # before the daemon: there is no database yet
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def instrument(daemon: Daemon) -> Iterator[threading.Event]:
    """Writes one plate, slowly; ends when the test does."""
    shots = plan(mixed_plates(1, WELLS, seed=5), FRAMES, size=(270, 480))
    stop = threading.Event()
    made = Instrument(daemon.export, shots, interval_seconds=1.0, pieces=1, pause_seconds=0)
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    yield stop
    stop.set()
    thread.join()


def measured(daemon: Daemon, well: str) -> int:
    return len(daemon.rows(f"SELECT 1 FROM images WHERE well = '{well}' AND state = 'measured'"))


def test_from_the_first_image_to_a_lost_connection(
    web: Web, daemon: Daemon, page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto(web.address)
    expect(page.locator("main")).to_contain_text("There is no database")
    daemon.start()
    stop: threading.Event = request.getfixturevalue("instrument")
    sentence = page.locator(".sentence").first
    expect(sentence).to_contain_text("The plate is being imaged", timeout=PATIENCE_MS)

    # The plate: a well changes while one looks on, without a reload.
    page.locator(".plate a").first.click()
    page.wait_for_url("**/plate?**")
    page.evaluate("window.sameDocument = true")
    [row] = daemon.rows("SELECT plate FROM images WHERE plate IS NOT NULL LIMIT 1")
    plate = row["plate"]
    well = page.locator('[data-well="A1"]')
    daemon.wait_until(lambda: measured(daemon, "A1") >= 1)
    expect(well).to_have_attribute("aria-label", AREA, timeout=PATIENCE_MS)
    before, count = well.get_attribute("aria-label"), measured(daemon, "A1")
    daemon.wait_until(lambda: measured(daemon, "A1") > count)
    seen = time.monotonic()
    expect(well).not_to_have_attribute("aria-label", before or "", timeout=PATIENCE_MS)
    # What a busy machine takes to draw is in it, too.
    assert time.monotonic() - seen < IN_TIME + 3
    expect(page.locator("html")).to_have_attribute("data-live", "live")

    # The slider plays through time.
    page.locator("[data-speed]").select_option("5")
    slider, first = page.locator("[data-time]"), page.locator("[data-now]")
    slider.focus()
    page.keyboard.press("Home")
    expect(first).to_have_text("0.0 h")
    page.locator("[data-play]").click()
    expect(first).not_to_have_text("0.0 h")

    # The server goes: the page says so; it comes back, and with it what was missed.
    assert web.end(signal.SIGKILL) == -signal.SIGKILL
    expect(page.locator("html")).to_have_attribute("data-live", "lost")
    expect(page.locator("[data-live-text]")).to_contain_text("lost")
    page.locator("[data-follow]").click()
    missed = measured(daemon, "A2")
    daemon.wait_until(lambda: measured(daemon, "A2") > missed)
    assert daemon.process is not None
    assert daemon.process.poll() is None  # its own life goes on
    web.start()
    expect(page.locator("html")).to_have_attribute("data-live", "live", timeout=PATIENCE_MS)
    shown = page.evaluate(
        "plate => fetch(`/api/v1/plate?plate=${encodeURIComponent(plate)}`).then(r => r.json())",
        plate,
    )
    [a2] = [one for one in shown["wells"] if one["well"] == "A2"]
    assert a2["images"] > missed
    expect(page.locator('[data-well="A2"]')).to_have_attribute("aria-label", AREA)
    assert page.evaluate("window.sameDocument")
    stop.set()

    # And the well, with its film.
    page.goto(f"{web.address}/well?plate={quote(plate, safe='')}&well=A1")
    expect(page.locator("main img").first).to_be_visible()
    assert web.end() == 0  # in order, though a page listens
    assert daemon.end() == 0
    assert os.listdir(daemon.export)  # noqa: PTH208 - the instrument's files are where they were
