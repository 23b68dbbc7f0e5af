"""Which wells have something new to show: all of those, and as few others as can be.

Whatever else may happen to a plate, in any order, is in tests/web/test_curves.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from made_up import NOW, RECIPE, admission, measured
from spheroidd.store.changes import changes_since, data_version, newest
from spheroidd.store.database import Database
from spheroidd.store.frames import Checked
from spheroidd.store.histories import Histories
from spheroidd.store.kept import Kept
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.results import MeasurementRecord, Results, SegmentationRecord
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.store.runs import Runs


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """Two plates; A1 and A2 of P have two frames each."""
    with Database(tmp_path / "spheroidd.db") as db:
        db.sql.execute("PRAGMA synchronous = OFF")
        for frame in range(2):
            measured(db, "A1", frame)
            measured(db, "A2", frame)
        measured(db, "A1", 0, plate="Q", plate_key="Q", name="q.jpg")
        yield db


@pytest.fixture
def changed(db: Database) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Asks for the wells that changed since it was last asked."""
    with Reader(db.path) as reader:
        seen = [newest(reader)]

        def since() -> list[tuple[str, str]]:
            found = changes_since(reader, seen[0])
            assert [seq for _, _, seq in found] == sorted({seq for _, _, seq in found})
            seen[0] = newest(reader)
            assert seen[0] == max([seq for _, _, seq in found], default=seen[0])
            return [(plate, well) for plate, well, _ in found]

        yield since


Changed = Callable[[], list[tuple[str, str]]]


def shown(db: Database, image: int) -> Subject:
    [row] = db.rows("SELECT id FROM measurements WHERE image_id = :i AND current", {"i": image})
    return Subject(image, row["id"])


def test_every_well_is_there_in_the_order_of_its_newest_change(db: Database) -> None:
    with Reader(db.path) as reader:
        assert [(p, w) for p, w, _ in changes_since(reader, 0)] == [
            ("P", "A1"), ("P", "A2"), ("Q", "A1"),
        ]  # fmt: skip
        measured(db, "A1", 2)
        assert [(p, w) for p, w, _ in changes_since(reader, 0)][-1] == ("P", "A1")


def test_a_database_without_an_image(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Database(path).close()
    with Reader(path) as reader:
        assert newest(reader) == 0
        assert changes_since(reader, 0) == []


def test_an_image_is_told_of_when_it_is_complete_and_when_it_is_measured(
    db: Database, changed: Changed
) -> None:
    ledger = Ledger(db)
    ledger.arrive("/e", [("/e/P/B7/1.jpg", 1, 1)], NOW)
    [image] = ledger.waiting("/e")
    assert changed() == []  # nobody knows its well
    ledger.admit(image.id, admission("B7"), NOW)
    assert changed() == [("P", "B7")]
    [image] = ledger.claim("ready", NOW)
    results = Results(db)
    record = SegmentationRecord("u2netp", "md5", 0.5, "CPU", 0.9, 7, "m", "w", 0.1, "0")
    results.segmented(image, record, NOW)
    [image] = ledger.claim("segmented", NOW)
    assert changed() == []
    batch = results.open_batch(
        NOW, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4", n_images=1,
        folder="",
    )  # fmt: skip
    run = Runs(db).live("P", RECIPE, NOW)
    area = MeasurementRecord(
        run, results.segmentation(image.id).id, batch, 5.0, None, None, 1, [], None, "0"
    )
    results.measured(image, area, NOW)
    assert changed() == [("P", "B7")]


def test_a_failure_and_its_retry_are_told_of(db: Database, changed: Changed) -> None:
    ledger = Ledger(db)
    ledger.arrive("/e", [("/e/P/B7/1.jpg", 1, 1)], NOW)
    [image] = ledger.waiting("/e")
    ledger.admit(image.id, admission("B7"), NOW)
    [image] = ledger.claim("ready", NOW)
    changed()
    ledger.fail(image, "no model took it", NOW)
    assert changed() == [("P", "B7")]
    ledger.retry_due(NOW + 1_000_000)
    assert changed() == [("P", "B7")]


def test_new_content_and_decisions_are_told_of(db: Database, changed: Changed) -> None:
    measured(db, "A2", 0, (50.0,), sha256="another")  # the same path
    assert changed() == [("P", "A2")]
    reviews, seen = Reviews(db), [shown(db, 1)]  # the first of P, A1
    event = reviews.exclude(seen, NOW, who="Ada", reason="a bubble")
    assert changed() == [("P", "A1")]
    reviews.undo(event, seen, NOW, who="Ada")
    assert changed() == [("P", "A1")]
    reviews.confirm(seen, NOW, who="Ada")
    assert changed() == [("P", "A1")]
    reviews.choose(seen, 0, NOW, who="Ada")
    assert changed() == [("P", "A1")]


def test_flags_are_told_of_and_limits_that_raise_none_are_not(
    db: Database, changed: Changed
) -> None:
    number = shown(db, 1).measurement_id
    Histories(db).recheck([Checked(number, "", '{"dark": {"value": 1, "limit": 2}}')])
    assert changed() == []
    Histories(db).recheck([Checked(number, "dark", '{"dark": {"value": 3, "limit": 2}}')])
    assert changed() == [("P", "A1")]


def test_another_run_is_told_of_where_it_is_shown(db: Database, changed: Changed) -> None:
    runs, results = Runs(db), Results(db)
    run = runs.again("P", RECIPE, NOW)
    batch = results.open_batch(
        NOW, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4", n_images=2,
        folder="",
    )  # fmt: skip

    def again(well: str) -> None:
        image = next(one for one in runs.todo("P", run) if one.well == well)
        record = MeasurementRecord(run, 0, batch, 9.0, None, None, 1, [], None, "0")
        runs.measured(image, results.segmentation(image.id), record, NOW)

    again("A1")
    assert changed() == []
    runs.use("P", run)
    assert sorted(changed()) == [("P", "A1"), ("P", "A2")]
    again("A2")
    assert changed() == [("P", "A2")]


def test_pictures_that_are_gone_are_told_of(db: Database, changed: Changed) -> None:
    with db.write() as sql:
        sql.execute("UPDATE measurements SET outline_path = 'o.jpg' WHERE image_id = 1")
    assert changed() == [("P", "A1")]
    kept = Kept(db)
    [old] = kept.older("outlines", NOW + 1_000_000, 9)
    kept.gone("outlines", [old])
    assert changed() == [("P", "A1")]


def test_whoever_looks_sees_that_something_was_committed(db: Database) -> None:
    with Reader(db.path) as reader:
        before = data_version(reader)
        newest(reader)
        assert data_version(reader) == before
        measured(db, "A1", 7)
        assert data_version(reader) != before
