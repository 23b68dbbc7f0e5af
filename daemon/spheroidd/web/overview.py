"""What the overview shows: is it running, how do the plates grow, what needs a look."""

import threading
import time
from collections.abc import Callable
from typing import Any

from spheroidd.report.status import disk, snapshot
from spheroidd.report.wording import headline, troubles
from spheroidd.store.folder import StateFolder
from spheroidd.store.listing import alerts
from spheroidd.store.reader import Reader, seconds_of
from spheroidd.store.viewing import paces

# An archive of a million images takes a fifth of a second to look over; so many pages may be
# opened at once that this must not be done for each.
_SHARED_FROM = 0.05  # seconds of CPU; what costs less is made for everybody who asks
_SHARE = 10.0  # times as long as it took it is shared
_OLDEST = 5.0


def overview(reader: Reader, folder: StateFolder, now: float) -> dict[str, Any]:
    """Everything at a glance, in plain values that JSON can hold.

    Returns:
        What `report.status.snapshot` gives, its plates with `running` and `next_due_at`; and
        `level` ("ok", "warning", "wrong"), `headline` (the one sentence of `status`), `sentence`
        (the same for people who look at plates), `troubles`, `alerts` (open ones), `disk`
        (`free_bytes`, `total_bytes`; None where it can't be asked), `now`.
    """
    found = snapshot(reader, now)
    known = paces(reader, now)
    finished = {"running": False, "last_seen_at": None, "next_due_at": None}
    found["plates"] = [row | known.get(row["plate"], finished) for row in found["plates"]]
    level, said = headline(found, now)
    return found | {
        "level": level,
        "headline": said,
        "sentence": sentence(found, level, said, now),
        "troubles": [vars(trouble) for trouble in troubles(found)],
        "alerts": alerts(reader, 0),
        "disk": disk(folder.root),
        "now": now,
    }


class Glances:
    """Overviews of one state folder; where making one takes long, it is shared for a moment."""

    def __init__(self, folder: StateFolder, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            clock: seconds since the epoch.
        """
        self._folder = folder
        self._clock = clock
        self._turn = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._until = 0.0

    def new(self, reader: Reader) -> dict[str, Any]:
        """The overview of now; not to be changed, for others may get the same."""
        with self._turn:
            return self._made(reader)

    def lately(self, reader: Reader) -> dict[str, Any]:
        """The same, or that of a moment ago: five seconds at most, and in a small archive none."""
        with self._turn:
            return self._kept if time.monotonic() < self._until else self._made(reader)

    def _made(self, reader: Reader) -> dict[str, Any]:
        began = time.thread_time()
        self._kept = overview(reader, self._folder, self._clock())
        took = time.thread_time() - began
        shared = min(_SHARE * took, _OLDEST) if took >= _SHARED_FROM else 0.0
        self._until = time.monotonic() + shared
        return self._kept


def sentence(found: dict[str, Any], level: str, said: str, now: float) -> str:
    """One plain sentence on top; where something is wrong, what it is.

    Args:
        said: by `report.wording.headline`.
    """
    if level == "wrong" or found["last_image_at"] is None:
        return said
    running = [row for row in found["plates"] if row["running"]]
    clauses = [_growing(len(running), found), f"last image {_ago(found['last_image_at'], now)}"]
    if failed := found["totals"]["failed"]:
        clauses.append(f"{_count(failed, 'image')} failed")
    if waiting := found["totals"]["to_review"]:
        verb = "needs" if waiting == 1 else "need"
        clauses.append(f"{_count(waiting, 'image')} {verb} review")
    else:
        clauses.append("nothing needs review")
    return f"{'; '.join(clauses)}."


def _growing(running: int, found: dict[str, Any]) -> str:
    known = sum(row["plate"] is not None for row in found["plates"])
    if not running:
        return f"No experiment is running; {_count(known, 'finished plate')}"
    if running == known:
        all_of_them = {1: "The plate is", 2: "Both plates are"}.get(
            known, f"All {known} plates are"
        )
        return f"{all_of_them} being imaged"
    return f"{_count(running, 'plate')} of {known} {'is' if running == 1 else 'are'} being imaged"


def _ago(stored: str, now: float) -> str:
    seconds = max(0.0, now - seconds_of(stored))
    for size, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            return f"{_count(round(seconds / size), unit)} ago"
    return "just now"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
