"""The worker's numbers are those of CellProfiler by itself: on whole images, kept in HDF5.

Every number is compared: in the answer, in the picture of the labels and in the spreadsheets.
Whole numbers must be equal, and all others are the same to 1e-9 of themselves, but for positions
and the distance between two positions (MassDisplacement): a position is a sum over millions of
pixels, whose terms are smaller on a crop, and less is lost by rounding them.  They are held to
1e-8 pixels, however small they are.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import plain_worker
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from spheroidd.measure.engine import WORKER, Engine, ImageInput, ImageOutcome, worker_command
from spheroidd.measure.outline import Labels, read_labels
from spheroidd.segment.mask import write_mask

pytestmark = pytest.mark.timeout(300)
Draw = Callable[..., np.ndarray]
Write = Callable[..., ImageInput]
Pixels = NDArray[np.uint8]
Fields = dict[str, tuple[NDArray[np.bool_], Pixels]]  # by name: mask, original

IN_PIXELS = re.compile("Location_|AreaShape_Center|MassDisplacement")
OF_THE_RUN = re.compile("ExecutionTime_|PathName_")


@pytest.fixture(scope="module")
def plain(cellprofiler: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """CellProfiler by itself."""
    command = worker_command(cellprofiler, tmp_path_factory.mktemp("plain"))
    at = command.index(str(WORKER))
    command[at : at + 1] = [plain_worker.__file__, str(WORKER)]
    engine = Engine(command, log=lambda *_, **__: None)
    yield engine
    engine.stop()


def drawn(disc: Draw) -> Fields:
    """Masks of every kind, on an original of noise; the shapes are those of `disc`, 120 × 160."""
    noise = np.random.default_rng(5)
    corners = np.zeros((120, 160), bool)
    corners[20:40, 20:40] = corners[40:60, 40:60] = True
    masks = {
        "disc": disc(),
        "holes": disc() & ~disc(60, 80, 8) & ~disc(50, 90, 3),
        "nested": disc(radius=50) & ~disc(radius=35) | disc(radius=20),
        "several": disc(60, 40, 20) | disc(60, 110, 30) | disc(20, 75, 6) | disc(10, 10, 2),
        "two touching corners": corners,
        "empty": np.zeros((120, 160), bool),
        "specks only": disc(60, 80, 2) | disc(30, 20, 3),
        "one pixel": disc(60, 80, 0),
        "full": np.ones((120, 160), bool),
        "a ring on the rim": ~ndimage.binary_erosion(np.ones((120, 160), bool), iterations=9),
        "open bay": disc(60, 0, 40) & ~disc(60, 0, 20),
        "line": np.mgrid[:120, :160][0] == 40,
        **{
            f"at {y}, {x}": disc(y, x, 25) & ~disc(y, x, 5)
            for y, x in ((0, 0), (0, 80), (0, 159), (60, 159), (119, 159), (119, 80), (60, 0))
        },
    }
    for number in range(8):
        smooth = ndimage.gaussian_filter(noise.random((90 + 7 * number, 130)), 1 + number % 4)
        masks[f"noise {number}"] = smooth > np.quantile(smooth, 0.4 + 0.06 * number)
    fields = {
        name: (mask, noise.integers(0, 256, mask.shape, np.uint8)) for name, mask in masks.items()
    }
    colour = noise.integers(0, 256, (120, 160, 3), np.uint8)
    grey = np.dstack([fields["disc"][1]] * 3)
    nearly_grey = grey.copy()
    nearly_grey[0, 0, 0] ^= 1  # far from the mask, and it decides how grey is made of all
    fields |= {
        "colour": (disc(50, 70, 20), colour),
        "grey as colour": (disc(50, 70, 20), grey),
        "nearly grey": (disc(50, 70, 20), nearly_grey),
        "black": (disc(), np.zeros((120, 160), np.uint8)),
        "even": (disc(31, 47, 20), np.full((120, 160), 99, np.uint8)),
    }
    return fields


def of_real_frames(real_data: Path) -> Fields:
    """Masks by hand of droplets and Ewing's, plain thresholds of the others; some as in RGB."""
    fields: Fields = {}
    for folder in ("droplet-a673", "ewing-brightfield"):
        for path in sorted((real_data / folder / "images").glob("*"))[:1]:
            [mask] = list((real_data / folder / "masks").glob(f"{path.stem}*"))[:1]
            fields[f"{folder} {path.stem}"] = (pixels_of(mask, "L") > 0, pixels_of(path, "L"))
    for folder in ("cell-iq-timelapse/export", "several-objects/images", "mcf7-timelapse/images"):
        for number, path in enumerate(sorted((real_data / folder).rglob("*.jpg"))[:2]):
            grey = pixels_of(path, "L")
            blurred = ndimage.uniform_filter(grey, 5)
            mask = blurred < np.quantile(blurred, 0.12)
            fields[f"{folder} {number}"] = (mask, pixels_of(path, "RGB") if number else grey)
    return fields


