"""A snapshot in words: the one sentence that says it all, what is wrong, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from spheroidd.store.paths import printable
from spheroidd.store.reader import seconds_of

_HEAL = "Check the share, its mount and its permissions; it heals by itself."
_START = "Start it: `systemctl start spheroidd`, or `spheroidd run -c FILE`."
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (0.0, "s"))

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong: what, in words, since when, what to do; `urgent`: nothing is
    measured meanwhile."""

    what: str
    words: str
    since: str
    next_step: str
    urgent: bool


def age(seconds: float) -> str:
    """A span of time, roughly: `40 s`, `4 min`, `2 h`, `3 d`."""
    size, unit = next(pair for pair in _UNITS if abs(seconds) >= pair[0])
    return f"{abs(seconds) / (size or 1):.0f} {unit}"


def moment(stored: str, now: float) -> str:
    """A time both ways: `2 h ago (14:03)`, `in 5 min (14:10)`; the clock is the local one, with
    the date unless it is today's."""
    at = seconds_of(stored)
    local, today = (datetime.fromtimestamp(when).astimezone() for when in (at, now))
    clock = local.strftime("%H:%M" if local.date() == today.date() else "%Y-%m-%d %H:%M")
    relative = f"in {age(at - now)}" if at > now else f"{age(now - at)} ago"
    return f"{relative} ({clock})"


def troubles(found: dict[str, Any]) -> list[Trouble]:
    """What is wrong, what stops everything first.

    Args:
        found: of `status.snapshot`.
    """
    parts = [
        Trouble(
            row["name"], row["trouble"], row["since"], row["next_step"], urgent=bool(row["urgent"])
        )
        for row in found["conditions"]
        if row["trouble"]
    ]
    folders = [
        Trouble(
            f"folder {printable(row['root'])}", row["reason"], row["since"], _HEAL, urgent=False
        )
        for row in found["folders"]
        if row["health"] != "ok"
    ]
    listed = sorted(parts + folders, key=lambda one: (not one.urgent, one.since))
    daemon = found["daemon"]
    if not listed and daemon["running"] and daemon["trouble"]:
        at = daemon["heartbeat_at"]
        return [Trouble("the daemon", daemon["trouble"], at, "See the log.", urgent=False)]
    return listed


def headline(found: dict[str, Any], now: float) -> tuple[Level, str]:
    """The one sentence: is it running, how far is it, is anything wrong, and what to do.

    Args:
        found: of `status.snapshot`.
    """
    daemon, far = found["daemon"], _how_far(found, now)
    if "pid" not in daemon:
        return "warning", f"Not running: the daemon has never run on this state folder. {_START}"
    if not daemon["running"]:
        return "wrong", f"Not running: {_end_of(daemon, now)} {far} {_START}"
    if daemon["phase"] == "starting":
        return "ok", f"{_beginning(daemon, now)} {far}"
    wrong, failed = troubles(found), found["totals"]["failed"]
    if wrong:
        return "wrong", f"Running. {far} {_what_is_wrong(wrong)}"
    if failed:
        return "warning", f"Running. {far} {_plural(failed, 'image')} failed; see below."
    return "ok", f"Running. {far} Nothing is wrong."


def _how_far(found: dict[str, Any], now: float) -> str:
    totals, last = found["totals"], found["last_image_at"]
    if last is None:
        return "No image yet."
    plates = sum(row["plate"] is not None for row in found["plates"])
    left = totals["seen"] - totals["measured"] - totals["failed"]
    counted = f"{_plural(plates, 'plate')}, {_plural(totals['seen'], 'image')}"
    return (
        f"{counted}, {totals['measured']} measured, {left} waiting; last image {moment(last, now)}."
    )


def _beginning(daemon: dict[str, Any], now: float) -> str:
    if daemon.get("reloads"):  # it has been through its start
        return "Running, and taking on a new configuration."
    return f"Starting, since {moment(daemon['started_at'], now)}."


def _end_of(daemon: dict[str, Any], now: float) -> str:
    if daemon["stopped_at"] is None:
        if daemon["silent_seconds"] < 0:
            return "its last heartbeat lies ahead of the clock, which was set back."
        last = moment(daemon["heartbeat_at"], now)
        return f"it ended or froze without a word {last}; process {daemon['pid']} was it."
    ended = moment(daemon["stopped_at"], now)
    if daemon["phase"] == "failed":
        return f"it ended with an error {ended}: {_sentence(daemon['trouble'])}"
    return f"it was stopped {ended}."


def _what_is_wrong(wrong: Sequence[Trouble]) -> str:
    first = wrong[0]
    stopped = "Nothing is measured meanwhile. " if first.urgent else ""
    said = f"{first.what}: {_sentence(first.words)} {stopped}{first.next_step}"
    count = "" if len(wrong) == 1 else f"{len(wrong)} things are wrong, first "
    return f"{count or 'Wrong: '}{said}".strip()


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
