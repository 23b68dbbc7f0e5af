"""What to tell, and when: pure decisions over the table of alerts and what holds now.

Each alert is told once when it begins and once when it is over, and again after a while if it
lasts.  What can't wait is told at once; the rest is gathered into one message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from spheroidd.alerts import words
from spheroidd.alerts.seen import Found, Timing, Wishes, kind_of, names_in
from spheroidd.store.alerting import Alert, StoredAlert

_TOLD_ONCE = frozenset({"images", "flags"})  # nothing may be wrong, and status shows them
_LISTED = 20  # of one kind in a message
_WELL_AGAIN = {
    "disk": "The disk has room again",
    "database": "The database can be used again",
    "engine": "CellProfiler works again",
    "accelerator": "The accelerator works again",
    "backup": "The database is backed up again",
    "judge": "All wells can be judged again",
    "configuration": "The configuration can be used again",
    "keep": "Old files are cleared away again",
    "alerts": "Alerts reach everybody again",
    "failures": "Images are measured again",
    "crashes": "spheroidd runs without crashing again",
}

What = Literal["new", "still", "over", "past", "event"]


@dataclass(frozen=True)
class Changes:
    """Alerts to enter, and those to close: number, and whether without a word."""

    raised: tuple[Alert, ...]
    ended: tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class Item:
    """One thing to tell; `ids` are the rows that are told with it."""

    what: What
    ids: tuple[int, ...]
    alert: Alert
    since: float
    until: float

    @property
    def over(self) -> bool:
        """Whether there is nothing more to tell of it."""
        return self.what in ("over", "past", "event")


@dataclass(frozen=True)
class Message:
    """What goes out; `mood` is how it is marked where that can be seen (colour, icon)."""

    title: str
    body: str
    mood: Literal["failure", "warning", "success", "info"]


def changes(stored: Sequence[StoredAlert], found: Found) -> Changes:
    """What has begun, and what is over.

    Args:
        stored: open alerts, and others, as the table has them.
    """
    opened = {alert.key: alert for alert in stored if alert.ended_at is None}
    holding = {alert.key for alert in found.holding}
    raised = tuple(alert for alert in found.holding if alert.key not in opened)
    ended = []
    for key, alert in opened.items():
        if key in holding or key in found.undecided:
            continue
        ended.append((alert.id, _ends_quietly(alert, key in found.quietly)))
    return Changes(raised, tuple(ended))


def _ends_quietly(alert: StoredAlert, nothing_is_well: bool) -> bool:
    """A flag that came and went unseen is no news; that a plate has ended must reach somebody."""
    untold, kind = alert.told_at is None, kind_of(alert.key)
    if kind == "flags":
        return untold or nothing_is_well
    return nothing_is_well and not (untold and kind == "images")


def to_tell(
    stored: Sequence[StoredAlert],
    found: Found,
    wishes: Wishes,
    timing: Timing,
    last_told: float | None,
    now: float,
) -> list[Item]:
    """What is to be told at this moment, what can't wait first, then what is new.

    Args:
        stored: open alerts, and those whose end is still to be told.
        last_told: when the last message went out.
    """
    quiet = is_quiet(wishes.quiet_hours, now)
    gathering = last_told is not None and abs(now - last_told) < timing.gather
    items = [*_open_items(stored, found, wishes, now), *_ended_items(stored)]
    at_once = [item for item in items if item.alert.urgent and item.what != "still"]
    if quiet or (gathering and not at_once):
        items = at_once
    order: list[What] = ["new", "event", "still", "past", "over"]
    return sorted(items, key=lambda item: (not item.alert.urgent, order.index(item.what)))


def _open_items(
    stored: Sequence[StoredAlert], found: Found, wishes: Wishes, now: float
) -> list[Item]:
    holding = {alert.key: alert for alert in found.holding}
    items = []
    for alert in stored:
        if alert.ended_at is not None:
            continue
        current = holding.get(alert.key) or Alert(alert.key, alert.urgent, alert.title, alert.body)
        if alert.told_at is None or (current.urgent and not alert.urgent):
            what: What = "new"
        elif _is_due(alert.told_at, kind_of(alert.key), wishes.remind_hours, now):
            what = "still"
        else:
            continue
        items.append(Item(what, (alert.id,), current, alert.raised_at, now))
    return items


def _is_due(told_at: float, kind: str, remind_hours: float | None, now: float) -> bool:
    if remind_hours is None or kind in _TOLD_ONCE:
        return False
    return abs(now - told_at) >= remind_hours * 3600


def _ended_items(stored: Sequence[StoredAlert]) -> list[Item]:
    """One for each key that is over; what has begun anew since is not."""
    opened = {alert.key for alert in stored if alert.ended_at is None}
    ended: dict[str, list[StoredAlert]] = {}
    for alert in stored:
        if alert.ended_at is not None and alert.key not in opened:
            ended.setdefault(alert.key, []).append(alert)
    items = []
    for key, alerts in ended.items():
        last = alerts[-1]
        ids = tuple(alert.id for alert in alerts)
        until = last.ended_at or last.raised_at
        plain = Alert(key, last.urgent, last.title, last.body)
        if until == last.raised_at:
            items.append(Item("event", ids, plain, last.raised_at, until))
        else:
            what: What = "past" if last.told_at is None else "over"
            # Nobody needs to be woken for what is over and was never told.
            plain = Alert(key, last.urgent and what == "over", last.title, last.body)
            items.append(Item(what, ids, plain, alerts[0].raised_at, until))
    return items


def is_quiet(quiet_hours: str | None, now: float) -> bool:
    """Whether only what can't wait is told now.

    Args:
        quiet_hours: two times of day, such as `22:00-07:00`; None: never.
            The times are this machine's.
    """
    if quiet_hours is None:
        return False
    begin, end = quiet_hours.split("-")
    time = datetime.fromtimestamp(now, UTC).astimezone().strftime("%H:%M")
    return begin <= time < end if begin <= end else time >= begin or time < end


# -- the message ----------------------------------------------------------------------------


def signed(body: str, machine: str) -> str:
    """The text of a message, and below it which computer sends it."""
    return f"{body}\n\nspheroidd on {machine}"


def compose(items: Sequence[Item], machine: str) -> Message:
    """One message for everything, however much it is.

    Args:
        items: at least one.
    """
    titles = [_title(item) for item in items]
    title = titles[0] if len(items) == 1 else f"{titles[0]} (+{len(items) - 1} more)"
    groups: dict[tuple[What, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.what, kind_of(item.alert.key)), []).append(item)
    alone = len(items) == 1
    sections = [_section(group, alone=alone) for group in groups.values()]
    if not title.startswith("spheroidd"):
        title = f"spheroidd: {title}"
    return Message(title, signed("\n\n".join(sections), machine), _mood(items))


def _mood(items: Sequence[Item]) -> Literal["failure", "warning", "success"]:
    if all(item.what in ("over", "past") for item in items):
        return "success"
    return "failure" if any(item.alert.urgent for item in items) else "warning"


def _title(item: Item) -> str:
    if item.what == "over":
        return words.title(_well_again(item.alert))
    prefix = {"still": "Still: ", "past": "Over: "}.get(item.what, "")
    return words.title(f"{prefix}{item.alert.title}")


def _section(group: Sequence[Item], *, alone: bool) -> str:
    """One alert in full; of several of one kind a line each, and what to do once."""
    if len(group) == 1:
        body = _body(group[0])
        return body if alone else f"■ {_title(group[0])}\n{body}"
    lines, rests = [], []
    for item in group:
        first, _, rest = _body(item).partition("\n")
        lines.append(f"- {_title(item)}: {first}" if item.over else f"- {first}")
        rests.append(rest)
    more = len(lines) - _LISTED
    if more > 0:
        lines = [*lines[:_LISTED], f"… and {more} more; `spheroidd alerts list` shows them all."]
    return "\n".join(["■", *lines, *filter(None, rests[:1])])


def _body(item: Item) -> str:
    begin = words.moment(item.since)
    length = words.spell(item.until - item.since)
    if item.what == "over":
        return f"After {length} (it began at {begin})."
    if item.what == "past":
        return f"It began at {begin} and was over after {length}, before anybody was told."
    if item.what == "still":
        return f"{item.alert.body}\n(You were told before; it began {length} ago.)"
    return item.alert.body


def _well_again(alert: Alert) -> str:
    kind, names = kind_of(alert.key), [words.name(one) for one in names_in(alert.key)]
    if kind == "images":
        return f"Images of {names[0]} arrive again"
    if kind == "flags":
        return f"{names[0]}, well {names[-1]}: no longer flagged"
    if kind == "folder":
        return f"The folder {names[0]} can be read again"
    return _WELL_AGAIN.get(alert.key, f"Well again: {alert.title}")
