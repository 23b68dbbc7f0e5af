"""Databases as older schemas left them, brought up to date by the program of today.

`schemas/<migration>.sql` is what `schemas/make.py` wrote when that schema was the newest: the
real migrations up to it, a few rows in every table.  With the next migration, the schema that
was released before it gets a file of its own:

    python tests/store/schemas/make.py m005_changes
"""

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import StoreError
from spheroidd.store.copying import contents_of
from spheroidd.store.database import Database
from spheroidd.store.reader import SCHEMA, Reader
from spheroidd.store.reading import GROWTH_COLUMNS, growth
from spheroidd.store.reviewing import Selection, events
from spheroidd.store.schema import migrations

SCHEMAS = Path(__file__).with_name("schemas")
KNOWN = [migration.name for migration in migrations.pending(SqliteUtils(memory=True))]
OLD = KNOWN[:4]
UPGRADE = "import sys; from pathlib import Path; from spheroidd.store.database import Database\n"


def stored(folder: Path, name: str) -> Path:
    path = folder / "spheroidd.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # as it has always been
        connection.executescript((SCHEMAS / f"{name}.sql").read_text())
    return path


def look(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def structure(path: Path) -> list[tuple[Any, ...]]:
    return look(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")


def rows(path: Path) -> list[tuple[Any, ...]]:
    return look(path, f"SELECT {', '.join(GROWTH_COLUMNS)} FROM growth")


def test_every_older_schema_has_its_file() -> None:
    assert KNOWN[-1] == SCHEMA
    assert {path.stem for path in SCHEMAS.glob("*.sql")} >= set(OLD)


@pytest.mark.parametrize("name", OLD)
def test_released_migrations_are_never_edited(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path, name)
    today = tmp_path / "today.db"
    with contextlib.closing(sqlite3.connect(today, isolation_level=None)) as connection:
        migrations.apply(SqliteUtils(connection), stop_before=KNOWN[KNOWN.index(name) + 1 :])
    assert structure(path) == structure(today)


@pytest.mark.parametrize("name", OLD)
def test_an_older_database_is_brought_up_to_date_and_says_the_same(
    tmp_path: Path, name: str
) -> None:
    path = stored(tmp_path, name)
    before = rows(path)
    assert [row[GROWTH_COLUMNS.index("area_px")] for row in before] == [1000.0, 1300.0, 5000.0, 0.0]
    counts = {
        table: look(path, f"SELECT count(*) FROM {table}")
        for (table,) in look(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")
        if not table.startswith(("_", "runs"))
    }
    with pytest.raises(StoreError, match="older spheroidd"):
        Reader(path)
    Database(path).close()
    fresh = tmp_path / "fresh.db"
    Database(fresh).close()
    assert structure(path) == structure(fresh)
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
    assert look(path, "PRAGMA foreign_key_check") == []
    assert counts == {table: look(path, f"SELECT count(*) FROM {table}") for table in counts}
    with Reader(path) as reader:
        after = [tuple(row.values()) for row in growth(reader)]
    if name == OLD[0]:  # since then a percentage never mixes µm² and pixels
        assert (before[2][7], after[2][7]) == (500.0, None)
        before[2], after[2] = before[2][:7], after[2][:7]
    assert after == before


def test_reviews_and_runs_are_kept(tmp_path: Path) -> None:
    path = stored(tmp_path, "m002_runs_reviews_checks")
    Database(path).close()
    with Reader(path) as reader:
        kept = [
            (event["who"], event["action"], event["reason"])
            for event in events(reader, Selection())
        ]
        assert sorted(kept) == [("Ada", "exclude", "a bubble"), ("Bob", "confirm", "")]
        assert reader.rows("SELECT id FROM measurements WHERE decision = 'confirmed'") == [
            {"id": 2}
        ]
        assert len(reader.rows("SELECT id FROM runs")) == 2
    assert contents_of(path).reviews == 2


def test_excluded_images_of_the_first_schema_stay_excluded(tmp_path: Path) -> None:
    path = stored(tmp_path, "m001_first_schema")
    Database(path).close()
    assert look(path, "SELECT id FROM images WHERE excluded") == [(3,)]
    runs = look(
        path,
        "SELECT DISTINCT r.plate, r.kind, r.model FROM measurements m"
        " JOIN runs r ON r.id = m.run_id",
    )
    assert runs == [("P", "live", "u2netp")]


@pytest.mark.parametrize("statements", [1, 25])
def test_a_killed_upgrade_leaves_the_old_schema_whole(tmp_path: Path, statements: int) -> None:
    path = stored(tmp_path, "m001_first_schema")
    old, said = structure(path), rows(path)
    script = UPGRADE + (
        "import os, signal, sqlite_utils.db as sqlite\n"
        "real, allowed = sqlite._iter_complete_sql_statements, [int(sys.argv[2])]\n"
        "def some(sql):\n"
        "    for statement in real(sql):\n"
        "        yield statement\n"
        "        allowed[0] -= 1\n"
        "        if not allowed[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sqlite._iter_complete_sql_statements = some\n"
        "Database(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path), str(statements)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert structure(path) == old
    assert rows(path) == said
    Database(path).close()
    assert [row[5] for row in rows(path)] == [row[5] for row in said]
    assert look(path, "SELECT max(name) FROM _sqlite_migrations") == [(SCHEMA,)]


def test_two_at_once_bring_it_up_to_date_once(tmp_path: Path) -> None:
    path = stored(tmp_path, "m001_first_schema")
    script = UPGRADE + "Database(Path(sys.argv[1])).close()"
    both = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert look(path, "SELECT name FROM _sqlite_migrations ORDER BY name") == [
        (name,) for name in KNOWN
    ]
    assert look(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_newer_schema_is_refused_and_let_be(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    Database(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE dreams (id)")
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('spheroidd', 'm999_x')"
        )
    before = structure(path)
    with pytest.raises(StoreError, match=r"newer spheroidd \(it knows m999_x\)\. Upgrade"):
        Database(path)
    assert structure(path) == before
