"""The growth table: its columns, its order, its hours and percentages; export, status, picture."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from made_up import NOW, measured
from spheroidd.errors import SpheroiddError
from spheroidd.report.export import export_csv, export_file
from spheroidd.report.plots import growth_curves
from spheroidd.report.sheet import contact_sheet
from spheroidd.report.status import snapshot
from spheroidd.store.database import Database, timestamp
from spheroidd.store.health import Health
from spheroidd.store.reader import Reader
from spheroidd.store.reading import growth
from spheroidd.store.reviewing import Selection, selected
from spheroidd.store.reviews import Reviews, Subject

CONTRACT = [
    "plate", "well", "image_path", "captured_at", "hours", "area_px", "area_um2",
    "relative_area_pct", "n_objects", "peak_probability", "flags", "excluded", "model",
    "pipeline", "measured_at",
]  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Any:
    db = Database(tmp_path / "spheroidd.db")
    for well, hours, area in (
        ("A10", 1, 50), ("A2", 6, 300), ("A2", 3, 200), ("A2", 0, 100), ("B1", 0, 0), ("B1", 3, 0),
    ):  # fmt: skip
        measured(db, well, hours, [{"AreaShape_Area": area, "AreaShape_X": None}] if area else [])
    yield db
    db.close()


def test_growth_has_the_contracts_columns_in_order(database: Database) -> None:
    with Reader(database.path) as reader:
        rows = growth(reader)
        assert list(reader.rows("SELECT * FROM growth")[0]) == CONTRACT == list(rows[0])
    assert [(row["well"], row["hours"]) for row in rows] == [
        ("A2", 0), ("A2", 3), ("A2", 6), ("A10", 1), ("B1", 0), ("B1", 3),
    ]  # fmt: skip
    assert [row["relative_area_pct"] for row in rows] == [100, 200, 300, 100, None, None]
    assert rows[0]["area_um2"] == 400
    assert (rows[4]["area_px"], rows[4]["flags"], rows[4]["n_objects"]) == (0, "no_spheroid", 0)


def exclude(database: Database, **selection: Any) -> None:
    """As a person does it."""
    with Reader(database.path) as reader:
        rows = selected(reader, Selection(**selection))
    subjects = [Subject(row["image_id"], row["measurement_id"]) for row in rows]
    Reviews(database).exclude(subjects, NOW, who="Ada", reason="bubble")


def test_excluded_rows_do_not_set_the_hundred_per_cent(database: Database) -> None:
    exclude(database, path="/e/P/A2/A2_0.jpg")
    with Reader(database.path) as reader:
        rows = [row for row in growth(reader, "P") if row["well"] == "A2"]
    assert [row["relative_area_pct"] for row in rows] == [50, 100, 150]
    assert [row["excluded"] for row in rows] == [1, 0, 0]


def test_the_export_is_the_view(database: Database) -> None:
    stream = io.StringIO()
    with Reader(database.path) as reader:
        assert export_csv(reader, stream) == 6
        assert export_csv(reader, io.StringIO(), plate="other") == 0
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert list(rows[0]) == CONTRACT
    assert rows[5]["relative_area_pct"] == ""
    assert float(rows[2]["area_px"]) == 300


def test_excluded_images_are_exported_as_such_and_set_nothing(database: Database) -> None:
    exclude(database, well="A2", to_hours=3)
    stream = io.StringIO()
    with Reader(database.path) as reader:
        export_csv(reader, stream)
    rows = [row for row in csv.DictReader(io.StringIO(stream.getvalue())) if row["well"] == "A2"]
    assert [(row["excluded"], row["area_px"]) for row in rows] == [
        ("1", "100.0"), ("1", "200.0"), ("0", "300.0"),
    ]  # fmt: skip
    assert rows[2]["relative_area_pct"] == "100.0"


def test_an_exported_file_is_whole_or_not_there(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    real, link = folder / "real.csv", folder / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    with Reader(database.path) as reader:
        assert export_file(reader, link) == 6
        assert real.read_text().count("\n") == 7
        assert link.is_symlink()
        assert export_file(reader, Path("/dev/null")) == 6
        for wrong in (tmp_path / "nowhere" / "x.csv", folder, folder / "real.csv" / "x.csv"):
            with pytest.raises(SpheroiddError, match="can't be written") as caught:
                export_file(reader, wrong)
            assert str(wrong) in caught.value.message
            assert caught.value.hint
    assert Path("/dev/null").is_char_device()
    assert sorted(folder.iterdir()) == [link, real]


def test_every_object_keeps_all_its_numbers(database: Database) -> None:
    [row] = database.rows(
        "SELECT o.* FROM objects o JOIN measurements m ON m.id = o.measurement_id"
        " JOIN images i ON i.id = m.image_id WHERE i.path = '/e/P/A2/A2_6.jpg'"
    )
    assert (row["name"], row["is_spheroid"], row["area_px"]) == ("Spheroids", 1, 300)
    assert '"AreaShape_X": null' in row["features"]


def test_the_status_counts_and_says_whether_anyone_is_there(database: Database) -> None:
    health = Health(database)
    health.started(NOW, pid=1, version="0")
    health.folder("/e", "gone", None, NOW, scanned=False)
    health.folder("/e", "still gone", None, NOW + 60, scanned=False)
    with Reader(database.path) as reader:
        found = snapshot(reader, NOW + 5)
        assert found["daemon"]["running"]
        assert not snapshot(reader, NOW + 500)["daemon"]["running"]
    assert found["totals"] == {
        "seen": 6, "waiting": 0, "segmented": 6, "measured": 6, "failed": 0,
        "to_review": 2, "excluded": 0,
    }  # fmt: skip
    [folder] = found["folders"]
    assert (folder["health"], folder["since"]) == ("degraded", timestamp(NOW))


def test_excluded_points_are_hollow_and_on_no_line(database: Database, tmp_path: Path) -> None:
    """Counted in pixels of the first well's colour: line and filled marker cost more of it than
    a hollow marker, which is still there."""

    def ink(rows: list[dict[str, Any]]) -> int:
        growth_curves(rows, tmp_path / "curves.png")
        with Pillow.open(tmp_path / "curves.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        return int((pixels == (0x00, 0x72, 0xB2)).all(axis=2).sum())

    with Reader(database.path) as reader:
        before = [row for row in growth(reader, "P") if row["well"] == "A2"]
    exclude(database, well="A2", from_hours=3, to_hours=3)
    with Reader(database.path) as reader:
        after = [row for row in growth(reader, "P") if row["well"] == "A2"]
    # the line goes straight through all three points, so it is the same with and without
    gone = [row for row in after if not row["excluded"]]
    assert len(gone) == 2
    assert ink(gone) < ink(after) < ink(before)


def test_the_picture_is_a_picture(database: Database, tmp_path: Path) -> None:
    with Reader(database.path) as reader:
        rows = growth(reader)
    growth_curves(rows, tmp_path / "curves.png", {"P": {"A2": [(0, 400.0), (6, 1200.0)]}})
    with Pillow.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 20


@pytest.mark.parametrize(("plate", "well"), [(r"$\x$", "A1"), ("P", r"$\x$")])
def test_what_would_be_a_wrong_formula_is_a_name(plate: str, well: str, tmp_path: Path) -> None:
    draw_both(tmp_path, plate, well)


def test_dollars_in_names_are_drawn(tmp_path: Path) -> None:
    """As a formula, `$ and 10$` would lose its dollars and spaces."""

    def widths(plate: str) -> list[int]:
        """Of the plate's name, which is what lies highest."""
        found = []
        for path in draw_both(tmp_path, plate, "A1"):
            with Pillow.open(path) as picture:
                dark = np.asarray(picture.convert("L")) < 128
            top = int(np.flatnonzero(dark.any(axis=1))[0])
            columns = np.flatnonzero(dark[top : top + 10].any(axis=0))
            found.append(int(columns[-1] - columns[0]))
        return found

    assert widths("5$ and 10$ plate") == pytest.approx(widths("5S and 10S plate"), rel=0.05)
    assert widths("5 and10 plate") != pytest.approx(widths("5S and 10S plate"), rel=0.05)


def draw_both(folder: Path, plate: str, well: str) -> tuple[Path, Path]:
    """The growth curves and the contact sheet of one measurement."""
    row = {"plate": plate, "well": well, "hours": 0.0, "area_px": 50.0, "area_um2": None,
           "excluded": 0, "outline_path": "outline.jpg"}  # fmt: skip
    Pillow.new("RGB", (64, 48), "white").save(folder / "outline.jpg")
    growth_curves([row], folder / "curves.png")
    contact_sheet([row], folder / "sheet.png", folder)
    return folder / "curves.png", folder / "sheet.png"
