"""The growth table: its columns, its order, its hours and percentages; export, status, picture."""

import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
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
from spheroidd.report.status import latency, snapshot
from spheroidd.report.wording import headline, moment, troubles
from spheroidd.store.backups import backup_name
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.database import Database, timestamp
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.reading import (
    failure_groups,
    failures,
    gone,
    growth,
    last_measured,
    plate_counts,
    state_counts,
)
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
    assert found["conditions"] == []
    assert (found["alerts_open"], found["last_image_at"]) == (0, timestamp(NOW))
    assert found["latency"] == {"images": 6, "median_seconds": 0.0, "p95_seconds": 0.0}
    json.dumps(found)


def told(database: Database, now: float = NOW + 60) -> tuple[str, str]:
    with Reader(database.path) as reader:
        return headline(snapshot(reader, now), now)


def test_one_sentence_says_it_all(database: Database) -> None:
    level, sentence = told(database)
    assert level == "warning"
    assert "never run" in sentence
    health, conditions = Health(database), Conditions(database)
    health.started(NOW, pid=1, version="0")
    assert told(database)[1].startswith("Starting, since 1 min ago (")
    health.update(NOW + 50, phase="running")
    far = "1 plate, 6 images, 6 measured, 0 waiting; last image 1 min ago ("
    level, sentence = told(database)
    assert level == "ok"
    assert sentence.startswith(f"Running. {far}")
    assert sentence.endswith("). Nothing is wrong.")

    health.folder("/e", "gone", None, NOW + 10, scanned=False)
    conditions.tell(
        [Condition("backup", "no share", "Mount it."), Condition("engine"),
         Condition("disk", "only 1 GB is free", "Make room.", urgent=True)], NOW + 20,
    )  # fmt: skip
    level, sentence = told(database)
    assert level == "wrong"
    assert sentence.endswith(
        "3 things are wrong, first disk: only 1 GB is free. Nothing is measured meanwhile. "
        "Make room."
    )
    with Reader(database.path) as reader:
        listed = troubles(snapshot(reader, NOW + 60))
    assert [one.what for one in listed] == ["disk", "folder /e", "backup"]
    assert all(one.next_step for one in listed)

    conditions.tell([Condition("accelerator", "lost", "See `nvidia-smi`."), Condition("disk")],
                    NOW + 30)  # fmt: skip
    assert "is measured meanwhile" not in told(database)[1], "it goes on, on the CPU"
    health.update(NOW + 50, phase="starting", reloads=1)
    assert told(database)[1].startswith("Running, and taking on a new configuration. 1 plate")
    health.update(NOW + 50, phase="running")

    level, sentence = told(database, NOW + 50 + 7200)
    assert level == "wrong"
    assert "without a word 2 h ago" in sentence
    assert "systemctl start spheroidd" in sentence
    health.ended(NOW + 55, "failed", "The model is missing")
    assert "ended with an error 5 s ago" in told(database)[1]
    assert "The model is missing. 1 plate" in told(database)[1]
    health.ended(NOW + 55, "stopped")
    assert "it was stopped 5 s ago" in told(database)[1]


def test_failed_images_are_no_reason_to_call_all_well(database: Database) -> None:
    Health(database).started(NOW, pid=1, version="0")
    Health(database).update(NOW + 50, phase="running")
    fail_alike(database, 300)
    fail_alike(database, 2, "/e/P/C", "only {} bytes")
    level, sentence = told(database)
    assert (level, sentence.endswith("302 images failed; see below.")) == ("warning", True)
    with Reader(database.path) as reader:
        found = snapshot(reader, NOW)
    assert len(found["failures"]) == 20
    assert [
        (group["reason"], group["count"], group["set_aside"]) for group in found["failure_groups"]
    ] == [("It is torn.", 300, 300), ("only 1 bytes", 1, 1), ("only 0 bytes", 1, 1)]


