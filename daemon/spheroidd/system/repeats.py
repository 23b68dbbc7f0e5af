"""A log that a night of the same error every five seconds can't fill.

Warnings and errors that say the same of the same thing are let through a few times a minute; the
rest is counted, and once a minute one line says how many there were.  What goes well is told as
it is: it can't happen more often than work is done.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from structlog.typing import EventDict, WrappedLogger

_WINDOW_SECONDS = 60.0
_MOST_KINDS = 1000  # of lines that are remembered
_LIMITED = frozenset({"warning", "error", "critical"})
# What a line is about.  Two images, wells, folders or parts are never the same.
_ABOUT = ("event", "part", "folder", "plate", "well", "path", "model", "level")
_WHY = ("reason", "error")
_NUMBERS = re.compile(r"\d+")  # seconds waited, bytes free: another number is no other trouble

Key = tuple[str, ...]
Tell = Callable[[str, EventDict], None]  # the level, and the line


@dataclass
class _Kind:
    """One kind of line: when its minute ends, and what it may still say in it."""

    until: float
    left: int
    held: int
    last: EventDict


class Repeats:
    """A structlog processor; stands after the level is added and before anything is rendered."""

    def __init__(
        self, tell: Tell, most: int = 3, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            tell: writes a line that says how many were held back; must not come back here.
            most: lines of one kind in its first minute; while it goes on, one a minute is told.
            clock: monotonic seconds.
        """
        self._tell = tell
        self._most = most
        self._clock = clock
        self._turn = threading.Lock()
        self._kinds: dict[Key, _Kind] = {}

    def __call__(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        now = self._clock()
        with self._turn:
            due = list(self._due(now))
            held = line.get("level") in _LIMITED and self._holds(line, now)
        for summary in due:
            self._tell(summary.pop("level"), summary)
        if held:
            raise structlog.DropEvent
        return line

    def _holds(self, line: EventDict, now: float) -> bool:
        key = key_of(line)
        kind = self._kinds.get(key)
        if kind is None:
            self._kinds[key] = kind = _Kind(now + _WINDOW_SECONDS, self._most, 0, {})
        if kind.left > 0:
            kind.left -= 1
            return False
        kind.held += 1
        kind.last = {name: line[name] for name in (*_ABOUT, *_WHY) if name in line}
        if line.get("exc_info"):
            kind.last["error"] = repr(sys.exc_info()[1])
        return True

    def _due(self, now: float) -> Iterator[EventDict]:
        """What was held back in minutes that are over; a kind that went quiet is forgotten.

        Kinds lie in the order in which their minutes end, so that a line costs no more where
        many are remembered.
        """
        while self._kinds:
            key = next(iter(self._kinds))
            # So many kinds at once are no repeats: the oldest make room.
            if now < self._kinds[key].until and len(self._kinds) <= _MOST_KINDS:
                return
            kind = self._kinds.pop(key)
            if kind.held:
                self._kinds[key] = _Kind(now + _WINDOW_SECONDS, 0, 0, {})
                yield {**kind.last, "suppressed": kind.held}


def key_of(line: EventDict) -> Key:
    """What makes two lines the same: what they are about, and why, numbers aside."""
    why = [str(line[name]) for name in _WHY if name in line]
    if line.get("exc_info"):
        why.append(repr(sys.exc_info()[1]))
    return (
        *(f"{name}={line.get(name)}" for name in _ABOUT),
        *(_NUMBERS.sub("#", text) for text in why),
    )
