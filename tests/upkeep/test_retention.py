"""What has had its time goes, and nothing else ever does."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from made_up import NOW, measured
from spheroidd.store import kept
from spheroidd.store.database import Database
from spheroidd.store.kept import Kept, Kind, Recorded
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results
from spheroidd.upkeep import retention
from spheroidd.upkeep.retention import RetentionStage

DAY = 86400.0
PICTURES: tuple[tuple[Kind, str, str], ...] = (
    ("masks", "segmentations", "mask_path"),
    ("white", "segmentations", "white_path"),
    ("outlines", "measurements", "outline_path"),
)


def stage(
    db: Database, root: Path, budget: float | None = None, **days: float | None
) -> RetentionStage:
    return RetentionStage(Kept(db), root, days, budget, structlog.get_logger())  # type: ignore[arg-type]


def work(one: RetentionStage, now: float) -> None:
    for _ in range(100):
        if not one.step(now):
            return
    raise AssertionError("it does not come to an end")


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """Three measured images with a file of every kind, 1000 bytes each."""
    database = Database(tmp_path / "spheroidd.db")
    for number in range(3):
        image = measured(database, "A1", number)
        for kind, table, column in PICTURES:
            path = Path("images/P/A1", f"{number}.{kind}")
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(bytes(1000))
            with database.write() as sql:
                sql.execute(
                    f"UPDATE {table} SET {column} = ? WHERE image_id = ?", (str(path), image)
                )
    with database.write() as sql:
        for row in list(sql.query("SELECT id FROM batches")):
            folder = Path("batches/P", f"{row['id']:06d}")
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "Image.csv").write_bytes(bytes(1000))
            sql.execute(
                "UPDATE batches SET folder = ?, finished_at = started_at WHERE id = ?",
                (str(folder), row["id"]),
            )
    (tmp_path / "images/P/A1/not ours.txt").write_text("a note")
    return database


def left(root: Path) -> dict[str, int]:
    files = [path for path in root.rglob("*") if path.is_file() and "spheroidd.db" not in path.name]
    return {
        suffix: sum(path.suffix == suffix for path in files)
        for suffix in (".masks", ".white", ".outlines", ".csv", ".txt")
    }


def test_each_kind_goes_when_its_days_are_over(db: Database, tmp_path: Path) -> None:
    before = db.rows("SELECT plate, well, hours, area_px, flags FROM growth")
    one = stage(db, tmp_path, white=0.0, outlines=10.0, spreadsheets=20.0, masks=None)
    work(one, NOW + 5 * DAY)
    assert left(tmp_path) == {".masks": 3, ".white": 0, ".outlines": 3, ".csv": 3, ".txt": 1}
    work(one, NOW + 15 * DAY)
    assert left(tmp_path) == {".masks": 3, ".white": 0, ".outlines": 0, ".csv": 3, ".txt": 1}
    work(one, NOW + 25 * DAY)
    assert left(tmp_path) == {".masks": 3, ".white": 0, ".outlines": 0, ".csv": 0, ".txt": 1}
    assert not db.rows("SELECT 1 FROM measurements WHERE outline_path IS NOT NULL")
    assert not db.rows("SELECT 1 FROM batches WHERE folder <> ''")
    assert len(db.rows("SELECT 1 FROM segmentations WHERE mask_path IS NOT NULL")) == 3
    assert db.rows("SELECT plate, well, hours, area_px, flags FROM growth") == before
    assert one.trouble == ""


def test_what_is_on_its_way_keeps_its_pictures(db: Database, tmp_path: Path) -> None:
    with db.write() as sql:
        sql.execute("UPDATE images SET state = 'segmented' WHERE id = 1")
    work(stage(db, tmp_path, masks=0.0, white=0.0), NOW + DAY)
    assert left(tmp_path)[".masks"] == left(tmp_path)[".white"] == 1


def test_over_the_budget_the_least_needed_go_first(db: Database, tmp_path: Path) -> None:
    work(stage(db, tmp_path, budget=7000.0), NOW + DAY)
    assert left(tmp_path) == {".masks": 3, ".white": 0, ".outlines": 3, ".csv": 0, ".txt": 1}


def test_a_budget_that_can_not_be_kept_is_said(db: Database, tmp_path: Path) -> None:
    (tmp_path / "images/P/A1/not ours.txt").write_bytes(bytes(5000))
    one = stage(db, tmp_path, budget=4000.0)
    work(one, NOW + DAY)
    assert left(tmp_path)[".txt"] == 1
    assert "keep.budget_gb" in one.trouble


def test_it_looks_once_an_hour(db: Database, tmp_path: Path) -> None:
    one = stage(db, tmp_path, outlines=1.0)
    work(one, NOW)
    assert not one.step(NOW + 3599)
    work(one, NOW + 2 * DAY)
    assert left(tmp_path)[".outlines"] == 0
    path = tmp_path / "images/P/A1/0.outlines"
    path.write_bytes(b"x")
    with db.write() as sql:
        sql.execute(
            "UPDATE measurements SET outline_path = ?, measured_at = '2020' WHERE id = 1",
            (str(path.relative_to(tmp_path)),),
        )
    work(one, NOW - 30 * DAY)
    assert not path.exists(), "nor does a clock set back stop it for a month"


@pytest.mark.parametrize("path", ["{outside}", "../outside.png", "spheroidd.db", "images/link/x"])
def test_nothing_but_its_own_is_ever_removed(db: Database, tmp_path: Path, path: str) -> None:
    """Even if the database said so: it may have been restored, or edited by hand."""
    outside = tmp_path.parent / "outside.png"
    outside.write_text("precious")
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "x").write_text("precious")
    (tmp_path / "images/link").symlink_to(elsewhere)
    with db.write() as sql:
        named = path.replace("{outside}", str(outside))
        sql.execute("UPDATE measurements SET outline_path = ? WHERE id = 1", (named,))
    one = stage(db, tmp_path, outlines=0.0)
    work(one, NOW + DAY)
    assert outside.exists()
    assert (elsewhere / "x").exists()
    assert (tmp_path / "spheroidd.db").exists()
    assert "does not lie where" in one.trouble
    assert left(tmp_path)[".outlines"] == 1, "the others went"


def test_a_file_that_is_gone_already_is_no_trouble(db: Database, tmp_path: Path) -> None:
    (tmp_path / "images/P/A1/1.outlines").unlink()
    one = stage(db, tmp_path, outlines=0.0)
    work(one, NOW + DAY)
    assert left(tmp_path)[".outlines"] == 0
    assert one.trouble == ""


# -- long looks ------------------------------------------------------------------------------


class Watched(Kept):
    """The real one, which tells of every question."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pages = 0
        self.on_page: Callable[[], object] = lambda: None
        self.on_file: Callable[[], object] = lambda: None

    def older(
        self, kind: Kind, before: float, limit: int, after: Recorded | None = None
    ) -> list[Recorded]:
        found = super().older(kind, before, limit, after)
        if limit > 1:
            self.pages += 1
            self.on_page()
        return found

    def may_go(self, kind: Kind, before: float, recorded: Recorded) -> bool:
        self.on_file()
        return super().may_go(kind, before, recorded)