def pixels_of(path: Path, mode: str) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


def written(fields: Fields, folder: Path) -> list[ImageInput]:
    """As the daemon writes them."""
    images = []
    for number, (name, (mask, original)) in enumerate(fields.items()):
        files = {"Original": folder / f"{number}.npy", "Mask": folder / f"{number}.png"}
        np.save(files["Original"], original)
        write_mask(files["Mask"], mask)
        images.append(ImageInput(name.replace("/", " "), "P", "A1", number, files))
    return images


def same(name: str, one: float | None, other: float | None) -> bool:
    if one is None or other is None or math.isnan(one):
        return one == other or str(one) == str(other)
    if IN_PIXELS.search(name):
        return math.isclose(one, other, rel_tol=0, abs_tol=1e-8)
    return one == other or (not float(one).is_integer() and math.isclose(one, other, rel_tol=1e-9))


def differences(one: Mapping[str, ImageOutcome], other: Mapping[str, ImageOutcome]) -> list[str]:
    found = []
    for key, plain in one.items():
        ours = other[key]
        assert plain.error is None
        assert ours.error is None
        assert list(plain.image) == list(ours.image)
        assert list(plain.objects) == list(ours.objects)
        tables = [(plain.image, ours.image)]
        for name, objects in plain.objects.items():
            assert len(objects) == len(ours.objects[name]), key
            tables += zip(objects, ours.objects[name], strict=True)
        for expected, got in tables:
            assert list(expected) == list(got)
            found += [
                f"{key}: {name} {value!r} {got[name]!r}"
                for name, value in expected.items()
                if not same(name, value, got[name])
            ]
    return found


def spreadsheets(folder: Path) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as rows:
            tables[path.name] = list(csv.DictReader(rows))
    return {name: rows for name, rows in tables.items() if "Experiment" not in name}


def cells_that_differ(one: Path, other: Path) -> list[str]:
    ours, theirs = spreadsheets(one), spreadsheets(other)
    assert ours
    assert ours.keys() == theirs.keys()
    found = []
    for name, rows in ours.items():
        assert len(rows) == len(theirs[name])
        for row, (a, b) in enumerate(zip(rows, theirs[name], strict=True)):
            assert list(a) == list(b)
            for column, cell in a.items():
                if cell == b[column] or OF_THE_RUN.match(column):
                    continue
                if not (is_number(cell) and same(column, float(cell), float(b[column]))):
                    found.append(f"{name} {row} {column}: {cell} {b[column]}")
    return found


def is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"[-+.e0-9]+|nan|inf", cell))


def full(labels: Labels) -> NDArray[np.integer]:
    rows, columns = labels.numbers.shape
    frame = np.zeros(labels.frame, labels.numbers.dtype)
    frame[labels.top : labels.top + rows, labels.left : labels.left + columns] = labels.numbers
    return frame


def compare(
    images: list[ImageInput], path: Path, engines: tuple[Engine, Engine], tmp_path: Path
) -> None:
    """All that comes of them, from CellProfiler by itself and from ours."""
    folders = tmp_path / "plain", tmp_path / "ours"
    of = engines[0].validate(path).measured[0]
    answers = [
        engine.measure(path, images, folder, labels_of=of)
        for engine, folder in zip(engines, folders, strict=True)
    ]
    assert differences(*answers) == []
    assert cells_that_differ(*folders) == []
    for key, outcome in answers[0].items():
        pictures = outcome.labels, answers[1][key].labels
        one, other = (full(read_labels(picture)) for picture in pictures if picture)
        assert (one == other).all(), key
        for picture in pictures:
            if picture:
                picture.unlink()