def fail_alike(
    database: Database, count: int, folder: str = "/e/P/B", why: str = "'{path}': It is torn."
) -> None:
    """Many images for one reason, which names each file as intake does."""
    paths = [f"{folder}/{number}.jpg" for number in range(count)]
    ledger = Ledger(database)
    ledger.arrive("/e", [(path, 1, 1) for path in paths], NOW)
    for number, image in enumerate(ledger.waiting("/e")):
        reason = why.format(number, path=image.path)
        ledger.fail(image, reason, NOW, permanent=True)


def test_the_status_as_people_and_machines_see_it(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    config = write_config()
    (tmp_path / "state" / "backups").mkdir(parents=True)
    (tmp_path / "state" / "backups" / backup_name(time.time() - 7200)).write_bytes(b"")
    with Database(tmp_path / "state" / "spheroidd.db") as database:
        measured(database, "A1", 0)
        fail_alike(database, 241)
        Health(database).started(time.time(), pid=1, version="0")
        Health(database).update(time.time(), phase="running", model="u2netp", provider="CPU")
        Health(database).folder("/e", "gone", None, time.time() - 7200, scanned=False)
        Conditions(database).tell(
            [Condition("disk", "it is full", "Make room.", urgent=True)], time.time() - 300
        )

    def status(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "spheroidd", "status", "-c", str(config), *words],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    lines = status().splitlines()
    assert lines[0].startswith("Running. 1 plate, 242 images, 1 measured, 0 waiting; last image ")
    assert "2 things are wrong, first disk: it is full. Nothing is measured" in lines[0]
    assert lines[1].startswith("disk: it is full, since 5 min ago (")
    assert lines[2] == "  → Make room."
    assert lines[3].startswith("folder /e: gone, since 2 h ago (")
    assert sum(line.startswith("failed: ") for line in lines) == 1
    assert any("It is torn; and 240 more like this (set aside" in line for line in lines)
    assert "GB free; last backup 2 h ago (" in lines[-1]
    found = json.loads(status("--json"))
    assert found["conditions"][0]["name"] == "disk"
    assert found["disk"]["free_bytes"] > 0
    assert {"daemon", "folders", "plates", "totals", "failures", "gone"} <= set(found)


def test_latency_is_the_middle_and_the_slow_end() -> None:
    rows = [
        {"seen_at": timestamp(NOW), "measured_at": timestamp(NOW + seconds)}
        for seconds in (*range(1, 20), 500)
    ]
    found = latency(rows)
    assert (found["images"], found["median_seconds"], found["p95_seconds"]) == (20, 10, 19)
    assert latency([]) == {"images": 0, "median_seconds": None, "p95_seconds": None}
    back = [{"seen_at": timestamp(NOW), "measured_at": timestamp(NOW - 3600)}]
    assert latency(back)["median_seconds"] == 0, "the clock was set back"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s ago"), (300, "5 min ago"), (7200, "2 h ago"), (3 * 86400, "3 d ago"),
     (-600, "in 10 min")],
)  # fmt: skip
def test_times_are_told_both_ways(seconds: float, words: str) -> None:
    at = datetime.fromtimestamp(NOW - seconds).astimezone()
    shown = moment(timestamp(NOW - seconds), NOW)
    assert shown.startswith(f"{words} (")
    assert f"{at:%H:%M})" in shown
    assert (f"{at:%Y-%m-%d}" in shown) == (seconds == 3 * 86400)


def test_a_month_of_images_is_counted_by_index_alone(database: Database) -> None:
    """300,000 rows can't be read in the time that `status` has; their index can."""
    for question in (plate_counts, failures, failure_groups, gone, state_counts, last_measured):
        with Reader(database.path) as reader:
            plans: list[str] = []
            connection = reader._connection
            connection.set_trace_callback(plans.append)
            question(reader)
            connection.set_trace_callback(None)
            steps = [
                step[3] for sql in plans for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}")
            ]
        whole = [step for step in steps if re.match(r"SCAN (images|i|f|m|measurements)\b", step)]
        assert all("INDEX" in step or question is last_measured for step in whole), (
            question,
            steps,
        )


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
