"""The loop, the log, the lock and systemd's socket, each with the real thing."""

import io
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spheroidd.errors import StoreError
from spheroidd.system import loop as loop_module
from spheroidd.system.lock import only_one
from spheroidd.system.logs import open_log
from spheroidd.system.loop import Loop
from spheroidd.system.notify import notify


class Scripted:
    """A part whose steps do what a list says."""

    def __init__(self, *script: bool | Exception) -> None:
        self.script = list(script)
        self.steps = 0
        self.handed_back = 0
        self.idle = threading.Event()

    def start(self, now: float) -> None:
        pass

    def step(self, now: float) -> bool:
        self.steps += 1
        if not self.script:
            self.idle.set()
            return False
        done = self.script.pop(0)
        if isinstance(done, Exception):
            raise done
        return done

    def hand_back(self) -> None:
        self.handed_back += 1

    def stop(self) -> None:
        pass


def test_a_loop_steps_until_idle_and_survives_an_error(
    captured_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_AFTER_ERROR_SECONDS", 0.01)
    part = Scripted(True, OSError("disk full"), True)
    loop = Loop("part", part, captured_log[0])
    loop.start()
    assert part.idle.wait(5)
    assert part.handed_back == 1
    loop.ask_to_end()
    assert loop.join(5)
    assert part.handed_back == 2, "what a part still has in hand at the end"
    assert part.steps >= 4
    assert [event["part"] for event in captured_log[1] if event["level"] == "error"] == ["part"]


def test_a_loop_that_waits_wakes_and_ends_at_once(captured_log: Any) -> None:
    wake = threading.Event()
    part = Scripted()
    loop = Loop("part", part, captured_log[0], wake=wake)
    loop.start()
    assert part.idle.wait(5)
    began = time.monotonic()
    loop.ask_to_end()
    assert loop.join(5)
    assert time.monotonic() - began < 2


def test_one_daemon_per_state_folder(tmp_path: Path) -> None:
    lock = tmp_path / "spheroidd.lock"
    code = (
        "import sys, pathlib; from spheroidd.system.lock import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}"), only_one(lock):
            pass
        holder.kill()
    with only_one(lock):  # a killed daemon leaves no lock behind
        pass


def test_a_lock_that_can_not_be_opened_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "spheroidd.lock"
    lock.mkdir()
    with pytest.raises(StoreError, match="opened: Is a directory") as told, only_one(lock):
        pytest.fail("it is no lock")
    assert "Run spheroidd as the user" in told.value.hint


def test_systemd_is_told_over_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    for address in (str(tmp_path / "notify"), f"@spheroidd-test-{tmp_path.name}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address.replace("@", "\0", 1))
            receiver.settimeout(5)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            assert notify("READY=1", "STATUS=well")
            assert receiver.recv(1000) == b"READY=1\nSTATUS=well"
    assert not notify("READY=1")  # nobody listens any more: no reason to fail


def test_log_lines_are_json_with_journald_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    stream = io.StringIO()
    log = open_log("info", "auto", stream)
    log.debug("not shown")
    log.bind(plate="P", well="A1", path="a\nb.jpg").warning("segmented")
    [line] = stream.getvalue().splitlines()
    assert line.startswith("<4>{")
    told = json.loads(line[3:])
    assert (told["event"], told["plate"], told["well"]) == ("segmented", "P", "A1")
    assert told["path"] == "a\nb.jpg"


def test_log_lines_on_a_terminal_are_for_people() -> None:
    stream = io.StringIO()
    open_log("debug", "console", stream).info("segmented", plate="P")
    assert "segmented" in stream.getvalue()
    assert "plate=P" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_a_log_that_can_not_be_written_stops_no_work() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    log = open_log("info", "json", Broken())
    log.error("nobody hears this")
    try:
        raise RuntimeError("x")
    except RuntimeError:
        log.exception("nor this")
