"""What the log says again and again is counted; what happens to single images is always told."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from spheroidd.system import repeats
from spheroidd.system.logs import open_log
from spheroidd.system.repeats import Repeats


class Heard:
    """What passes, and what is told in between, on a clock that stands still."""

    def __init__(self, most: int = 3) -> None:
        self.now = 0.0
        self.lines: list[EventDict] = []
        self._repeats = Repeats(
            lambda level, line: self.lines.append({"level": level, **line}), most, lambda: self.now
        )

    def say(self, event: str = "paused", level: str = "error", **fields: Any) -> bool:
        try:
            line = self._repeats(None, level, {"event": event, "level": level, **fields})
        except structlog.DropEvent:
            return False
        self.lines.append(line)
        return True


def test_a_night_of_the_same_error_is_a_line_a_minute() -> None:
    heard = Heard()
    for second in range(0, 8 * 3600, 5):
        heard.now = float(second)
        heard.say(part="measure", reason=f"no worker; next try in {second % 60} s")
    told = [line for line in heard.lines if "suppressed" in line]
    assert [heard.say(part="measure", reason="no worker; next try in 1 s")] == [False]
    assert len(heard.lines) == 3 + 8 * 60 - 1
    assert told[0]["suppressed"] == 12 - 3
    assert {line["suppressed"] for line in told[1:]} == {12}
    assert sum(line["suppressed"] for line in told) + 3 + 12 == 8 * 3600 / 5, (
        "none is lost count of"
    )
    assert (told[-1]["event"], told[-1]["part"], told[-1]["level"]) == (
        "paused",
        "measure",
        "error",
    )
    assert told[-1]["reason"].startswith("no worker")


def test_what_has_been_quiet_for_a_minute_is_news_again() -> None:
    heard = Heard(most=2)
    assert [heard.say() for _ in range(4)] == [True, True, False, False]
    heard.now = 61
    heard.say("something else", "info")
    assert [line.get("suppressed") for line in heard.lines] == [None, None, 2, None]
    heard.now = 122
    assert [heard.say() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "differing",
    [
        {"path": "/e/P/A1/2.jpg"},
        {"part": "judge"},
        {"folder": "/other"},
        {"plate": "P2"},
        {"well": "B1"},
        {"reason": "another reason"},
        {"error": "E"},
        {"level": "warning"},
        {"event": "goes on"},
    ],
)
def test_another_thing_is_another_line(differing: dict[str, str]) -> None:
    heard = Heard(most=1)
    line = {"event": "e", "level": "error", "path": "/e/P/A1/1.jpg", "part": "measure",
            "folder": "/e", "plate": "P", "well": "A1", "reason": "r"}  # fmt: skip
    assert heard.say(**line)
    assert not heard.say(**line)
    assert heard.say(**{**line, **differing})


def test_what_goes_well_is_never_held_back() -> None:
    heard = Heard(most=1)
    for event in ("measured", "segmented", "image seen"):
        assert all(heard.say(event, "info", path="/e/1.jpg") for _ in range(50))
    assert all(heard.say("failed", path=f"/e/{n}.jpg", reason="torn") for n in range(500))


def test_it_remembers_no_more_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MOST_KINDS", 10)
    heard = Heard(most=1)
    heard.say(path="first")
    heard.say(path="first")
    for number in range(100):
        heard.say(path=str(number))
    assert {"suppressed": 1}.items() <= next(
        line.items() for line in heard.lines if "suppressed" in line
    )
    assert len(heard._repeats._kinds) <= 12


def test_threads_lose_no_count() -> None:
    heard = Heard()
    together = threading.Barrier(8)

    def shout() -> None:
        together.wait(10)
        for _ in range(500):
            heard.say(part="p")

    threads = [threading.Thread(target=shout) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    heard.now = 61
    heard.say("later", "info")
    assert len(heard.lines) == 3 + 1 + 1
    assert heard.lines[3]["suppressed"] == 8 * 500 - 3


def failing(error: Exception) -> Callable[[Any], None]:
    def tell(log: Any) -> None:
        try:
            raise error
        except Exception:
            log.exception("a step failed; trying again", part="segment")

    return tell


def test_the_real_log_counts_and_the_console_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(repeats.Repeats.__init__, "__defaults__", (3, lambda: now[0]))
    stream = io.StringIO()
    log = open_log("info", "json", stream)
    for _ in range(10):
        failing(OSError(28, "No space left"))(log)
    failing(ValueError("another one"))(log)
    now[0] = 61.0
    log.info("measured", path="/e/1.jpg")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert ["Traceback" in line.get("exception", "") for line in lines] == [True] * 4 + [False] * 2
    assert lines[4]["suppressed"] == 7
    assert (lines[4]["event"], lines[4]["part"]) == ("a step failed; trying again", "segment")
    assert "No space left" in lines[4]["error"]
    assert (lines[4]["level"], lines[5]["event"]) == ("error", "measured")
    assert all("timestamp" in line for line in lines)

    screen = io.StringIO()
    log = open_log("info", "console", screen)
    for _ in range(10):
        log.error("paused", part="segment")
    assert screen.getvalue().count("paused") == 10
