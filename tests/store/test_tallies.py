"""Counts that triggers keep: they say what counting everything would say, whatever happened."""

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from made_up import NOW, admission, measured
from spheroidd.store.database import Database
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.reading import plate_counts, state_counts, steps
from spheroidd.store.reviewing import Selection, plates, selected, wells
from spheroidd.store.reviews import Reviews, Subject

COUNTED = (
    "SELECT coalesce(plate, ''), coalesce(well, ''), state, excluded, count(*) FROM images"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)
STEPS = "SELECT coalesce(from_state, ''), to_state, count(*) FROM transitions GROUP BY 1, 2"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database(tmp_path / "spheroidd.db")


def right(db: Database) -> bool:
    kept = db.sql.execute("SELECT * FROM tallies ORDER BY 1, 2, 3, 4").fetchall()
    taken = db.sql.execute("SELECT * FROM steps ORDER BY 1, 2").fetchall()
    return kept == db.sql.execute(COUNTED).fetchall() and taken == db.sql.execute(STEPS).fetchall()


def test_every_step_of_an_image_is_counted(db: Database) -> None:
    ledger = Ledger(db)
    for well in ("A1", "A2", "B1"):
        measured(db, well, 0)
    assert right(db)
    ledger.arrive("/e", [(f"/e/{n}.jpg", 1, 1) for n in range(4)], NOW)
    waiting = ledger.waiting("/e")
    ledger.fail(waiting[0], "cut short", NOW, permanent=True)
    ledger.admit(waiting[1].id, admission("A1", sha256="x"), NOW)
    assert right(db)
    ledger.gone("/e", {"/e/1.jpg"}, NOW)
    ledger.look_again(NOW)
    [image] = ledger.claim_ready(NOW, limit=1)
    ledger.fail(image, "no mask", NOW)
    ledger.retry(NOW)
    assert right(db)
    with Reader(db.path) as reader:
        [row] = selected(reader, Selection(well="A2"))
        subject = Subject(row["image_id"], row["measurement_id"])
    Reviews(db).exclude([subject], NOW, who="Ada", reason="a bubble")
    assert right(db)
    ledger.arrive("/e", [("/e/P/A1/A1_0.jpg", 2, 2)], NOW)  # new content of a measured image
    ledger.admit(ledger.waiting("/e")[-1].id, admission("A1", sha256="new"), NOW)
    ledger.arrive("/e", [("/e/9.jpg", 1, 1)], NOW)
    assert right(db)
    with Reader(db.path) as reader:
        assert state_counts(reader) == ledger.counts()
        [nobodys, counts] = plate_counts(reader)
        assert (nobodys["plate"], nobodys["wells"]) == (None, 0)
        assert [counts[key] for key in ("plate", "seen", "wells", "excluded")] == ["P", 4, 3, 1]
        assert plates(reader) == ["P"]
        assert wells(reader) == ["A2", "B1"]
        [ever] = reader.rows(
            "SELECT sum(from_state IS NULL) AS seen, sum(to_state = 'measured') AS measured,"
            " sum(to_state = 'failed' AND from_state = 'waiting') AS failed_waiting,"
            " sum(to_state = 'failed' AND from_state = 'ready') AS failed_ready,"
            " sum(to_state = 'failed' AND from_state = 'segmented') AS failed_segmented"
            " FROM transitions"
        )
        assert steps(reader) == ever


def test_whatever_changes_rows_by_hand_is_counted_too(tmp_path: Path) -> None:
    """Statements that spheroidd never makes; another connection knows the triggers as well."""
    chance = random.Random(7)
    with Database(tmp_path / "spheroidd.db") as db:
        with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as other:
            for number in range(300):
                plate, well = chance.choice([(None, None), ("P", "A1"), ("P", "A2"), ("Q", "A1")])
                values = (plate, well, chance.choice(["waiting", "superseded"]), number % 2)
                some = chance.sample(range(40), 3)
                match chance.randrange(4):
                    case 0 | 1:
                        other.execute(
                            "INSERT INTO images (root, path, size, mtime_ns, seen_at, plate, well,"
                            f" state, excluded) VALUES ('/e', {number}, 1, 1, '', ?, ?, ?, ?)",
                            values,
                        )
                    case 2:
                        other.execute(
                            "UPDATE images SET plate = ?, well = ?, state = ?, excluded = ?"
                            f" WHERE id % 40 IN ({', '.join(map(str, some))})",
                            values,
                        )
                    case 3:
                        other.execute(f"DELETE FROM images WHERE id % 40 = {some[0]}")
        assert right(db)
        assert db.rows("SELECT 1 FROM tallies LIMIT 1")
        db.sql.execute("DELETE FROM images")
        assert right(db)
        assert not db.rows("SELECT 1 FROM tallies")


def test_an_upgrade_counts_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    old = Path(__file__).with_name("schemas") / "m003_upkeep.sql"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(old.read_text())
    with Database(path) as db:
        assert right(db)
        assert db.rows("SELECT sum(n) AS n FROM tallies") == [{"n": 7}]
