"""The stage on a real database, with a real receiver; only the time is invented."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from made_up import admission, measured
from receivers import Webhook
from spheroidd.alerts.addresses import Address
from spheroidd.alerts.seen import Timing, Wishes
from spheroidd.alerts.sending import Sender
from spheroidd.alerts.stage import AlertStage
from spheroidd.store import database as database_module
from spheroidd.store.alerting import PreviousEnd, previous_end, recent_alerts
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.database import Database, timestamp
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
MINUTE, HOUR = 60.0, 3600.0
FULL = Condition("disk", "1 GB is left", "make room", urgent=True)
Log = tuple[Any, list[dict[str, Any]]]


class Bench:
    """A daemon's database whose heart beats, and the stage that looks at it."""

    def __init__(self, folder: Path, log: Log, webhook: Webhook) -> None:
        self.log, self.webhook = log, webhook
        self.path = folder / "spheroidd.db"
        self.db = Database(self.path)
        self.health, self.conditions = Health(self.db), Conditions(self.db)
        self.ledger = Ledger(self.db)
        self.now = NOW
        self.beats = True
        self.health.started(NOW, pid=1, version="0")
        self.folder_is("")
        self.stage = self.made()
        self.stage.start(NOW)

    def made(self, previous: PreviousEnd | None = None, **said: Any) -> AlertStage:
        wishes = Wishes(failures_per_hour=2, **said)
        address = Address("alerts.targets[0]", self.webhook.url)
        sender = Sender([address], self.log[0], 2)
        return AlertStage(
            self.db, ["/e"], wishes, sender, self.log[0], previous, Timing(gather=0), "lab-pc"
        )

    def folder_is(self, trouble: str) -> None:
        self.health.folder("/e", trouble, "native", self.now, scanned=not trouble)

    def go(self, seconds: float, every: float = 10.0) -> list[str]:
        """Let time pass; returns the titles that were told meanwhile."""
        before, end = len(self.webhook.messages), self.now + seconds
        while self.now < end:
            self.now += min(every, end - self.now)
            if self.beats:
                self.health.update(self.now, phase="running")
            assert self.stage.step(self.now) is False
        return [title.removeprefix("spheroidd: ") for title in self.webhook.titles[before:]]

    def rows(self) -> list[dict[str, Any]]:
        with Reader(self.path) as reader:
            return recent_alerts(reader)

    def arrive(self, captured: float, *wells: str, name: str = "") -> None:
        """Images that are seen now, taken in at once."""
        for well in wells:
            file = name or f"{captured:.0f}.jpg"
            self.ledger.arrive("/e", [(f"/e/P/{well}/{file}", 1, 1)], self.now)
            [image] = self.ledger.waiting("/e")
            at = timestamp(captured)
            self.ledger.admit(
                image.id, admission(well, file, captured_at=at, time_key=at), self.now
            )


@pytest.fixture
def bench(tmp_path: Path, captured_log: Log, webhook: Webhook) -> Iterator[Bench]:
    one = Bench(tmp_path, captured_log, webhook)
    yield one
    one.db.close()


def test_a_folder_goes_and_comes_back(bench: Bench) -> None:
    bench.go(MINUTE)
    bench.folder_is("no such folder")
    assert bench.go(110) == []
    bench.folder_is("")
    assert bench.go(10 * MINUTE) == []  # a blink
    bench.folder_is("no such folder")
    assert bench.go(10 * MINUTE) == ["No way to the folder /e"]
    [row] = bench.rows()
    assert (row["open"], row["tries"], row["error"]) == (1, 1, None)
    bench.folder_is("")
    assert bench.go(100) == []
    assert bench.go(100) == ["The folder /e can be read again"]
    assert "After 10 min" in bench.webhook.messages[-1]["message"]
    assert bench.webhook.messages[-1]["message"].endswith("spheroidd on lab-pc")
    assert bench.go(HOUR, MINUTE) == []
    [row] = bench.rows()
    assert row["open"] == 0
    assert row["told_at"] < row["ended_at"] <= row["end_told_at"]


