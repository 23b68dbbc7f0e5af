"""Copies of the database while it is written to, again and again, and never too few of them."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up import NOW, measured
from spheroidd.errors import StoreError
from spheroidd.store import copying
from spheroidd.store.backups import backup_name, backups_in
from spheroidd.store.copying import contents_of, copy_database, require_room
from spheroidd.store.database import Database
from spheroidd.store.soundness import DamagedError
from spheroidd.upkeep.backup import BackupStage, back_up_to, make_backup

HOUR = 3600.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "spheroidd.db") as one:
        measured(one, "A1", 0)
        yield one


def grow(database: Database, megabytes: int) -> None:
    with database.write() as sql:
        sql.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO transitions (image_id, to_state, at, reason)"
            " SELECT 1, 'measured', '2026', hex(randomblob(500)) FROM n",
            (1000 * megabytes,),
        )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def overwrite(path: Path) -> None:
    """Sixteen pages in the middle become noise."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(16 * 4096))


# -- one backup ------------------------------------------------------------------------------


def test_a_copy_is_of_one_moment_and_nobody_waits_for_it(
    database: Database, tmp_path: Path
) -> None:
    grow(database, 20)
    steps: list[int] = []

    def write_meanwhile(done: int, of: int) -> None:
        steps.append(done)
        measured(database, "B1", len(steps))  # would fail after the busy time-out
        assert of > 20e6

    path = make_backup(database.path, tmp_path / "backups", NOW, write_meanwhile)
    assert steps == sorted(steps), "it never began anew"
    assert len(set(steps)) >= 5
    found = contents_of(path)
    assert (found.images, found.measured, found.reviews) == (1, 1, 0), "as it was when it began"
    assert contents_of(back_up_to(database.path, tmp_path / "later")).images == 1 + len(steps)
    assert names(tmp_path / "backups") == ["spheroidd-20231114T221320Z.db"]


def test_a_copy_is_a_database_like_any_other(database: Database, tmp_path: Path) -> None:
    path = make_backup(database.path, tmp_path, NOW)
    with Database(path) as copy:
        measured(copy, "A1", 1)
        assert len(copy.rows("SELECT * FROM growth")) == 2
    assert len(database.rows("SELECT * FROM growth")) == 1


