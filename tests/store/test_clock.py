"""The clock jumps, forward and back: nothing waits longer than it would have, nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from made_up import NOW, admission
from spheroidd.measure.batches import Rule, next_batch
from spheroidd.report.status import snapshot
from spheroidd.store import run_reading
from spheroidd.store.database import Database, timestamp
from spheroidd.store.health import Health
from spheroidd.store.images import BACK_OFF, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader

HOUR, DAY = 3600.0, 86400.0
JUMPS = [-365 * DAY, -HOUR, -2 * 60.0, HOUR, DAY]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "spheroidd.db") as database:
        yield database


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def taken_in(ledger: Ledger, name: str = "1.jpg", now: float = NOW) -> Image:
    ledger.arrive("/e", [(f"/e/P/A1/{name}", 1, 1)], now)
    [image] = ledger.waiting("/e")
    ledger.admit(image.id, admission(name=name), now)
    [image] = ledger.claim("ready", now)
    return image


def failed(ledger: Ledger, times: int = 1) -> float:
    """An image that has failed so often; returns when it did the last time."""
    image, now = taken_in(ledger), NOW
    for attempt in range(times):
        ledger.fail(image, "because", now, for_ever=True)
        if attempt < times - 1:
            now += BACK_OFF[-1]
            assert ledger.retry_due(now) == 1
            [image] = ledger.claim("ready", now)
    return now


def tries_again_after(ledger: Ledger, clock: float, limit: float) -> float:
    """Seconds of real time until the image is tried again, from what the clock says now."""
    passed = 0.0
    while ledger.retry_due(clock + passed) == 0:
        passed += 15.0
        assert passed <= limit + 15.0, "it waits longer than it would have"
    return passed


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("times", [1, len(BACK_OFF), len(BACK_OFF) + 2])
def test_a_jump_delays_no_next_try(ledger: Ledger, jump: float, times: int) -> None:
    """A jump that is smaller than the back-off itself can't be told; it may wait twice as long."""
    now = failed(ledger, times)
    wait = BACK_OFF[min(times, len(BACK_OFF)) - 1]
    seconds = tries_again_after(ledger, now + jump, wait)
    if jump < 0 and -jump > wait:
        assert seconds == 0
    if jump >= wait:
        assert seconds == 0


def test_without_a_jump_the_back_off_is_kept(ledger: Ledger) -> None:
    image, now = taken_in(ledger), NOW
    for wait in [*BACK_OFF, BACK_OFF[-1]]:
        ledger.fail(image, "because", now, for_ever=True)
        for early in (0.0, 1.0, wait - 1):
            assert ledger.retry_due(now + early) == 0
        now += wait
        assert ledger.retry_due(now) == 1
        [image] = ledger.claim("ready", now)


def test_a_jump_back_brings_nothing_back_that_was_set_aside(ledger: Ledger) -> None:
    image = taken_in(ledger)
    ledger.fail(image, "no such thing", NOW, permanent=True)
    for jump in JUMPS:
        assert ledger.retry_due(NOW + jump) == 0


@pytest.mark.parametrize("jump", JUMPS)
def test_a_batch_is_not_kept_waiting(ledger: Ledger, database: Database, jump: float) -> None:
    image = taken_in(ledger)
    with database.write() as sql:
        sql.execute(
            "UPDATE images SET state = 'segmented', claimed_at = NULL, segmented_at = ?"
            " WHERE id = ?",
            (timestamp(NOW), image.id),
        )
    rule = Rule(max_images=8, max_wait_seconds=20)
    assert next_batch(ledger.pending_plates(), rule, NOW + 19) is None
    passed = 0.0
    while next_batch(ledger.pending_plates(), rule, NOW + jump + passed) is None:
        passed += 5
        assert passed <= 20


@pytest.mark.parametrize("jump", JUMPS)
def test_what_a_dead_daemon_held_is_handed_back_whatever_the_clock_says(
    ledger: Ledger, jump: float
) -> None:
    held = taken_in(ledger, now=NOW)
    assert ledger.claim("ready", NOW + jump) == []
    assert ledger.recover() == 1
    [image] = ledger.claim("ready", NOW + jump)
    assert image.id == held.id


@pytest.mark.parametrize("jump", [-365 * DAY, -HOUR, HOUR])
def test_a_daemon_that_is_dead_does_not_live_on_in_the_future(
    database: Database, tmp_path: Path, jump: float
) -> None:
    """Its last heartbeat lies ahead of a clock that went back: that is silence too."""
    health = Health(database)
    health.started(NOW, pid=1, version="0")
    health.update(NOW, phase="running")
    taken_in(Ledger(database))
    with Reader(tmp_path / "spheroidd.db") as reader:
        assert snapshot(reader, NOW + 1)["daemon"]["running"]
        assert run_reading.live_work(reader, NOW + 1) == 1
        assert not snapshot(reader, NOW + jump)["daemon"]["running"]
        assert run_reading.live_work(reader, NOW + jump) == 0
        health.update(NOW + jump)  # it was alive after all
        assert snapshot(reader, NOW + jump + 1)["daemon"]["running"]


def test_a_clock_that_was_never_set_is_no_trouble(ledger: Ledger) -> None:
    """1970 at the start, the year 2100 a moment later."""
    image = taken_in(ledger, now=0.0)
    assert ledger.fail(image, "because", 1.0)
    assert ledger.retry_due(4_102_444_800.0) == 1
    [image] = ledger.claim("ready", 4_102_444_800.0)
    assert ledger.fail(image, "because", 4_102_444_800.0)
    assert ledger.retry_due(0.0) == 1