def test_parts_are_told_once_reminded_and_survive_a_restart(bench: Bench) -> None:
    bench.conditions.tell([FULL, Condition("engine")], bench.now)
    assert bench.go(MINUTE) == ["The disk is nearly full"]
    bench.stage = bench.made()
    bench.stage.start(bench.now)
    assert bench.go(23 * HOUR, 10 * MINUTE) == []
    assert bench.go(2 * HOUR, 10 * MINUTE) == ["Still: The disk is nearly full"]
    assert "it began 24 h ago" in bench.webhook.messages[-1]["message"]
    bench.conditions.tell([Condition("disk"), Condition("engine")], bench.now)
    assert bench.go(MINUTE) == ["The disk has room again"]
    assert len(bench.rows()) == 1


def test_an_experiment_that_stops_is_told_once(bench: Bench) -> None:
    for _ in range(4):
        bench.arrive(bench.now - 600, "A1", "A2")
        assert bench.go(3 * HOUR, 10 * MINUTE) == []
    bench.folder_is("")  # it is looked through
    [title] = bench.go(8 * HOUR, 10 * MINUTE)
    assert title.startswith("No image of P for 9 h")
    [row] = bench.rows()
    assert row["key"] == "images/P"
    bench.arrive(bench.now - 600, "A1")
    assert bench.go(10 * MINUTE) == ["Images of P arrive again"]
    [title] = bench.go(12 * HOUR, 10 * MINUTE)
    assert title.startswith("No image of P")
    assert bench.go(5 * 24 * HOUR, HOUR) == []
    assert [row["open"] for row in bench.rows()] == [0, 0]


def test_an_unreadable_image_of_the_plate_counts_as_arrived(bench: Bench) -> None:
    for _ in range(3):
        bench.arrive(bench.now, "A1", "A2")
        bench.go(3 * HOUR, 10 * MINUTE)
    for hour in range(20):  # the camera writes rubbish, and does so in time
        bench.ledger.arrive("/e", [(f"/e/P/A2/bad{hour}.jpg", 1, 1)], bench.now)
        [image] = bench.ledger.waiting("/e")
        bench.ledger.fail(image, "torn", bench.now, permanent=True)
        assert bench.go(HOUR, 10 * MINUTE) == []
    assert bench.go(9 * HOUR, 10 * MINUTE)[0].startswith("No image of P")


def test_old_images_that_are_copied_here_alarm_nobody(bench: Bench) -> None:
    for frame in range(6):
        bench.arrive(NOW - 200 * 24 * HOUR + frame * 3 * HOUR, "A1", "A2")
    assert bench.go(4 * 24 * HOUR, HOUR) == []
    assert bench.rows() == []


def test_failures_are_counted_until_they_are_mended(bench: Bench) -> None:
    bench.ledger.arrive("/e", [(f"/e/P/A1/{n}.jpg", 1, 1) for n in range(3)], bench.now)
    images = bench.ledger.waiting("/e")
    bench.ledger.fail(images[0], "torn", bench.now, permanent=True)
    assert bench.go(MINUTE) == []
    bench.ledger.fail(images[1], "torn", bench.now)
    bench.ledger.fail(images[2], "not an image", bench.now)
    assert bench.go(MINUTE) == ["3 images failed within an hour"]
    assert "2 ×: torn" in bench.webhook.messages[-1]["message"]
    assert bench.ledger.retry_due(bench.now) == 2  # being tried is not being measured
    assert bench.go(MINUTE) == []
    for image in bench.ledger.waiting("/e"):
        bench.ledger.admit(image.id, admission("A1", f"{image.id}.jpg"), bench.now)
    assert bench.go(MINUTE) == ["Images are measured again"]


def flagged_frames(bench: Bench, well: str, flags: list[str]) -> list[int]:
    ids = [
        measured(bench.db, well, (bench.now - 1_700_000_000.0) / HOUR - 3 * (len(flags) - n))
        for n in range(len(flags))
    ]
    with bench.db.write() as sql:
        for image, text in zip(ids, flags, strict=True):
            sql.execute(
                "UPDATE images SET root = '/e', seen_at = captured_at WHERE id = ?", (image,)
            )
            sql.execute("UPDATE measurements SET flags = ? WHERE image_id = ?", (text, image))
        sql.execute("DELETE FROM unjudged")
    return ids


