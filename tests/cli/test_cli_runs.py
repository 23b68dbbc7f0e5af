"""`runs` and `remeasure` as people type them: what they print, and what they refuse."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from PIL import Image as Pillow

from made_up import NOW, measured
from spheroidd.cli.remeasure import with_options
from spheroidd.config_file import load_config
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_stored
from spheroidd.store.results import MeasurementRecord, ObjectRecord, Results
from spheroidd.store.runs import Recipe, Runs
from spheroidd.system.lock import only_one

WriteConfig = Callable[..., Path]


def command(config: Path, *words: str, check: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "spheroidd", *words, "-c", str(config)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == check, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def config(write_config: WriteConfig, tmp_path: Path) -> Path:
    """Plate P: three images live; run 2 has two of them, and failed on the third."""
    (tmp_path / "state").mkdir()
    db = Database(tmp_path / "state" / "spheroidd.db")
    for hours, area in ((0, 100.0), (3, 200.0), (6, 300.0)):
        measured(db, "A1", hours, (area,))
    runs, results = Runs(db), Results(db)
    run = runs.again("P", Recipe("u2netp", "md5", 0.7, None, "mask", "x" * 64), NOW)
    images = Ledger(db).in_state("measured")
    batch = results.open_batch(
        NOW, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4", n_images=2,
        folder="",
    )  # fmt: skip
    for image, area in zip(images[:2], (110.0, 190.0), strict=True):
        found = [ObjectRecord("Spheroids", 1, area, {"AreaShape_Area": area})]
        record = MeasurementRecord(run, 0, batch, area, None, None, 1, [], None, "0", 0, found)
        runs.measured(image, results.segmentation(image.id), record, NOW)
    runs.failed(run, images[2].id, "gone", NOW)
    runs.finish(run, NOW)
    db.close()
    return write_config()


def test_list_use_and_compare(config: Path, tmp_path: Path) -> None:
    listed = command(config, "runs", "list").stdout
    assert "2 of 3" in listed
    assert "again" in listed
    [live, again] = json.loads(command(config, "runs", "list", "--plate", "P", "--json").stdout)
    assert (live["kind"], live["chosen"], live["shown"]) == ("live", True, 3)
    assert (again["images"], again["total"], again["failures"]) == (2, 3, 1)
    assert (again["threshold"], again["chosen"], again["shown"]) == (0.7, False, 0)

    used = command(config, "runs", "use", "--plate", "P", "2")
    assert "2 of 3 images" in used.stdout
    assert "1 images are not in it" in used.stderr
    rows = list(csv.DictReader(io.StringIO(command(config, "export").stdout)))
    assert [float(row["area_px"]) for row in rows] == [110, 190, 300]

    picture = tmp_path / "agreement.png"
    told = command(config, "runs", "compare", "--plate", "P", "live", "2", "-o", str(picture))
    assert "+2.20 %" in told.stdout, "the mean of +9.52 and −5.13 %"
    assert "images only in A" in told.stdout
    with Pillow.open(picture) as opened:
        assert opened.format == "PNG"
    table = command(config, "runs", "compare", "--plate", "P", "1", "2", "--csv").stdout
    lines = list(csv.DictReader(io.StringIO(table)))
    assert [(line["a_px"], line["b_px"]) for line in lines] == [
        ("100.0", "110.0"), ("200.0", "190.0"), ("300.0", ""),
    ]  # fmt: skip
    assert float(lines[0]["difference_pct"]) == pytest.approx(9.5238, abs=1e-3)

    assert "live" in command(config, "runs", "use", "--plate", "P", "live").stdout
    rows = list(csv.DictReader(io.StringIO(command(config, "export").stdout)))
    assert [float(row["area_px"]) for row in rows] == [100, 200, 300]


def test_a_run_is_judged_when_it_is_shown_and_compare_says_if_it_is_not(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    """In the fifth frame something else is larger; no daemon is running."""
    (tmp_path / "state").mkdir()
    db = Database(tmp_path / "state" / "spheroidd.db")
    runs, results = Runs(db), Results(db)
    spheroid = {"AreaShape_Area": 5000.0, "AreaShape_Center_X": 20, "AreaShape_Center_Y": 15}
    other = {"AreaShape_Area": 6000.0, "AreaShape_Center_X": 1, "AreaShape_Center_Y": 1}
    for hours in range(9):
        measured(db, "A1", 3 * hours, [spheroid])
    measured(db, "B1", 0, plate="Q")
    run = runs.again("P", Recipe("u2netp", "md5", 0.7, None, "mask", "x" * 64), NOW)
    batch = results.open_batch(
        NOW, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4", n_images=9,
        folder="",
    )  # fmt: skip
    for index, image in enumerate(Ledger(db).in_state("measured")[:9]):
        features = [other, spheroid] if index == 4 else [spheroid]
        found = [
            ObjectRecord("Spheroids", number, one["AreaShape_Area"], one)
            for number, one in enumerate(features, start=1)
        ]
        area = found[0].area_px or 0.0
        record = MeasurementRecord(
            run, 0, batch, area, None, None, len(found), [], None, "0", 0, found
        )
        runs.measured(image, results.segmentation(image.id), record, NOW)
    db.close()
    config = write_config()
    compare = ("runs", "compare", "--plate", "P", "live", str(run))
    told = command(config, *compare).stderr
    assert "B has not been judged" in told
    assert "in 1 images" in told
    assert "A has not" not in told, "there is only one object in each of its images"

    command(config, "runs", "use", "--plate", "P", str(run))
    rows = list(csv.DictReader(io.StringIO(command(config, "export").stdout)))
    assert {float(row["area_px"]) for row in rows if row["plate"] == "P"} == {5000}
    assert "has not been judged" not in command(config, *compare).stderr
    with Database(tmp_path / "state" / "spheroidd.db") as db:
        assert {row["plate"] for row in db.rows("SELECT plate FROM unjudged")} == {"Q"}


def test_what_is_not_there_is_said_with_what_is(config: Path) -> None:
    told = command(config, "runs", "use", "--plate", "P", "7", check=1).stderr
    assert "no run 7" in told
    assert "1, 2 and `live`" in told
    told = command(config, "runs", "compare", "--plate", "Q", "live", "2", check=1).stderr
    assert "'Q'" in told
    assert "There is P" in told
    told = command(config, "remeasure", "--plate", "Q", check=1).stderr
    assert "'Q'" in told
    assert "There is 'P'" in told
    told = command(config, "runs", "list", "--plate", "Q", check=1).stderr
    assert "There is P" in told


def test_plates_whose_names_are_no_text_can_be_named(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    db = Database(tmp_path / "state" / "spheroidd.db")
    measured(db, "A1", 0, plate=to_stored(os.fsdecode(b"P\xff")))
    db.close()
    config = write_config()
    for typed in (os.fsdecode(b"P\xff"), r"P\xff"):  # as a shell completes it; as tables show it
        assert r"P\xff" in command(config, "runs", "list", "--plate", typed).stdout
        used = command(config, "runs", "use", "--plate", typed, "live").stdout
        assert "1 of 1 images" in used
        told = command(config, "remeasure", "--plate", typed, "--model", "/no.onnx", check=1)
        assert "no model file /no.onnx" in told.stderr


def test_a_plate_may_be_named_as_tables_show_it(config: Path, tmp_path: Path) -> None:
    db = Database(tmp_path / "state" / "spheroidd.db")
    stored = to_stored("caf\udce9")
    measured(db, "A1", 0, plate=stored, name="odd.jpg")
    db.close()
    named = ("--plate", "caf\\xe9")
    assert "for 1 of 1 images" in command(config, "runs", "use", *named, "live").stdout
    told = json.loads(command(config, "runs", "list", *named, "--json").stdout)
    assert {row["plate"] for row in told} <= {stored}
    folder = StateFolder(tmp_path / "state").again(stored)
    folder.mkdir(parents=True)
    with only_one(folder / "lock"):  # so that it ends before it measures
        told_so = command(config, "remeasure", *named, check=1).stderr
    assert "is being measured again already" in told_so


def test_wrong_options_are_refused_before_anything_begins(config: Path) -> None:
    for words, told in (
        (("--threshold", "2"), "segmentation.threshold"),
        (("--pipeline", "my.cppipe"), "measurement.pipeline"),
        (("--model", "none"), "needs a model"),
    ):
        done = command(config, "remeasure", "--plate", "P", *words, check=2)
        assert told in " ".join(done.stderr.replace("│", "").split())


def test_options_change_what_they_name_and_nothing_else(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.cppipe"
    own.write_text("x")
    config = load_config(
        write_config(
            segmentation={"model": "u2netp"},
            measurement={"pipeline": str(own), "images": {"DNA": "Mask"}, "spheroid": "Cells"},
        )
    )
    assert with_options(config, None, None, None) == config
    changed = with_options(config, None, None, 0.25)
    assert changed.segmentation.threshold == 0.25
    assert changed.measurement == config.measurement
    assert changed.watch == config.watch
    changed = with_options(config, "none", "threshold", None)
    assert (changed.segmentation.model, changed.measurement.pipeline) == ("none", "threshold")
    assert (changed.measurement.images, changed.measurement.spheroid) == ({}, None)
    monkeypatch.chdir(tmp_path)  # a file on the command line is relative to where one is
    assert with_options(config, None, "own.cppipe", None) == config
    with pytest.raises(typer.BadParameter, match="threshold"):
        with_options(config, None, None, -1.0)
