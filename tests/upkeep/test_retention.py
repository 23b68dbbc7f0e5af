"""What has had its time goes, and nothing else ever does."""

from pathlib import Path

import pytest
import structlog

from made_up import NOW, measured
from spheroidd.store.database import Database
from spheroidd.store.kept import Kept, Kind
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
    assert one.step(NOW - 30 * DAY), "nor does a clock set back stop it for a month"


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
