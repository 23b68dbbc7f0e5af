"""The pipelines that ship, run by the real CellProfiler on images with known answers."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from spheroidd.measure.engine import Engine, ImageInput, ImageOutcome
from spheroidd.measure.outline import read_labels

Draw = Callable[..., np.ndarray]
Count = Callable[[np.ndarray], list[int]]
Write = Callable[..., ImageInput]


def areas(outcome: ImageOutcome) -> list[float]:
    assert outcome.error is None
    return sorted(float(found["AreaShape_Area"] or 0) for found in outcome.objects["Spheroids"])


def masks_by_hand(disc: Draw) -> dict[str, np.ndarray]:
    nested = disc(radius=50) & ~disc(radius=35) | disc(radius=20)
    corner = np.zeros((120, 160), bool)
    corner[20:40, 20:40] = corner[40:60, 40:60] = True
    return {
        "disc": disc(),
        "holes": disc() & ~disc(60, 80, 8) & ~disc(50, 90, 3),
        "nested": nested,
        "two": disc(60, 40, 20) | disc(60, 110, 30),
        "border": disc(0, 0, 40),
        "open bay": disc(60, 0, 40) & ~disc(60, 0, 20),
        "corner": corner,
        "speck": disc(radius=4) | disc(60, 20, 10),
        "empty": np.zeros((120, 160), bool),
        "full": np.ones((120, 160), bool),
        "line": disc(radius=30) & (np.mgrid[:120, :160][0] % 9 < 8),
    }


@pytest.mark.parametrize("name", ["mask", "white-background"])
def test_areas_to_the_pixel(
    name: str,
    warm: Engine,
    pipelines: Path,
    tmp_path: Path,
    write_image: Write,
    disc: Draw,
    count_areas: Count,
) -> None:
    masks = masks_by_hand(disc)
    noise = np.random.default_rng(7)
    for number in range(12):
        smooth = ndimage.gaussian_filter(noise.random((90 + number, 130)), 1 + number % 4)
        masks[f"noise {number}"] = smooth > np.quantile(smooth, 0.35 + 0.03 * number)
    images = [write_image(key, mask) for key, mask in masks.items()]
    outcomes = warm.measure(pipelines / f"{name}.cppipe", images, tmp_path / "batch")
    assert {key: areas(outcome) for key, outcome in outcomes.items()} == {
        key: count_areas(mask) for key, mask in masks.items()
    }


def test_no_object_is_a_result(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    images = [write_image("empty", np.zeros((120, 160), bool)), write_image("disc", disc())]
    outcomes = warm.measure(pipelines / "mask.cppipe", images, tmp_path / "batch")
    empty = outcomes["empty"]
    assert (empty.key, empty.error, empty.objects) == ("empty", None, {"Spheroids": []})
    assert empty.image["Count_Spheroids"] == 0
    assert len(outcomes["disc"].objects["Spheroids"]) == 1


def test_features_are_numbers_or_null(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    # One row of pixels has no area that a Feret diameter could lie across.
    line = np.zeros((120, 160), bool)
    line[40, 5:155] = True
    images = [write_image("disc", disc()), write_image("line", line)]
    outcomes = warm.measure(pipelines / "mask.cppipe", images, tmp_path / "batch")
    (found,) = outcomes["disc"].objects["Spheroids"]
    assert found["AreaShape_Center_X"] == pytest.approx(80)
    assert found["Location_Center_Y"] == pytest.approx(60)
    assert found["AreaShape_EquivalentDiameter"] == pytest.approx(60, abs=1)
    assert found["AreaShape_Solidity"] == pytest.approx(1, abs=0.03)
    assert found["AreaShape_BoundingBoxMinimum_X"] == 50
    assert found["Number_Object_Number"] == 1
    for found in outcomes["disc"].objects["Spheroids"] + outcomes["line"].objects["Spheroids"]:
        for value in found.values():
            assert value is None or np.isfinite(value)


@pytest.mark.parametrize("level", [0, 215, 216, 217, 218, 255])
def test_white_background_counts_gray_below_217(
    level: int, warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    image = write_image("one", disc())
    pixels = np.where(disc(), level, 255).astype(np.uint8)
    for number, shape in enumerate((pixels, np.dstack([pixels] * 3))):
        Image.fromarray(shape).save(image.files["Spheroid"])
        folder = tmp_path / f"batch{number}"
        outcome = warm.measure(pipelines / "white-background.cppipe", [image], folder)["one"]
        assert areas(outcome) == ([int(disc().sum())] if level < 217 else [])


def test_threshold_finds_a_dark_spheroid_on_uneven_light(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write
) -> None:
    rows, columns = np.mgrid[:300, :400]
    light = 170 - 60 * ((rows - 100) ** 2 + (columns - 250) ** 2) / (200**2 + 250**2)
    spheroid = np.hypot(rows - 170, (columns - 180) / 1.4) <= 50
    image = write_image("one", spheroid)
    pixels = light * np.where(spheroid, 0.7, 1) + np.random.default_rng(1).normal(0, 4, light.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(image.files["Original"])
    outcome = warm.measure(pipelines / "threshold.cppipe", [image], tmp_path / "batch")["one"]
    assert max(areas(outcome)) == pytest.approx(spheroid.sum(), rel=0.03)


@pytest.mark.parametrize("name", ["mask", "white-background", "threshold"])
def test_the_objects_come_as_a_picture_of_their_numbers(
    name: str, warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    masks = {"two": disc(60, 40, 20) | disc(60, 110, 30), "empty": np.zeros((120, 160), bool)}
    images = [write_image(key, mask) for key, mask in masks.items()]
    path, batch = pipelines / f"{name}.cppipe", tmp_path / "batch"
    outcomes = warm.measure(path, images, batch, labels_of="Spheroids")
    for key, mask in masks.items():
        picture = outcomes[key].labels
        assert picture is not None
        labels = read_labels(picture)
        picture.unlink()
        found = outcomes[key].objects["Spheroids"]
        assert labels.frame == (120, 160)
        assert np.bincount(labels.numbers.ravel(), minlength=1)[1:].tolist() == [
            one["AreaShape_Area"] for one in found
        ]
        if name != "threshold":
            rows, columns = np.nonzero(labels.numbers)
            assert mask[rows + labels.top, columns + labels.left].sum() == mask.sum()
    assert {path.suffix for path in batch.iterdir()} == {".csv"}
    assert warm.measure(path, images, batch)["two"].labels is None, "nobody asked for it"


@pytest.mark.parametrize("name", ["mask", "white-background", "threshold"])
def test_pipeline_says_what_it_needs(name: str, warm: Engine, pipelines: Path) -> None:
    info = warm.validate(pipelines / f"{name}.cppipe")
    wanted = {"mask": {"Mask"}, "white-background": {"Spheroid"}, "threshold": set()}[name]
    assert set(info.images) == {"Original"} | wanted
    assert info.objects == info.measured == ("Spheroids",)
    assert info.modules[-2:] == ("MeasureObjectSizeShape", "ExportToSpreadsheet")


def test_published_result_to_the_pixel(
    warm: Engine, pipelines: Path, tmp_path: Path, real_data: Path
) -> None:
    """32 frames as the published pipeline left them: every largest area is the reference's."""
    seed = real_data / "cell-iq-timelapse" / "seed_output"
    with (seed / "areas.csv").open() as rows:
        wanted = {
            row["frame"]: int(row["largest_object_px_holes_filled"]) for row in csv.DictReader(rows)
        }
    images = [
        ImageInput(frame, "CQ22 3D", "A1", number, {"Original": white, "Spheroid": white})
        for number, frame in enumerate(wanted)
        if (white := seed / f"{frame}.png")
    ]
    outcomes = warm.measure(pipelines / "white-background.cppipe", images, tmp_path / "batch")
    assert {key: areas(outcome)[-1] for key, outcome in outcomes.items()} == wanted


def test_threshold_on_a_real_timelapse(
    warm: Engine, pipelines: Path, tmp_path: Path, real_data: Path
) -> None:
    """No machine learning: within a quarter of the published area on every fifth frame."""
    folder = real_data / "cell-iq-timelapse"
    with (folder / "seed_output" / "areas.csv").open() as rows:
        wanted = [int(row["largest_object_px_holes_filled"]) for row in csv.DictReader(rows)]
    frames: dict[str, Any] = {
        path.stem: path for path in sorted(folder.glob("export/*/A1/*.jpg"))[::5]
    }
    images = [ImageInput(key, "P", "A1", 0, {"Original": path}) for key, path in frames.items()]
    outcomes = warm.measure(pipelines / "threshold.cppipe", images, tmp_path / "batch")
    for key, reference in zip(frames, wanted[::5], strict=True):
        assert areas(outcomes[key])[-1] == pytest.approx(reference, rel=0.25)