def test_wells_that_are_flagged_in_a_row_are_told_together(bench: Bench) -> None:
    bad = ["", "low_focus", "low_focus,area_jump", "low_focus"]
    a1 = flagged_frames(bench, "A1", bad)
    a2 = flagged_frames(bench, "A2", bad)
    flagged_frames(bench, "A3", ["low_focus", "low_focus", ""])
    with bench.db.write() as sql:
        sql.execute("INSERT INTO unjudged VALUES ('P', 'A2')")
    assert bench.go(MINUTE) == ["P, well A1: flagged 3 times in a row"]
    assert "low_focus (3 ×), area_jump (1 ×)" in bench.webhook.messages[-1]["message"]
    with bench.db.write() as sql:
        sql.execute("DELETE FROM unjudged")
    assert bench.go(2 * MINUTE) == ["P, well A2: flagged 3 times in a row"]
    with bench.db.write() as sql:  # one is excluded by a person, the other judged anew
        sql.execute("UPDATE images SET excluded = 1 WHERE id = ?", (a1[-1],))
        sql.execute("UPDATE measurements SET flags = '' WHERE image_id = ?", (a2[-1],))
    assert bench.go(2 * MINUTE) == ["P, well A2: no longer flagged"]
    assert [row["open"] for row in bench.rows()] == [0, 0]


def test_nobody_can_be_reached_for_hours(bench: Bench) -> None:
    bench.webhook.go_away()
    bench.conditions.tell([FULL], bench.now)
    assert bench.go(MINUTE) == []
    [row] = bench.rows()
    assert row["told_at"] is None
    assert row["tries"] == 2
    assert row["error"] == "json://… (alerts.targets[0]): it refuses connections"
    assert "json://…" in bench.stage.trouble
    bench.go(2 * HOUR, MINUTE)
    assert 5 <= bench.rows()[0]["tries"] <= 9
    bench.conditions.tell([Condition("disk")], bench.now)
    bench.go(HOUR, MINUTE)
    bench.webhook.come_back()
    assert bench.go(HOUR, MINUTE) == ["Over: The disk is nearly full"]
    assert bench.stage.trouble == ""
    assert bench.go(HOUR, MINUTE) == []


def test_the_end_of_the_last_daemon_is_told(bench: Bench) -> None:
    bench.health.update(bench.now, phase="running")
    found = previous_end(bench.db)
    assert found == PreviousEnd(bench.now)
    bench.now += 2 * HOUR
    bench.stage = bench.made(found)
    bench.stage.start(bench.now)
    assert bench.go(5 * MINUTE, MINUTE) == ["spheroidd runs again; it was away for 2 h 1 min"]
    assert "12:00 on Tue 10 Mar" in bench.webhook.messages[0]["message"]
    for _ in range(2):  # and it goes on so
        bench.stage = bench.made(PreviousEnd(bench.now))
        bench.stage.start(bench.now)
        told = bench.go(5 * MINUTE, MINUTE)
    assert told == ["spheroidd keeps crashing: 3 times within an hour"]
    assert bench.go(2 * HOUR, 10 * MINUTE) == ["spheroidd runs without crashing again"]
    bench.health.ended(bench.now, "failed", "the graphics card is lost")
    assert previous_end(bench.db) == PreviousEnd(bench.now, "the graphics card is lost")
    bench.health.ended(bench.now, "stopped")
    assert previous_end(bench.db) is None


def test_before_the_first_scan_nothing_is_known(bench: Bench) -> None:
    bench.folder_is("away")
    bench.beats = False  # it is `starting`
    assert bench.go(9 * MINUTE) == []
    assert bench.go(2 * MINUTE) == ["No way to the folder /e"]


def test_a_reload_that_takes_its_time_is_no_silent_database(bench: Bench) -> None:
    assert bench.go(MINUTE) == []
    bench.beats = False
    for phase in ("starting", "running"):  # said before the reload; and where that failed
        bench.health.update(bench.now, phase=phase)
        bench.now += 9 * MINUTE
        bench.stage = bench.made()
        bench.stage.start(bench.now)
        assert bench.go(20) == []
        assert not bench.log[1], "nor does the log say so"
    bench.go(20)
    assert "Nothing was written" in bench.log[1][-1]["reason"]
    bench.now -= 2 * HOUR  # the clock is set back: that is seen all the same
    assert bench.go(3 * MINUTE) == ["The database can't be used"]