def watched(
    db: Database, root: Path, budget: float | None = None, **days: float | None
) -> tuple[Watched, RetentionStage]:
    one = Watched(db)
    return one, RetentionStage(one, root, days, budget, structlog.get_logger())  # type: ignore[arg-type]


def test_a_look_measures_once_and_asks_for_one_page_a_step(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    walks: list[str] = []
    walk = os.walk

    def count(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        walks.append(top.name)
        return walk(top)

    monkeypatch.setattr(os, "walk", count)
    asked, one = watched(db, tmp_path, budget=4500.0)
    steps = 1
    while one.step(NOW + DAY):
        assert asked.pages <= 2 * steps, "one page, and the end of the kind before"
        steps += 1
    assert steps > 4
    batches = [name for name in walks if name.isdecimal()]
    assert sorted(set(walks) - set(batches)) == ["batches", "images"]
    assert len(walks) - len(batches) == 2, "measured once"
    assert left(tmp_path) == {".masks": 3, ".white": 0, ".outlines": 1, ".csv": 0, ".txt": 1}
    assert one.trouble == ""


def test_files_that_can_not_be_removed_stop_no_others(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    with db.write() as sql:
        sql.execute("UPDATE segmentations SET white_path = 'spheroidd.db' WHERE id < 3")
    one = stage(db, tmp_path, white=0.0, outlines=0.0)
    work(one, NOW + DAY)
    assert left(tmp_path)[".white"] == 2, "those that are not recorded any more"
    assert not (tmp_path / "images/P/A1/2.white").exists()
    assert left(tmp_path)[".outlines"] == 0
    assert "spheroidd.db can't be removed" in one.trouble
    with db.write() as sql:
        sql.execute("UPDATE segmentations SET white_path = 'images/P/A1/0.white' WHERE id < 3")
    assert one.trouble, "until the next look has been through"
    work(one, NOW + DAY + 7200)
    assert one.trouble == ""
    assert left(tmp_path)[".white"] == 1


def test_it_stops_soon(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, one = watched(db, tmp_path, white=0.0)
    asked.on_file = one.stop  # from another thread, while the first file is in hand
    assert one.step(NOW + DAY)
    assert not one.step(NOW + DAY)
    assert left(tmp_path)[".white"] == 2
    assert len(db.rows("SELECT 1 FROM segmentations WHERE white_path IS NULL")) == 1

    folders = ["first", "second", "third"]
    read: list[str] = []

    def walk(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for name in folders:
            read.append(name)
            one.stop()
            yield str(top / name), [], []

    monkeypatch.setattr(os, "walk", walk)
    one = stage(db, tmp_path, budget=1.0)
    assert not one.step(NOW + DAY)
    assert read == ["first", "first"]
    assert left(tmp_path)[".masks"] == 3


# -- images that have no area ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("failed_from", "again", "goes"),
    [("ready", None, True), ("ready", "2030", False), ("segmented", None, False)],
)
def test_pictures_of_an_image_set_aside_go_unless_a_try_needs_them(
    db: Database, tmp_path: Path, failed_from: str, again: str | None, goes: bool
) -> None:
    with db.write() as sql:
        sql.execute(
            "UPDATE images SET state = 'failed', reason = 'x', failed_from = ?, next_try_at = ?"
            " WHERE id = 1",
            (failed_from, again),
        )
    work(stage(db, tmp_path, masks=0.0, white=0.0), NOW + DAY)
    assert left(tmp_path)[".masks"] == left(tmp_path)[".white"] == (0 if goes else 1)
    Ledger(db).retry(NOW + DAY)
    [image] = Ledger(db).in_state("ready" if goes else failed_from)  # type: ignore[arg-type]
    pictures = Results(db).segmentation(image.id)
    assert (pictures.mask_path is None) == (pictures.white_path is None) == goes


def test_an_image_brought_back_meanwhile_keeps_what_is_made_anew(
    db: Database, tmp_path: Path
) -> None:
    with db.write() as sql:
        sql.execute("UPDATE images SET state = 'failed', reason = 'x', failed_from = 'ready'")
    asked, one = watched(db, tmp_path, masks=0.0)
    asked.on_page = lambda: Ledger(db).retry(NOW)
    work(one, NOW + DAY)
    assert left(tmp_path)[".masks"] == 3


# -- the questions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("white", "segmentations_white"),
        ("masks", "segmentations_mask"),
        ("outlines", "measurements_outline"),
        ("spreadsheets", "batches_kept"),
    ],
)
def test_only_what_may_go_is_read(db: Database, kind: Kind, index: str) -> None:
    values = {"before": "2030", "made_at": "2020", "id": 7, "limit": 200}
    plan = [row["detail"] for row in db.rows(f"EXPLAIN QUERY PLAN {kept._OLD[kind]}", values)]
    assert re.match(rf"SEARCH .*USING INDEX {index} \(.*>.*<", plan[0]), plan
    assert all(line.startswith("SEARCH i USING INTEGER PRIMARY KEY") for line in plan[1:]), plan
