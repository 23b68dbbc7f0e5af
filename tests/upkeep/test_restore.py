"""A backup takes the database's place: nothing is mixed, nothing is deleted, nothing half."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from made_up import NOW, measured
from spheroidd.errors import StoreError
from spheroidd.store.copying import is_in_use
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.upkeep.backup import make_backup
from spheroidd.upkeep.restore import restore


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


@pytest.fixture
def backup(state: StateFolder) -> Path:
    """Of two measured images and a review; two more and another review came later."""
    with Database(state.database) as database:
        for hours in (0, 1):
            measured(database, "A1", hours)
        review(database, 1)
        path = make_backup(state.database, state.root / "backups", NOW)
        for hours in (2, 3):
            measured(database, "A1", hours)
        review(database, 3)
    return path


def review(database: Database, image: int) -> None:
    [row] = database.rows(
        "SELECT id, object_number, area_px FROM measurements WHERE image_id = :id AND current",
        {"id": image},
    )
    subject = Subject(image, row["id"], row["object_number"], row["area_px"])
    Reviews(database).exclude([subject], NOW, who="me", reason="a bubble")


def images(state: StateFolder) -> int:
    with Database(state.database) as database:
        return len(database.rows("SELECT 1 FROM images"))


def test_it_says_what_is_lost_and_puts_it_aside(state: StateFolder, backup: Path) -> None:
    done = restore(backup, state, NOW)
    assert (done.now.measured, done.now.reviews) == (2, 1)
    assert done.before is not None
    assert (done.before.measured, done.before.reviews) == (4, 2)
    assert images(state) == 2
    assert done.aside is not None
    assert backup.is_file()
    undone = restore(done.aside / "spheroidd.db", state, NOW)
    assert undone.now.reviews == 2
    assert images(state) == 4
    assert undone.aside not in (None, done.aside)
    with pytest.raises(StoreError, match="the database itself"):
        restore(state.database, state, NOW)


def test_what_other_images_left_behind_is_put_aside(state: StateFolder, backup: Path) -> None:
    well = state.root / state.well("P", "A1")
    old = [well / "a.2.mask.png", state.root / state.batch("P", 2) / "Image.csv", well / "note.png"]
    new = [
        *(well / "a.3.mask.png", well / "a.3.outline.jpg", well / "run-1" / "a.12.white.png"),
        state.root / state.batch("P", 3) / "Image.csv",
    ]
    for path in old + new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for number in (1, 2, 3):
        state.original(number).write_text("x")
    before = NOW - 1
    os.utime(state.original(1), (before, before))
    os.utime(state.original(3), (before, before))
    done = restore(backup, state, NOW)
    assert done.files == 4
    assert all(path.exists() for path in old)
    assert done.aside is not None
    assert all((done.aside / path.relative_to(state.root)).exists() for path in new)
    assert not any(path.exists() for path in new)
    assert [path.name for path in state.handover.iterdir()] == ["1.npy"], (
        "2 was written after the backup, perhaps for another image; 3 is not known"
    )


def test_the_log_of_the_old_database_is_not_played_into_the_new(
    state: StateFolder, backup: Path
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from made_up import measured\n"
        "from spheroidd.store.database import Database\n"
        "database = Database(Path(sys.argv[1]))\n"
        "[measured(database, 'B7', hours) for hours in range(3)]\n"
        "os._exit(0)  # as a kill would: nothing is folded in\n"
    )
    python_path = os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-c", script, str(state.database)],
        env={**os.environ, "PYTHONPATH": python_path},
        check=True,
        cwd=Path(__file__).parents[2],
    )
    log = state.database.with_name("spheroidd.db-wal")
    assert log.stat().st_size > 0
    done = restore(backup, state, NOW)
    assert done.before is not None
    assert done.before.measured == 7, "what stood in the log alone"
    assert not log.exists()
    assert images(state) == 2
    with contextlib.closing(sqlite3.connect(state.database)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_damaged_database_is_put_aside_with_its_log(state: StateFolder, backup: Path) -> None:
    state.database.write_bytes(b"noise" * 9999)
    beside = state.database.with_name("spheroidd.db-wal")
    beside.write_bytes(b"more noise")
    done = restore(backup, state, NOW)
    assert done.before is None
    assert done.aside is not None
    assert (done.aside / "spheroidd.db").read_bytes().startswith(b"noise")
    assert images(state) == 2
    state.database.unlink()
    assert restore(backup, state, NOW).aside is None, "there was nothing"
    assert images(state) == 2


def test_nobody_else_may_have_it_open(state: StateFolder, backup: Path) -> None:
    with Database(state.database), pytest.raises(StoreError, match="has the database"):
        restore(backup, state, NOW)
    assert not is_in_use(state.database)
    assert images(state) == 4


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 12))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def strange(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE images (id)")


def newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('spheroidd', 'm999_x')"
        )


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (damage, "is damaged"),
        (cut, "is damaged"),
        (strange, "no database of spheroidd's"),
        (newer, "newer spheroidd"),
        (lambda path: path.write_bytes(b""), "no database of spheroidd's"),
        (lambda path: path.unlink(), "There is no backup"),
    ],
)
def test_what_is_no_good_backup_changes_nothing(
    state: StateFolder, backup: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(backup)
    with pytest.raises(StoreError, match=told):
        restore(backup, state, NOW)
    assert images(state) == 4
    assert not list(state.root.glob(".*.part"))
    assert not list(state.root.glob("before-restore-*"))


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, last: str) -> None:
    """The step fails for a file of this name; elsewhere it does what it always does."""
    real = getattr(Path, name)

    def step(self: Path, target: Path) -> Path | None:
        if last in (self.name, Path(target).name):
            raise OSError(28, "No space left on device", str(self))
        return real(self, target)  # type: ignore[no-any-return]

    monkeypatch.setattr(Path, name, step)


@pytest.mark.parametrize(("step", "of"), [("rename", "10.npy"), ("replace", "spheroidd.db")])
def test_an_end_half_way_leaves_everything_as_it_was(
    state: StateFolder, backup: Path, monkeypatch: pytest.MonkeyPatch, step: str, of: str
) -> None:
    for number in (9, 10):
        state.original(number).write_text("an original that the backup does not know")
    picture = state.root / state.well("P", "A1") / "a.4.mask.png"
    picture.parent.mkdir(parents=True)
    picture.write_text("x")
    fail_once(monkeypatch, step, of)
    with pytest.raises(StoreError, match="No space left"):
        restore(backup, state, NOW)
    monkeypatch.undo()
    assert images(state) == 4
    assert picture.exists()
    assert {path.name for path in state.handover.iterdir()} == {"9.npy", "10.npy"}
    assert not list(state.root.glob(".*.part"))
    assert not list(state.root.glob("before-restore-*"))
    assert restore(backup, state, NOW).files == 1


def test_where_there_are_no_hard_links_it_works_as_well(
    state: StateFolder, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    second = make_backup(state.database, backup.parent, NOW)
    assert second.name.endswith("-2.db")
    done = restore(backup, state, NOW)
    assert done.aside is not None
    assert (done.aside / "spheroidd.db").exists()
    assert images(state) == 2


def test_root_makes_nothing_that_the_service_can_not_use(state: StateFolder, backup: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for path in (state.root, *state.root.rglob("*")):
        shutil.chown(path, 1234, 1234)
    made = make_backup(state.database, state.root / "backups", NOW + 5)
    done = restore(made, state, NOW)
    assert done.aside is not None
    assert {path.stat().st_uid for path in (made, state.database, done.aside)} == {1234}
