"""Killed at any moment, started again: as if nothing had been."""

import copy
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from comparing import Undisturbed, differences
from killing import PICTURES, Kill, Place, random_kills
from sqlite_utils import Database as SqliteUtils

from spheroidd.store.schema import migrations

pytestmark = pytest.mark.timeout(600)

# One life after another on one state folder; each begins where the last one was killed.
AT_POINTS = [
    Kill("probe", arrivals=2),
    Kill("migration", nth=30),
    Kill("original-in-place"),
    Kill("half-a-mask"),
    Kill("mask-in-place", nth=2),
    Kill("batch"),
    Kill("spreadsheet", arrivals=2),
    Kill("half-an-outline"),
    Kill("measurement", nth=2),
    Kill("measured", arrivals=2, replaced=True),
    Kill("worker-in-batch", victim="worker", arrivals=2),
]


def test_killed_at_every_point_nothing_is_lost_doubled_or_left(
    place: Place, undisturbed: Undisturbed
) -> None:
    assert sum(kill.arrivals for kill in AT_POINTS) == PICTURES
    for kill in AT_POINTS:
        assert place.suffer(kill) == f"{'worker ' if kill.victim == 'worker' else ''}killed", kill
    # The last life lost its worker alone, and went on until nothing was left to do.
    assert differences(place, undisturbed.outcome) == []


def test_killed_at_random_nothing_is_lost_doubled_or_left(
    place: Place, undisturbed: Undisturbed
) -> None:
    lives = [(kill, place.suffer(kill)) for kill in random_kills("44", 4, undisturbed.tempo)]
    place.finish()
    assert differences(place, undisturbed.outcome) == [], lives


# -- the comparison itself ------------------------------------------------------------------

DAMAGE = {
    "DELETE FROM measurements WHERE id = 3": "has 0 current measurements",
    "UPDATE measurements SET area_px = area_px + 1 WHERE id = 2": "area_px is",
    "UPDATE measurements SET flags = 'low_confidence' WHERE id = 4": "flags is",
    "UPDATE objects SET features = '{}' WHERE measurement_id = 5": "objects is",
    "DELETE FROM transitions WHERE image_id = 6 AND to_state = 'ready'": "steps that can't be",
    "UPDATE images SET claimed_at = seen_at WHERE id = 1": "still claimed",
    "UPDATE batches SET outcome = NULL WHERE id = 1": "still open",
    "INSERT INTO segmentations SELECT 99, image_id, model, model_md5, threshold, provider,"
    " peak_probability, foreground_px, mask_path, white_path, seconds, version, created_at,"
    " refinement, evidence FROM segmentations WHERE id = 1": "2 × segmentation, moved 1 ×",
    "INSERT INTO run_failures VALUES (77, 1, '', '')": "foreign_key_check",
    "INSERT INTO unjudged VALUES ('P', 'A1')": "never judged: P/A1",
}
LEFT = {
    "images/P/A1/.t01.1.mask.png.4711.part": "stray",
    "handover/1.npy": "stray",
    "tmp/cellprofiler/tmp/labels-x.png": "stray",
    ".write-test-4711": "stray",
    "images/P/A1/t09.9.mask.png": "picture too many",
    "images/P/A1/t01.1.mask.png": "mask_path is",
    "batches/P/000001/half.csv": "batch 1 (complete) has the files",
}


@pytest.fixture
def damaged(tmp_path: Path, undisturbed: Undisturbed) -> Place:
    """A copy of the undisturbed state, to be damaged."""
    one = copy.copy(undisturbed.place)
    one.state = tmp_path / "state"
    shutil.copytree(undisturbed.place.state, one.state)
    return one


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_rows_would_be_seen(damaged: Place, undisturbed: Undisturbed, damage: str) -> None:
    with closing(sqlite3.connect(damaged.state / "spheroidd.db")) as sql:
        sql.execute(damage)
        sql.commit()
    assert DAMAGE[damage] in " ".join(differences(damaged, undisturbed.outcome))


@pytest.mark.parametrize("name", LEFT)
def test_files_that_are_left_would_be_seen(
    damaged: Place, undisturbed: Undisturbed, name: str
) -> None:
    (damaged.state / name).write_bytes(b"")
    assert LEFT[name] in " ".join(differences(damaged, undisturbed.outcome))


# -- a schema of before ---------------------------------------------------------------------


def test_killed_while_the_schema_is_brought_up_to_date(place: Place, tmp_path: Path) -> None:
    place.state.mkdir()
    database, expected = place.state / "spheroidd.db", tmp_path / "expected.db"
    _first_schema(database, images=300)
    shutil.copy(database, expected)
    _steps(expected)
    for share in (0.4, 0.6, 0.95):
        with closing(sqlite3.connect(database)) as sql, closing(sqlite3.connect(":memory:")) as to:
            sql.backup(to)
            left = _steps(to)
        kill = Kill("migration", nth=max(1, round(share * left)))
        assert place.suffer(kill) == "killed", kill
    assert place.suffer(Kill("opened")) == "killed"  # not before it got through
    assert _content(database) == _content(expected)


def _first_schema(path: Path, images: int) -> None:
    """A database as the first release made it, with a plate of measured images."""
    with closing(sqlite3.connect(path)) as sql:
        db = SqliteUtils(sql)
        migrations.apply(db, stop_before="m002_runs_reviews_checks")
        numbers = range(1, images + 1)
        at = "2026-01-01T00:00:00.000+00:00"
        db.table("images").insert_all(
            {
                "id": n, "root": "/e", "path": f"/e/P/A{n % 9}/{n}.jpg", "size": n, "mtime_ns": n,
                "state": "measured", "plate": "P", "well": f"A{n % 9}", "name": f"{n}.jpg",
                "captured_at": at, "captured_from": "mtime", "sha256": f"{n}", "seen_at": at,
            }
            for n in numbers
        )  # fmt: skip
        db.table("segmentations").insert_all(
            {"id": n, "image_id": n, "model": "u2netp", "threshold": 0.5, "seconds": 0.1,
             "version": "0.1.0", "created_at": at}
            for n in numbers
        )  # fmt: skip
        db.table("batches").insert(
            {"id": 1, "plate": "P", "pipeline": "mask", "pipeline_sha256": "x", "n_images": images,
             "cellprofiler": "4.2", "folder": "", "started_at": at, "outcome": "complete"}
        )  # fmt: skip
        db.table("measurements").insert_all(
            {"id": n, "image_id": n, "segmentation_id": n, "batch_id": 1, "area_px": 10.0 * n,
             "n_objects": 1, "excluded": int(n % 7 == 0), "version": "0.1.0", "measured_at": at}
            for n in numbers
        )  # fmt: skip
        sql.commit()


def _steps(database: Path | sqlite3.Connection) -> int:
    """Bring a database up to date; returns how many statements that took."""
    steps = 0

    def count(_: str) -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(database) if isinstance(database, Path) else database) as sql:
        db = SqliteUtils(sql)
        sql.set_trace_callback(count)
        migrations.apply(db)
        sql.set_trace_callback(None)
    return steps


def _content(database: Path) -> list[str]:
    """Schema and rows, all but the times of the migrations."""
    with closing(sqlite3.connect(database)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert sql.execute("PRAGMA foreign_key_check").fetchall() == []
        sql.execute("UPDATE _sqlite_migrations SET applied_at = ''")
        return list(sql.iterdump())
