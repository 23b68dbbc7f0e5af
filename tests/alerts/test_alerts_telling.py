"""Who is told what and when: pure decisions over a table that is made up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from spheroidd.alerts.rules import Examination
from spheroidd.alerts.seen import Found, Snapshot, Timing, Wishes
from spheroidd.alerts.telling import Item, changes, compose, is_quiet, to_tell
from spheroidd.store.alerting import Alert, StoredAlert
from spheroidd.store.sights import Failures, PartState, Service

HOUR = 3600.0
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 3, 10, 23, 30, tzinfo=UTC).timestamp()
WISHES = Wishes(quiet_hours="22:00-07:00")


def alert(key: str = "folder//e", *, urgent: bool = False) -> Alert:
    return Alert(key, urgent, f"title of {key}", f"body of {key}\nWhat to do: look.")


def row(key: str = "folder//e", number: int = 1, **said: Any) -> StoredAlert:
    usual = {
        "urgent": False, "title": f"title of {key}", "body": f"body of {key}\nWhat to do: look.",
        "raised_at": NOW - 2 * HOUR, "told_at": None, "ended_at": None,
    }  # fmt: skip
    return StoredAlert(key=key, id=number, **{**usual, **said})


def tell(
    *stored: StoredAlert, holding: tuple[Alert, ...] = (), now: float = NOW, **said: Any
) -> list[Item]:
    wishes = replace(WISHES, **said.pop("wishes", {}))
    return to_tell(stored, Found(holding), wishes, Timing(), said.pop("last_told", None), now)


def whats(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.what, item.alert.key) for item in items]


def test_an_alert_is_entered_once_and_closed_when_it_is_over() -> None:
    first = changes([], Found((alert(),)))
    assert [one.key for one in first.raised] == ["folder//e"]
    assert changes([row()], Found((alert(),))) == changes([], Found(()))
    assert changes([row(number=7)], Found(())).ended == ((7, False),)
    assert changes([row()], Found((), undecided=frozenset({"folder//e"}))).ended == ()
    again = changes([row(ended_at=NOW)], Found((alert(),)))
    assert len(again.raised) == 1
    assert again.ended == ()


@pytest.mark.parametrize(
    ("key", "told", "nothing_well", "quietly"),
    [
        ("folder//e", True, False, False),
        ("images/P", True, True, True),  # the experiment has ended, and people know
        ("images/P", False, True, False),  # it has ended, and nobody knows yet
        ("flags/P/A1", True, False, False),
        ("flags/P/A1", True, True, True),  # somebody has looked at it
        ("flags/P/A1", False, False, True),  # it came and went over night
    ],
)
def test_what_ends_without_a_word(key: str, told: bool, nothing_well: bool, quietly: bool) -> None:
    stored = row(key, 3, told_at=NOW - HOUR if told else None)
    found = Found((), quietly=frozenset({key} if nothing_well else ()))
    assert changes([stored], found).ended == ((3, quietly),)


def test_what_is_new_is_told_once_and_again_when_it_lasts() -> None:
    assert whats(tell(row(), holding=(alert(),))) == [("new", "folder//e")]
    told = row(told_at=NOW - 23 * HOUR)
    assert tell(told, holding=(alert(),)) == []
    told = row(told_at=NOW - 24 * HOUR)
    assert whats(tell(told, holding=(alert(),))) == [("still", "folder//e")]
    assert tell(told, holding=(alert(),), wishes={"remind_hours": None}) == []
    for key in ("images/P", "flags/P/A1"):
        assert tell(row(key, told_at=NOW - 99 * HOUR), holding=(alert(key),)) == []


def test_what_becomes_urgent_is_told_again() -> None:
    told = row("engine", told_at=NOW - HOUR)
    assert whats(tell(told, holding=(alert("engine", urgent=True),))) == [("new", "engine")]
    assert tell(replace(told, urgent=True), holding=(alert("engine", urgent=True),)) == []


def test_what_is_over_is_told_if_its_beginning_was() -> None:
    over = row(told_at=NOW - HOUR, ended_at=NOW - 60)
    assert whats(tell(over)) == [("over", "folder//e")]
    message = compose(tell(over), "lab-pc")
    assert message.title == "spheroidd: The folder /e can be read again"
    assert "After 1 h 59 min (it began at 10:00 on Tue 10 Mar)" in message.body
    assert message.mood == "success"
    never = tell(row(ended_at=NOW - HOUR))
    assert whats(never) == [("past", "folder//e")]
    message = compose(never, "lab-pc")
    assert message.title == "spheroidd: Over: title of folder//e"
    assert "was over after 60 min, before anybody was told" in message.body


def test_what_has_begun_anew_is_not_over() -> None:
    ended, opened = row(told_at=NOW - HOUR, ended_at=NOW - 60), row(number=2)
    items = tell(ended, opened, holding=(alert(),))
    assert whats(items) == [("new", "folder//e")]
    both = [replace(opened, told_at=NOW, ended_at=NOW), ended]
    [item] = tell(*both)
    assert set(item.ids) == {1, 2}


def test_in_quiet_hours_only_what_cannot_wait_is_told() -> None:
    urgent, other = row("disk", 1, urgent=True), row(number=2)
    holding = (alert("disk", urgent=True), alert())
    assert whats(tell(urgent, other, holding=holding, now=NIGHT)) == [("new", "disk")]
    over = row("disk", 1, urgent=True, told_at=NIGHT - 60, ended_at=NIGHT)
    assert whats(tell(over, other, holding=(alert(),), now=NIGHT)) == [("over", "disk")]
    missed = row("disk", 1, urgent=True, ended_at=NIGHT)
    lasting = row("disk", 1, urgent=True, told_at=NIGHT - 30 * HOUR)
    assert tell(missed, now=NIGHT) == []
    assert tell(lasting, holding=(alert("disk", urgent=True),), now=NIGHT) == []
    morning = NIGHT + 8 * HOUR
    wells = [row(f"flags/P/A{n}", 10 + n) for n in range(1, 5)]
    flags = tuple(alert(one.key) for one in wells)
    items = tell(other, missed, *wells, holding=(alert(), *flags), now=morning)
    assert [item.what for item in items] == ["new"] * 5 + ["past"]


def test_a_lost_accelerator_is_told_by_night() -> None:
    lost = PartState("accelerator", "accelerator lost", NIGHT - HOUR)
    seen = Snapshot(
        Service("running", NOW, NIGHT), [lost], (), (), (), (), Failures(0, (), ""), {}, 0
    )
    found = Examination(seen, WISHES, Timing(), (), NOW, NIGHT).found()
    stored = row("accelerator", urgent=found.holding[0].urgent)
    assert whats(tell(stored, holding=found.holding, now=NIGHT)) == [("new", "accelerator")]


@pytest.mark.parametrize(
    ("hours", "at", "quiet"),
    [
        ("22:00-07:00", "21:59", False), ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "06:59", True), ("22:00-07:00", "07:00", False),
        ("12:00-13:30", "12:45", True), ("12:00-13:30", "13:30", False),
        ("00:00-00:00", "05:00", False), (None, "03:00", False),
    ],
)  # fmt: skip
def test_quiet_hours_may_pass_midnight(hours: str | None, at: str, quiet: bool) -> None:
    hour, minute = map(int, at.split(":"))
    now = datetime(2026, 3, 10, hour, minute, tzinfo=UTC).timestamp()
    assert is_quiet(hours, now) is quiet


def test_quiet_hours_are_local(the_clock_of: Callable[[str], None]) -> None:
    the_clock_of("CET-1CEST,M3.5.0,M10.5.0/3")
    for month, utc in ((1, 21), (7, 20)):  # 22:30 in Berlin, winter and summer
        now = datetime(2026, month, 10, utc, 30, tzinfo=UTC).timestamp()
        assert is_quiet("22:00-07:00", now)
        assert not is_quiet("22:00-07:00", now - HOUR)


def test_what_can_wait_is_gathered() -> None:
    new, urgent = row(number=1), row("disk", 2, urgent=True)
    holding = (alert(), alert("disk", urgent=True))
    assert tell(new, holding=holding, last_told=NOW - 300) == []
    assert whats(tell(new, holding=holding, last_told=NOW - 600)) == [("new", "folder//e")]
    both = [("new", "disk"), ("new", "folder//e")]
    assert whats(tell(new, urgent, holding=holding, last_told=NOW - 300)) == both


def test_96_wells_are_one_message() -> None:
    stored = [row(f"flags/P/{r}{c}", n) for n, (r, c) in
              enumerate((r, c) for r in "ABCDEFGH" for c in range(1, 13))]  # fmt: skip
    stored.append(row("disk", 99, urgent=True))
    holding = tuple(alert(one.key, urgent=one.urgent) for one in stored)
    message = compose(tell(*stored, holding=holding), "lab-pc")
    assert message.title == "spheroidd: title of disk (+96 more)"
    assert message.body.startswith("■ title of disk\nbody of disk\n")
    assert "- body of flags/P/A1\n" in message.body
    assert "… and 76 more" in message.body
    assert message.body.count("What to do: look.") == 2
    assert message.body.endswith("spheroidd on lab-pc")
    assert message.mood == "failure"
    assert len(message.body) < 3000


def test_an_event_is_told_as_it_is() -> None:
    crashed = row("crash", raised_at=NOW, ended_at=NOW)
    message = compose(tell(crashed), "lab-pc")
    assert message.title == "spheroidd: title of crash"
    assert message.body.startswith("body of crash\n")