def test_a_folder_that_is_watched_no_more_is_not_well_again(bench: Bench) -> None:
    ill = Condition("part intake /old", "it fails")
    bench.conditions.tell([FULL, ill], bench.now)
    assert len(bench.go(10 * MINUTE)) == 2
    bench.conditions.tell([Condition("disk")], bench.now)  # after a reload without it
    assert bench.go(10 * MINUTE) == ["The disk has room again"]
    assert [row["open"] for row in bench.rows()] == [0, 0]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database is waited for half a minute; here a moment."""
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.02)
    monkeypatch.setattr(database_module, "_LOCKED_SECONDS", 0.02)


@pytest.mark.usefixtures("impatient")
def test_a_locked_database_is_told_once_from_memory(
    tmp_path: Path, captured_log: Log, webhook: Webhook
) -> None:
    bench = Bench(tmp_path, captured_log, webhook)
    bench.conditions.tell([FULL], bench.now)
    bench.health.update(bench.now, phase="running")
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    bench.beats = False
    assert bench.go(100) == []
    assert bench.go(HOUR, MINUTE) == ["The database can't be used"]
    assert webhook.messages[-1]["type"] == "failure"
    assert [event["event"] for event in captured_log[1]].count(
        "alerts can't use the database; trying again"
    ) == 1
    other.execute("ROLLBACK")
    other.close()
    bench.beats = True
    assert bench.go(MINUTE) == ["The disk is nearly full", "The database can be used again"]
    assert sorted((row["key"], row["open"]) for row in bench.rows()) == [
        ("database", 0), ("disk", 1),
    ]  # fmt: skip
    bench.db.close()


def test_a_database_that_nobody_writes_any_more_is_told(bench: Bench) -> None:
    """There is nothing to enter, so only the heartbeat's silence shows it."""
    bench.go(MINUTE, MINUTE)
    bench.beats = False
    assert bench.go(2 * MINUTE) == []
    assert bench.go(HOUR, MINUTE) == ["The database can't be used"]
    bench.beats = True
    assert bench.go(MINUTE) == ["The database can be used again"]


def test_without_targets_alerts_are_kept_all_the_same(bench: Bench) -> None:
    bench.stage = AlertStage(
        bench.db, ["/e"], Wishes(), Sender([], bench.log[0]), bench.log[0], timing=Timing()
    )
    bench.stage.start(bench.now)
    bench.conditions.tell([FULL], bench.now)
    assert bench.go(10 * MINUTE, MINUTE) == []
    [row] = bench.rows()
    assert (row["key"], row["told_at"], row["tries"]) == ("disk", None, 0)


@pytest.mark.usefixtures("impatient")
def test_what_was_told_just_before_the_database_failed_is_not_told_again(
    tmp_path: Path, captured_log: Log, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, captured_log, webhook)
    bench.conditions.tell([FULL], bench.now)
    other = sqlite3.connect(bench.path, isolation_level=None)
    real = Sender.send

    def send_and_lock(self: Sender, *given: Any) -> str:
        why = real(self, *given)
        if not other.in_transaction:
            other.execute("BEGIN IMMEDIATE")
        return why

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", send_and_lock)
        assert bench.go(20) == ["The disk is nearly full"]
    bench.beats = False
    assert bench.go(HOUR, MINUTE) == ["The database can't be used"]
    other.execute("ROLLBACK")
    other.close()
    bench.beats = True
    assert bench.go(HOUR, MINUTE) == ["The database can be used again"]
    bench.db.close()


def test_a_database_that_is_gone_is_told(bench: Bench) -> None:
    bench.go(MINUTE)
    bench.stage = bench.made()  # with no connection yet
    bench.stage.start(bench.now)
    away = bench.path.rename(bench.path.with_name("away.db"))
    bench.beats = False
    assert bench.go(10 * MINUTE) == ["The database can't be used"]
    away.rename(bench.path)
    bench.beats = True
    assert bench.go(MINUTE) == ["The database can be used again"]


def test_a_daemon_that_ends_by_itself_says_so(bench: Bench) -> None:
    bench.stage.last_words("The graphics card is lost.", bench.now)
    [message] = bench.webhook.messages
    assert message["title"] == "spheroidd has ended by itself"
    assert message["message"].startswith("The graphics card is lost.")


def test_no_secret_gets_into_the_database_or_the_log(bench: Bench) -> None:
    bench.conditions.tell([FULL], bench.now)
    bench.webhook.answer = 500
    bench.go(HOUR, MINUTE)
    bench.webhook.answer = 200
    assert bench.go(HOUR, MINUTE) == ["The disk is nearly full"]
    bench.db.close()
    kept = b"".join(file.read_bytes() for file in bench.path.parent.glob("spheroidd.db*"))
    kept += json.dumps(bench.log[1], default=str).encode()
    assert b"json://" in kept
    for word in Webhook.SECRETS:
        assert word.encode() not in kept