def test_nothing_is_overwritten(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    paths = [make_backup(database.path, folder, NOW) for _ in range(3)]
    assert [one.path for one in backups_in(folder)] == paths, "the youngest last"
    with pytest.raises(StoreError, match="there already"):
        back_up_to(database.path, paths[0])
    assert len(names(folder)) == 3


def test_what_can_not_be_copied_leaves_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    grow(database, 2)
    database.close()
    overwrite(database.path)
    with pytest.raises(DamagedError, match="is damaged"):
        make_backup(database.path, folder, NOW)
    assert names(folder) == []
    with pytest.raises(StoreError, match=r"no database"):
        make_backup(tmp_path / "other.db", folder, NOW)
    with pytest.raises(StoreError, match=r"No backup can be made in .*missing"):
        make_backup(database.path, tmp_path / "missing" / "share", NOW)
    with pytest.raises(StoreError, match="MB are free"):
        require_room(tmp_path, 10**17)


def test_a_killed_copy_is_no_backup_and_is_cleared_away(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    grow(database, 20)
    folder = tmp_path / "backups"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from spheroidd.upkeep.backup import make_backup\n"
        "kill = lambda done, of: os.kill(os.getpid(), signal.SIGKILL)\n"
        "make_backup(Path(sys.argv[1]), Path(sys.argv[2]), 0.0, kill)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(database.path), str(folder)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert backups_in(folder) == []
    [part] = folder.iterdir()
    one = stage(database, folder, captured_log)
    one.start(part.stat().st_mtime + 60)
    assert part.exists(), "somebody may be at it"
    one.start(part.stat().st_mtime + 2 * HOUR)
    assert names(folder) == []


# -- again and again ---------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stage(
    database: Database, folder: Path, captured_log: Any, clock: Clock | None = None, copies: int = 3
) -> BackupStage:
    return BackupStage(database.path, folder, 24.0, copies, captured_log[0], clock or Clock())


def step(one: BackupStage, clock: Clock, now: float) -> None:
    clock.now += 2 * HOUR  # beyond every pause
    assert one.step(now) is False


def test_backups_come_in_time_and_only_the_oldest_of_them_go(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    one = stage(database, folder, captured_log, clock)
    step(one, clock, NOW)
    for name in ("spheroidd-20200101T000000Z.db.old", "spheroidd-notes.db", "other.db"):
        (folder / name).write_text("mine")
    (folder / "spheroidd-20199999T000000Z.db").write_text("mine, too")
    (folder / "spheroidd-20190101T000000Z.db").symlink_to(folder / "other.db")
    step(one, clock, NOW + 23 * HOUR)
    assert len(backups_in(folder)) == 1
    again = stage(database, folder, captured_log, clock)
    again.start(NOW + 23 * HOUR)
    step(again, clock, NOW + 23.9 * HOUR)
    assert len(backups_in(folder)) == 1, "a start is no reason"
    for day in range(1, 6):
        step(again, clock, NOW + day * 24 * HOUR)
    made = [round((one.made_at - NOW) / HOUR) for one in backups_in(folder)]
    assert made == [72, 96, 120]
    assert len(names(folder)) == 3 + 5
    assert [event["level"] for event in captured_log[1]] == ["info"] * len(captured_log[1])


def test_a_failure_is_told_tried_again_and_costs_no_backup(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    one = stage(database, folder, captured_log, clock, copies=1)
    one.step(NOW)
    [kept] = backups_in(folder)
    good = tmp_path / "good.db"
    database.close()
    shutil.copy(database.path, good)
    database.path.write_bytes(b"noise" * 5000)
    later = NOW + 25 * HOUR
    clock.now += 61
    one.step(later)
    assert "is damaged" in one.trouble
    assert str(kept.path) in one.trouble, "what to restore"
    assert backups_in(folder) == [kept]
    clock.now += 59
    one.step(later)
    tries = [event["again_in_seconds"] for event in captured_log[1] if event["level"] == "error"]
    assert tries == [60.0], "not again at once"
    for _ in range(5):
        step(one, clock, later)
    tries = [event["again_in_seconds"] for event in captured_log[1] if event["level"] == "error"]
    assert tries == [60.0, 300.0, 900.0, 3600.0, 3600.0, 3600.0]
    good.replace(database.path)
    step(one, clock, later)
    assert one.trouble == ""
    assert names(folder) == [backup_name(later)]


@pytest.mark.parametrize("copies", [1, 3])
def test_a_clock_that_jumps_costs_neither_the_new_backup_nor_the_next(
    database: Database, tmp_path: Path, captured_log: Any, copies: int
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    one = stage(database, folder, captured_log, clock, copies=copies)
    times = [NOW, NOW + 5 * 8766 * HOUR, NOW + HOUR, NOW + 2 * HOUR, NOW + 26 * HOUR]
    for now in times:
        step(one, clock, now)
        made = {round((found.made_at - NOW) / HOUR) for found in backups_in(folder)}
        assert len(made) <= copies
    assert 26 in made, "made after the clock was set right"


def test_the_end_of_the_service_waits_for_no_copy(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    grow(database, 5)
    one = stage(database, tmp_path / "backups", captured_log)
    one.stop()
    one.step(NOW)
    assert names(tmp_path / "backups") == []
    assert one.trouble == ""


def test_the_end_waits_for_no_check_of_a_copy_either(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_STEPS", 1000)
    grow(database, 2)
    whole: list[int] = []

    def end_in_the_check(done: int, of: int) -> None:
        whole.extend([done] * (done == of))
        if len(whole) == 2:
            raise InterruptedError("told to end")

    with pytest.raises(InterruptedError, match="told to end"):
        copy_database(database.path, tmp_path / "copy.db", end_in_the_check)
    assert not (tmp_path / "copy.db").exists()


def test_a_good_backup_by_hand_ends_the_trouble(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    one = stage(database, folder, captured_log, clock)
    folder.write_text("in the way")
    for _ in range(3):
        step(one, clock, NOW)
    assert "no backup" in one.trouble
    folder.unlink()
    make_backup(database.path, folder, NOW)
    clock.now += 61  # long before the next try
    one.step(NOW)
    assert one.trouble == ""
    assert len(backups_in(folder)) == 1


def test_old_backups_that_can_not_be_removed_are_removed_later(
    database: Database, tmp_path: Path, captured_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    one = stage(database, folder, captured_log, clock, copies=1)
    one.step(NOW)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == backup_name(NOW):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:  # root may remove anything
        patch.setattr(Path, "unlink", refuse)
        step(one, clock, NOW + 24 * HOUR)
    assert "can't be removed" in one.trouble
    assert len(backups_in(folder)) == 2
    clock.now += 61
    one.step(NOW + 24 * HOUR + 61)
    assert one.trouble == ""
    assert names(folder) == [backup_name(NOW + 24 * HOUR)]


def test_backups_of_a_database_begun_afresh_push_out_no_fuller_one(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    measured(database, "A1", 1)
    with database.write() as sql:
        sql.execute("INSERT INTO reviews (at, who, action) VALUES ('2026', 'me', 'confirm')")
    one = stage(database, folder, captured_log, clock, copies=2)
    for day in (0, 1, 2):
        step(one, clock, NOW + day * 24 * HOUR)
    with Database(tmp_path / "afresh.db") as afresh:
        measured(afresh, "A1", 0)
        one = stage(afresh, folder, captured_log, clock, copies=2)
        for day in (3, 4, 5, 6):
            step(one, clock, NOW + day * 24 * HOUR)
        days = [round((found.made_at - NOW) / 24 / HOUR) for found in backups_in(folder)]
        assert days == [2, 5, 6], "the fullest, and the newest two"
        [spared] = [event for event in captured_log[1] if event["level"] == "warning"]
        assert (spared["images"], spared["reviews"]) == (2, 1)
        assert spared["path"].endswith(backup_name(NOW + 48 * HOUR))
        measured(afresh, "A1", 1)
        step(one, clock, NOW + 7 * 24 * HOUR)
        assert len(backups_in(folder)) == 3, "no fuller any more, but it has the only review"
        with afresh.write() as sql:
            sql.execute("INSERT INTO reviews (at, who, action) VALUES ('2026', 'me', 'confirm')")
        step(one, clock, NOW + 8 * 24 * HOUR)
    days = [round((found.made_at - NOW) / 24 / HOUR) for found in backups_in(folder)]
    assert days == [7, 8], "it went when the newer ones held as much"
    assert one.trouble == ""


def test_what_is_no_database_is_no_reason_to_keep_or_to_fail(
    database: Database, tmp_path: Path, captured_log: Any
) -> None:
    folder, clock = tmp_path / "backups", Clock()
    folder.mkdir()
    (folder / backup_name(NOW - 50 * HOUR)).write_bytes(b"")
    (folder / backup_name(NOW - 49 * HOUR)).write_bytes(b"noise" * 5000)
    one = stage(database, folder, captured_log, clock, copies=1)
    step(one, clock, NOW)
    assert names(folder) == [backup_name(NOW)]
    assert one.trouble == ""


def test_a_newer_or_strange_file_is_told_apart(database: Database, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as strange:
        strange.execute("CREATE TABLE images (id)")
    strange.close()
    with pytest.raises(StoreError, match="no database of spheroidd's"):
        contents_of(other)