def test_every_kind_of_mask(
    plain: Engine, warm: Engine, pipelines: Path, tmp_path: Path, disc: Draw
) -> None:
    path, fields = pipelines / "mask.cppipe", drawn(disc)
    assert not plain.validate(path).on_crop
    assert warm.validate(path).on_crop
    compare(written(fields, tmp_path), path, (plain, warm), tmp_path)
    rows = spreadsheets(tmp_path / "ours")["Image.csv"]
    assert [row["Height_Original"] for row in rows] == [
        str(mask.shape[0]) for mask, _ in fields.values()
    ]


def test_real_frames(
    plain: Engine, warm: Engine, pipelines: Path, tmp_path: Path, real_data: Path
) -> None:
    images = written(of_real_frames(real_data), tmp_path)
    compare(images, pipelines / "mask.cppipe", (plain, warm), tmp_path)


def changed(pipeline: Path, target: Path, settings: Mapping[str, str]) -> Path:
    text = pipeline.read_text(encoding="utf-8")
    for setting, value in settings.items():
        text, found = re.subn(f"(?m)^( +{re.escape(setting)}):.*$", rf"\1:{value}", text)
        assert found, setting
    target.write_text(text, encoding="utf-8")
    return target


DIAMETER = "Typical diameter of objects, in pixel units (Min,Max)"
HOLES = "Fill holes in identified objects?"
BORDER = "Discard objects touching the border of the image?"
SIZES = "Discard objects outside the diameter range?"


@pytest.mark.parametrize(
    "settings",
    [
        {BORDER: "Yes", HOLES: "Never", DIAMETER: "3,60"},
        {HOLES: "After declumping only", SIZES: "No", DIAMETER: "2,6", "Manual threshold": "1.0"},
    ],
    ids=["no borders, no filling", "all sizes, small holes only"],
)
def test_settings_that_a_crop_is_safe_with(
    settings: dict[str, str],
    plain: Engine,
    warm: Engine,
    pipelines: Path,
    tmp_path: Path,
    disc: Draw,
) -> None:
    path = changed(pipelines / "mask.cppipe", tmp_path / "x.cppipe", settings)
    assert warm.validate(path).on_crop
    compare(written(drawn(disc), tmp_path), path, (plain, warm), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"Threshold smoothing scale": "1.0"},
        {"Method to distinguish clumped objects": "Shape",
         "Method to draw dividing lines between clumped objects": "Shape"},
        {"Manual threshold": "0.0"},
        {"Threshold strategy": "Adaptive"},
        {"Use advanced settings?": "No"},
        {"Calculate the Zernike features?": "Yes"},
        {"Calculate the advanced features?": "Yes"},
        {"Select the input image": "Original"},
    ],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_settings_that_need_the_whole_image(
    settings: dict[str, str], warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    path = changed(pipelines / "mask.cppipe", tmp_path / "x.cppipe", settings)
    assert not warm.validate(path).on_crop


def test_a_mask_that_the_pipeline_takes_for_grey_is_seen_whole(
    warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    """And so is an original that it takes for a mask."""
    grey = changed(
        pipelines / "mask.cppipe", tmp_path / "grey.cppipe",
        {"Select the image type": "Grayscale image"},
    )  # fmt: skip
    assert not warm.validate(grey).on_crop
    assert not warm.validate(pipelines / "mask.cppipe", {"Mask": "Original"}).on_crop
    assert warm.validate(pipelines / "mask.cppipe", {}).on_crop


@pytest.mark.parametrize("name", ["white-background", "threshold", "cells", "saving"])
def test_other_pipelines_see_whole_images(
    name: str,
    plain: Engine,
    warm: Engine,
    pipelines: Path,
    saving: Path,
    tmp_path: Path,
    write_image: Write,
    disc: Draw,
) -> None:
    """Text, objects of several kinds and relations between them come through memory, too."""
    folder = pipelines if (pipelines / f"{name}.cppipe").exists() else saving.parent
    path = folder / f"{name}.cppipe"
    masks = {"two": disc(60, 40, 20) | disc(60, 110, 30), "none": disc() & False, "one": disc()}
    images = [write_image(f"{key} µ", mask, well="µ1") for key, mask in masks.items()]
    names = {"DNA": "Original"} if name == "cells" else {}
    for engine in (plain, warm):
        assert not engine.validate(path, names).on_crop
    compare(images, path, (plain, warm), tmp_path)
