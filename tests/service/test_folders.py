"""The whole daemon while one of its folders is gone or hangs: the others go on, it heals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as Pillow

import hanging
from daemons import Daemon, kill
from drawn import disc, picture

pytestmark = pytest.mark.timeout(300)

_BIND = 4096
_PATIENCE = "2"  # seconds


class Impatient(Daemon):
    """With several folders, no model (masks do not matter here), and less patience."""

    def watch(self, *roots: Path) -> None:
        self.configure(
            segmentation={"model": "none"},
            measurement={
                "pipeline": "threshold",
                "batch": {"max_images": 4, "max_wait_seconds": 0.2},
            },
        )
        settings = yaml.safe_load(self.config.read_text())
        settings["watch"] = [
            {"path": str(root), "settle_seconds": 0.3, "poll_seconds": 0.3} for root in roots
        ]
        self.config.write_text(yaml.safe_dump(settings))

    def arguments(self, *more: str) -> list[str]:
        script = Path(__file__).with_name("short_of_patience.py")
        return [sys.executable, str(script), _PATIENCE, "run", "-c", str(self.config), *more]

    def start(self, **environment: str) -> None:
        with self._log_file.open("a") as log:
            self.process = subprocess.Popen(
                self.arguments(), stdout=log, stderr=log, text=True, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def health_of(self, root: Path) -> dict[str, Any]:
        """As `status --json` has it; but read from the database, which is faster."""
        found = self.rows("SELECT * FROM folders")
        return next((row for row in found if row["root"] == str(root)), {"health": "not scanned"})

    def has(self, path: Path, state: str = "measured") -> bool:
        states = self.rows("SELECT path, state FROM images ORDER BY id")
        return {row["path"]: row["state"] for row in states}.get(str(path)) == state

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Impatient]:
    one = Impatient(tmp_path)
    yield one
    kill(one)


@pytest.fixture
def local(tmp_path: Path) -> Callable[[int], Path]:
    """Writes another image into a folder that has no troubles."""

    def write(number: int) -> Path:
        return image(tmp_path / "local", number)

    return write


def image(root: Path, number: int) -> Path:
    path = root / root.name / "A1" / f"A1_{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = Pillow.fromarray(picture(disc((200, 240), 40 + number)))
    temporary = path.with_suffix(".tmp")
    drawn.save(temporary, format="png")
    return temporary.rename(path)


def test_a_folder_that_hangs_stops_nobody_else(
    tmp_path: Path, impatient: Impatient, local: Callable[[int], Path]
) -> None:
    daemon, backing, point = impatient, tmp_path / "kept" / "share", tmp_path / "share"
    first = image(backing, 1)
    point.mkdir()
    with hanging.share(backing, point, frozen=True) as share:
        here = local(1)
        daemon.watch(point, here.parents[2])
        daemon.start()

        # From the start: ready all the same.
        daemon.wait_until(lambda: bool(daemon.told("ready")), 60)
        daemon.wait_until(lambda: daemon.has(here), 60)
        ill = daemon.health_of(point)
        assert (ill["health"], ill["reason"]) == ("degraded", "it does not answer")
        assert "it does not answer" in daemon.command("status").stdout
        since = datetime.fromisoformat(ill["since"])
        assert abs((datetime.now(UTC) - since).total_seconds()) < 60
        share.answer()
        daemon.wait_until(lambda: daemon.health_of(point)["health"] == "ok", 30)
        daemon.wait_until(lambda: daemon.has(point / first.relative_to(backing)), 30)

        # On reading a file.
        share.hold(hanging.READ)
        second = point / image(backing, 2).relative_to(backing)
        daemon.wait_until(lambda: daemon.health_of(point)["health"] == "degraded", 30)
        here = local(2)
        daemon.wait_until(lambda: daemon.has(here), 30)
        assert daemon.has(second, "waiting")
        share.answer()
        daemon.wait_until(lambda: daemon.has(second), 30)
        daemon.wait_until(lambda: daemon.health_of(point)["health"] == "ok", 30)

        # Altogether, and for good.
        share.freeze()
        daemon.wait_until(lambda: daemon.health_of(point)["health"] == "degraded", 30)
        here = local(3)
        daemon.wait_until(lambda: daemon.has(here), 30)
        assert len(daemon.told("folder degraded")) == 3, "told once each time"
        began = time.monotonic()
        assert daemon.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 30
    assert daemon.count("measured") == 5
    assert daemon.rows("SELECT 1 FROM images WHERE claimed_at IS NOT NULL") == []


def test_until_idle_ends_and_names_the_folder_that_does_not_answer(
    tmp_path: Path, impatient: Impatient, local: Callable[[int], Path]
) -> None:
    backing, point = tmp_path / "kept" / "share", tmp_path / "share"
    image(backing, 1)
    point.mkdir()
    with hanging.share(backing, point) as share:
        share.hold(hanging.READ)  # so that it is seen, and waits for ever
        here = local(1)
        impatient.watch(point, here.parents[2])
        done = subprocess.run(
            impatient.arguments("--until-idle"),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"{point} can't be read (it does not answer)" in done.stderr.replace("\n", " ")
    assert impatient.has(here)
    assert impatient.count("waiting") == 1


def test_a_share_that_goes_and_comes_back_is_measured_to_the_end(
    tmp_path: Path, impatient: Impatient, local: Callable[[int], Path]
) -> None:
    daemon, kept, point = impatient, tmp_path / "kept" / "share", tmp_path / "share"
    before = image(kept, 1)
    below = image(point, 9)  # hidden as long as the share is mounted
    hanging.mount(str(kept), point, "", flags=_BIND)
    try:
        daemon.watch(point, local(1).parents[2])
        daemon.start()
        daemon.wait_until(lambda: bool(daemon.told("ready")), 60)
        seen = point / before.relative_to(kept)
        daemon.wait_until(lambda: daemon.has(seen), 60)
        [area] = daemon.rows("SELECT area_px FROM growth WHERE plate = 'share'")
        hanging.unmount(point)
        daemon.wait_until(lambda: daemon.health_of(point)["health"] == "degraded", 20)
        found = json.loads(daemon.command("status", "--json").stdout)["folders"]
        [ill] = [folder for folder in found if folder["health"] == "degraded"]
        assert (ill["root"], ill["reason"]) == (str(point), f"{point} is not mounted any more")
        assert ill["since"] > ill["scanned_at"]
        here = local(2)
        daemon.wait_until(lambda: daemon.has(here), 30)
        assert daemon.rows("SELECT area_px FROM growth WHERE plate = 'share'") == [area]
        assert not daemon.rows(f"SELECT 1 FROM images WHERE path = '{below}'")
        late = point / image(kept, 2).relative_to(kept)
        hanging.mount(str(kept), point, "", flags=_BIND)
        daemon.wait_until(lambda: daemon.has(late), 30)
        assert daemon.health_of(point)["health"] == "ok"
        assert daemon.count("superseded") == 0
        assert daemon.end() == 0
    finally:
        kill(daemon)
        hanging.unmount(point)
