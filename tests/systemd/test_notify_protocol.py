"""What the real daemon tells systemd, heard by a socket that speaks systemd's protocol."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from freezing import PLACES

from spheroidd.system.notify import notify
from spheroidd.system.signals import service_signals

FREEZING = Path(__file__).with_name("freezing.py")
DEADLINE_SECONDS = 1.5
# Without a ping for so long, none will come: there are two a second.
SILENCE_SECONDS = 2.0
# As systemd hands it over: two minutes.
USUAL = "120000000"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Ear:
    """Receives datagrams as systemd does; each is a list of lines."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.heard: list[tuple[float, list[str]]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(65536):
            self.heard.append((time.monotonic(), message.decode().split("\n")))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)  # the thread hears an empty message, and ends
        self._thread.join()
        self._socket.close()

    def lines(self, start: str = "", since: float = 0.0) -> list[str]:
        return [
            line for at, lines in self.heard for line in lines
            if at >= since and line.startswith(start)
        ]  # fmt: skip

    @property
    def last_ping(self) -> float:
        return max((at for at, lines in self.heard if "WATCHDOG=1" in lines), default=0.0)


class Frozen:
    """A daemon that can be frozen, and what it says to systemd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signs = folder / "signs"
        self.config = folder / "config.yaml"
        self.export = folder / "export"
        self.log = folder / "daemon.log"
        for one in (self.signs, self.export):
            one.mkdir()
        self.ear = Ear(folder / "notify")
        self.configure(settle_seconds=0.2)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(FREEZING), str(self.signs), str(DEADLINE_SECONDS), "--",
                 "run", "-c", str(self.config)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": USUAL},
            )  # fmt: skip

    def configure(self, **watch: object) -> None:
        """Without a model: which parts stand still does not depend on it, and it starts sooner."""
        settings = {
            "watch": [{"path": str(self.export), **watch}],
            "state_dir": str(self.folder / "state"),
            "segmentation": {"model": "none"},
            "measurement": {"pipeline": "threshold"},
            "disk": {"reserve_gb": 0},
        }
        self.config.write_text(yaml.safe_dump(settings))

    def await_it(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, (self.ear.heard[-5:], self.log.read_text()[-3000:])
            time.sleep(0.05)

    def await_ping(self) -> None:
        now = time.monotonic()
        self.await_it(lambda: self.ear.last_ping > now)

    def await_silence(self) -> None:
        self.await_it(lambda: time.monotonic() - self.ear.last_ping > SILENCE_SECONDS, 90)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Frozen]:
    one = Frozen(tmp_path)
    yield one
    if one.process.poll() is None:
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
    one.ear.close()


def test_it_pings_only_while_work_is_possible(frozen: Frozen) -> None:
    ear = frozen.ear
    frozen.await_it(lambda: "READY=1" in ear.lines())
    assert "WATCHDOG=1" not in ear.lines()[: ear.lines().index("READY=1")]
    frozen.await_ping()

    # The watched folder is no vital part: others go on, and a restart would not mend it.
    (frozen.signs / "intake").touch()
    frozen.await_it(lambda: "export: in one step for" in ear.lines("STATUS=")[-1])
    frozen.await_ping()
    frozen.await_ping()
    (frozen.signs / "intake").unlink()

    vital = [name for name in PLACES if name != "intake"]
    assert vital == ["segment", "measure", "judge", "database"]
    for name in vital:
        frozen.await_ping()
        (frozen.signs / name).touch()
        began = time.monotonic()
        frozen.await_silence()
        if name == "database":  # nothing is said where nothing answers
            assert not ear.lines(since=began + DEADLINE_SECONDS)
        else:
            assert f"{name}: in one step for" in ear.lines("STATUS=")[-1]
        (frozen.signs / name).unlink()
    frozen.await_ping()
    frozen.await_it(lambda: "trouble" not in ear.lines("STATUS=")[-1])


def test_it_says_that_it_is_ready_reloads_and_stops(frozen: Frozen) -> None:
    ear = frozen.ear
    frozen.await_it(lambda: "READY=1" in ear.lines())
    frozen.await_it(lambda: any("0 waiting" in line for line in ear.lines("STATUS=")))
    assert "trouble" not in ear.lines("STATUS=")[-1]

    # A new configuration: the same process, ready again when the new folder has been looked at.
    reload_it(frozen, settle_seconds=0.3)
    assert "STOPPING=1" not in ear.lines()

    # A wrong one: the old one goes on, and the status line says so until it is mended.
    reload_it(frozen, settle_minutes=1)
    frozen.await_it(lambda: "settle_minutes" in ear.lines("STATUS=")[-1])
    assert "settle_minutes" in frozen.log.read_text()
    frozen.await_ping()
    reload_it(frozen, settle_seconds=0.3)
    frozen.await_it(lambda: "trouble" not in ear.lines("STATUS=")[-1])

    frozen.process.send_signal(signal.SIGTERM)
    assert frozen.process.wait(60) == 0
    said = ear.lines()
    assert said.count("STOPPING=1") == 1
    assert not {"READY=1", "WATCHDOG=1"} & set(said[said.index("STOPPING=1") :])
    known = ("READY=1", "STATUS=", "WATCHDOG=1", "RELOADING=1", "MONOTONIC_USEC=", "STOPPING=1",
             "WATCHDOG_USEC=", "EXTEND_TIMEOUT_USEC=")  # fmt: skip
    assert not [line for line in said if not line.startswith(known)]


def reload_it(frozen: Frozen, **watch: object) -> None:
    """SIGHUP; RELOADING=1 with the time, as systemd wants it, and READY=1 must follow."""
    began = time.monotonic()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    frozen.configure(**watch)
    frozen.process.send_signal(signal.SIGHUP)
    frozen.await_it(lambda: "READY=1" in frozen.ear.lines(since=began))
    [message] = [lines for at, lines in frozen.ear.heard if at >= began and "RELOADING=1" in lines]
    said_with = dict(line.split("=") for line in message)
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert before <= int(said_with["MONOTONIC_USEC"]) <= now
    # Loading a large model anew may take longer than the watchdog waits: it is told so.
    assert int(said_with["WATCHDOG_USEC"]) > int(USUAL)
    [message] = [lines for at, lines in frozen.ear.heard if at >= began and "READY=1" in lines]
    assert f"WATCHDOG_USEC={USUAL}" in message
    said = frozen.ear.lines(since=began)
    assert said.index("RELOADING=1") < said.index("READY=1")


def test_nothing_that_is_told_can_be_taken_for_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may be called anything, and a reason may have several lines."""
    ear = Ear(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert notify("STATUS=trouble: 'a\nSTOPPING=1\r\nMAINPID=1'", "WATCHDOG=1")
    while not ear.heard:
        time.sleep(0.01)
    [(_, lines)] = ear.heard
    assert [line.partition("=")[0] for line in lines] == ["STATUS", "WATCHDOG"]
    assert "STOPPING=1" in lines[0], "it is told all the same"
    ear.close()


def test_abstract_sockets_and_no_socket_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"spheroidd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    assert not notify("READY=1"), "nobody listens any more, and that is no reason to fail"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


@pytest.mark.parametrize(("terminal", "asked"), [(False, "reloading"), (True, "stopping")])
def test_hangup_reloads_but_ends_what_a_terminal_started(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, asked: str
) -> None:
    ends = os.openpty() if terminal else os.pipe()
    with os.fdopen(ends[0], closefd=True) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with service_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            flags = {"reloading": signals.reloading, "stopping": signals.stopping}
            assert flags[asked].wait(5)
            assert [name for name, flag in flags.items() if flag.is_set()] == [asked]
        monkeypatch.undo()
    os.close(ends[1])
