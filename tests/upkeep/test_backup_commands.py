"""`spheroidd backup` and `restore`, as typed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from made_up import measured
from spheroidd.cli import app
from spheroidd.errors import SpheroiddError
from spheroidd.store.backups import backups_in
from spheroidd.store.database import Database
from spheroidd.store.soundness import require_sound
from spheroidd.system.lock import only_one

Run = Callable[..., str]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A daemon's, with one measured image; the database is open."""
    folder = tmp_path / "state"
    folder.mkdir()
    with Database(folder / "spheroidd.db") as database:
        measured(database, "A1", 0)
        yield folder


@pytest.fixture
def run(write_config: Callable[..., Path], tmp_path: Path) -> Run:
    """Runs a command; gives what it prints, or raises what it complains of."""
    config = write_config()

    def command(name: str, *words: Any) -> str:
        done = CliRunner().invoke(app, [name, *map(str, words), "-c", str(config)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return command


def test_backups_go_where_they_are_wanted(run: Run, state: Path, tmp_path: Path) -> None:
    said = run("backup")
    [first] = backups_in(state / "backups")
    assert str(first.path) in said
    run("backup", "-o", tmp_path / "mine.db")
    run("backup", "-o", tmp_path)
    assert len(backups_in(tmp_path)) == 1
    assert (tmp_path / "mine.db").is_file()
    for place, why in (
        (tmp_path / "mine.db", "there already"),
        (state / "spheroidd.db", "there already"),
        (tmp_path / "export", "watched folder"),
        (tmp_path / "export" / "mine.db", "watched folder"),
        (tmp_path / "missing" / "mine.db", "No backup can be made"),
    ):
        with pytest.raises(SpheroiddError, match=why):
            run("backup", "-o", place)
    assert list((tmp_path / "export").iterdir()) == []


def test_nothing_to_back_up(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SpheroiddError, match="no database"):
        run("backup")
    with pytest.raises(SpheroiddError, match="no backups"):
        run("restore")
    assert not (tmp_path / "state").exists()


def test_restore_shows_which_backups_there_are(run: Run, state: Path) -> None:
    for _ in range(3):
        run("backup")
    said = run("restore").replace("\n", "")
    newest = backups_in(state / "backups")[-1].path
    assert all(one.path.name in said for one in backups_in(state / "backups"))
    assert f"restore: spheroidd restore {newest} -c " in said


def test_restore_is_refused_while_anybody_works_on_it(run: Run, state: Path) -> None:
    run("backup")
    [backup] = backups_in(state / "backups")
    with pytest.raises(SpheroiddError, match="has the database"):
        run("restore", backup.path)
    with only_one(state / "spheroidd.lock"), pytest.raises(SpheroiddError, match="Another"):
        run("restore", backup.path)
    again = state / "tmp" / "again" / "P"
    again.mkdir(parents=True)
    with only_one(again / "lock"), pytest.raises(SpheroiddError, match="Another"):
        run("restore", backup.path)
    assert not list(state.glob("before-restore-*"))


def test_a_vanished_database_is_not_begun_anew_but_restored(run: Run, state: Path) -> None:
    run("backup")
    [backup] = backups_in(state / "backups")
    mask = state / "images" / "P" / "A1" / "a.1.mask.png"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"x")
    for path in state.glob("spheroidd.db*"):
        path.unlink()
    with pytest.raises(SpheroiddError, match=f"is missing.*spheroidd restore {backup.path}"):
        run("run", "--until-idle")
    assert not (state / "spheroidd.db").exists()
    run("restore", backup.path)
    require_sound(state / "spheroidd.db")
    with Database(state / "spheroidd.db") as database:
        assert len(database.rows("SELECT 1 FROM images")) == 1
    assert mask.exists()


def test_root_makes_copies_where_files_have_no_owners(
    write_config: Callable[..., Path], state: Path, tmp_path: Path
) -> None:
    """The kernel refuses as it does on VFAT, for this root has lost the right."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root, and setpriv (util-linux)")
    shutil.chown(state / "spheroidd.db", 1234, 1234)
    shutil.chown(state, 1234, 1234)
    program = [setpriv, "--inh-caps=-chown", "--bounding-set=-chown", sys.executable, "-m"]
    command = [*program, "spheroidd", "backup", "-c", str(write_config())]
    stick = tmp_path / "stick"
    stick.mkdir()
    for place in (stick / "x.db", stick):
        done = subprocess.run([*command, "-o", place], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len(list(stick.iterdir())) == 2
    assert {path.stat().st_uid for path in stick.iterdir()} == {0}
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1, "the service could not remove it"
    assert "No backup can be made" in done.stderr
    assert not list((state / "backups").glob("*"))
