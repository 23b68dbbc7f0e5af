"""What the overview shows: is it running, how do the plates grow, what needs a look."""

from typing import Any

from spheroidd.report.status import disk, snapshot
from spheroidd.report.wording import headline, troubles
from spheroidd.store.folder import StateFolder
from spheroidd.store.listing import alerts
from spheroidd.store.reader import Reader, seconds_of
from spheroidd.store.viewing import paces

_OPEN_ALERTS = 20


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
        "alerts": [row for row in alerts(reader, _OPEN_ALERTS) if row["ended_at"] is None],
        "disk": disk(folder.root),
        "now": now,
    }


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
