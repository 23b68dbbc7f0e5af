"""Pipelines as CellProfiler's window saves them, with its input modules and any image names.

`pipelines/*.cppipe` were written by CellProfiler 4.2 itself.  Every number is held against one
that numpy, scipy or scikit-image makes of the same pixels.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops

from spheroidd.errors import PipelineError
from spheroidd.measure.engine import Engine, ImageInput, ImageOutcome
from spheroidd.store.reader import Reader

HERE = Path(__file__).parent / "pipelines"
Pixels = NDArray[np.uint8]
Features = dict[str, float | None]


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:160, :220]
    found: NDArray[np.bool_] = np.hypot(rows - y, columns - x) <= radius
    return found


def specks() -> NDArray[np.bool_]:
    """6420 parts of 3 x 3 pixels, some cut by the border."""
    mask = np.zeros((540, 960), bool)
    for shift in range(9):
        mask[4 + shift // 3 :: 9, 4 + shift % 3 :: 9] = True
    return mask


@pytest.fixture(scope="module")
def cells() -> Pixels:
    """Three cells with a nucleus each; bright spots: two in the first, one in the second and
    one in the third, which is too small to be kept."""
    rows, columns = np.mgrid[:160, :220]
    pixels = np.full((160, 220), 20, np.uint8)
    for y, x, radius in ((50, 50, 30), (100, 140, 25), (30, 190, 9)):
        body = disc(y, x, radius)
        pixels[body] = (80 + (rows * 3 + columns * 7) % 40)[body]
        pixels[disc(y, x, radius / 2.5)] = 200
    for y, x in ((48, 48), (55, 55), (100, 140), (30, 190)):
        pixels[y : y + 2, x : x + 2] = 250
    return pixels


def image_of(folder: Path, **pixels: Pixels | NDArray[np.bool_]) -> ImageInput:
    files = {}
    for name, values in pixels.items():
        files[name] = folder / f"{name}.png"
        Image.fromarray(values).save(files[name])
    return ImageInput("one", "P", "A1", 0, files)


def measure(
    warm: Engine, path: Path, image: ImageInput, names: dict[str, str] | None = None
) -> ImageOutcome:
    warm.validate(path, names or {})
    outcome = warm.measure(path, [image], next(iter(image.files.values())).parent / "batch")["one"]
    assert outcome.error is None
    return outcome


def regions(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected parts, corners included, in the order in which CellProfiler numbers them."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


def column(found: list[Features], feature: str) -> list[float | None]:
    return [features[feature] for features in found]


def changed(path: Path, folder: Path, **replacements: str) -> Path:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    copy = folder / path.name
    copy.write_text(text, encoding="utf-8")
    return copy


# -- numbers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(
    warm: Engine, cells: Pixels, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Features]]:
    image = image_of(tmp_path_factory.mktemp("cells"), Original=cells)
    outcome = measure(warm, HERE / "cells.cppipe", image, {"DNA": "Original"})
    assert list(outcome.objects) != []
    return {name: list(features) for name, features in outcome.objects.items()}


def test_secondary_and_tertiary_objects(found: dict[str, list[Features]], cells: Pixels) -> None:
    nuclei, bodies = regions(cells > 0.6 * 255), regions(cells > 0.25 * 255)
    # The order of the cells is that of the nuclei they grew from.
    bodies = [next(body for body in bodies if body[nucleus].all()) for nucleus in nuclei]
    assert column(found["Nuclei"], "AreaShape_Area") == [one.sum() for one in nuclei]
    assert column(found["Cells"], "AreaShape_Area") == [one.sum() for one in bodies]
    assert column(found["Cytoplasm"], "AreaShape_Area") == [
        (body & ~nucleus).sum() for body, nucleus in zip(bodies, nuclei, strict=True)
    ]
    assert column(found["Cells"], "Parent_Nuclei") == [1, 2, 3]
    assert column(found["Cytoplasm"], "Parent_Cells") == [1, 2, 3]
    assert column(found["Nuclei"], "Children_Cells_Count") == [1, 1, 1]


@pytest.mark.parametrize("name", ["Nuclei", "Cytoplasm"])
def test_intensity(name: str, found: dict[str, list[Features]], cells: Pixels) -> None:
    nuclei, bodies = regions(cells > 0.6 * 255), regions(cells > 0.25 * 255)
    bodies = [next(body for body in bodies if body[nucleus].all()) for nucleus in nuclei]
    masks = nuclei
    if name == "Cytoplasm":
        masks = [body & ~nucleus for body, nucleus in zip(bodies, nuclei, strict=True)]
    values = [cells[mask] / 255 for mask in masks]
    for feature, function in {
        "MeanIntensity": np.mean, "IntegratedIntensity": np.sum, "StdIntensity": np.std,
        "MinIntensity": np.min, "MaxIntensity": np.max,
    }.items():  # fmt: skip
        assert column(found[name], f"Intensity_{feature}_DNA") == pytest.approx(
            [function(one) for one in values], rel=1e-5
        )


def test_texture(found: dict[str, list[Features]], cells: Pixels) -> None:
    """Haralick's features of pixels 3 apart in a row, pixels outside the cell left out."""
    order = column(found["Cells"], "AreaShape_Area")
    for body in regions(cells > 0.25 * 255):
        rows, columns = ndimage.find_objects(body.astype(int))[0]
        pixels = np.where(body, cells, 0)[rows, columns]
        pairs = graycomatrix(pixels, [3], [0], levels=256, symmetric=True).astype(float)
        pairs[0] = pairs[:, 0] = 0
        pairs /= pairs.sum()
        features = found["Cells"][order.index(float(body.sum()))]
        for ours, theirs in {"ASM": "AngularSecondMoment", "contrast": "Contrast",
                             "correlation": "Correlation"}.items():  # fmt: skip
            assert features[f"Texture_{theirs}_DNA_3_00_256"] == pytest.approx(
                graycoprops(pairs, ours)[0, 0], rel=1e-6
            )


def test_filter_and_relate(found: dict[str, list[Features]], cells: Pixels) -> None:
    areas = [float(body.sum()) for body in regions(cells > 0.25 * 255)]
    assert sorted(float(area or 0) for area in column(found["LargeCells"], "AreaShape_Area")) == (
        sorted(area for area in areas if area >= 400)
    )
    large = found["LargeCells"]
    centers = [(one["AreaShape_Center_Y"], one["AreaShape_Center_X"]) for one in large]
    at = {center: number for number, center in enumerate(centers, start=1)}
    first, second = at[50.0, 50.0], at[100.0, 140.0]
    spots = {(spot["Location_Center_Y"], spot["Location_Center_X"]): spot
             for spot in found["Spots"]}  # fmt: skip
    parents = {place: spot["Parent_LargeCells"] for place, spot in spots.items()}
    assert parents == {(30.5, 190.5): 0, (48.5, 48.5): first, (55.5, 55.5): first,
                       (100.5, 140.5): second}  # fmt: skip
    assert large[first - 1]["Children_Spots_Count"] == 2
    assert large[second - 1]["Children_Spots_Count"] == 1
    assert spots[55.5, 55.5]["Distance_Centroid_LargeCells"] == pytest.approx(np.hypot(5.5, 5.5))
    assert spots[30.5, 190.5]["Distance_Centroid_LargeCells"] is None  # without a parent: none


def test_numbers_of_the_whole_image(warm: Engine, cells: Pixels, tmp_path: Path) -> None:
    image = image_of(tmp_path, Original=cells)
    measured = measure(warm, HERE / "cells.cppipe", image, {"DNA": "Original"}).image
    body = cells > 0.25 * 255
    assert measured["AreaOccupied_AreaOccupied_Cells"] == body.sum()
    assert measured["Intensity_MeanIntensity_DNA"] == pytest.approx(cells.mean() / 255)
    assert measured["Count_Spots"] == 4
    assert not [name for name in measured if name.startswith(("ExecutionTime", "Metadata"))]


def test_loaddata_names(warm: Engine, cells: Pixels, tmp_path: Path) -> None:
    mask = disc(50, 50, 30)
    names = {"OrigMask": "Mask", "OrigGray": "Original"}
    info = warm.validate(HERE / "loaddata.cppipe", names)
    assert dict(info.images) == names
    image = image_of(tmp_path, Original=cells, Mask=mask)
    [spheroid] = measure(warm, HERE / "loaddata.cppipe", image, names).objects["Spheroid"]
    assert spheroid["AreaShape_Area"] == mask.sum()
    assert spheroid["Intensity_MeanIntensity_OrigGray"] == pytest.approx(cells[mask].mean() / 255)


@pytest.mark.parametrize("colour", [True, False])
def test_image_types_are_kept(colour: bool, warm: Engine, tmp_path: Path) -> None:
    """A colour image where gray is asked for, a gray one for colour, any image for a mask."""
    mask = disc(60, 100, 40)
    shape = (160, 220, 3) if colour else (160, 220)
    pixels = np.random.default_rng(5).integers(0, 255, shape).astype(np.uint8)
    image = image_of(tmp_path, Original=pixels, Mask=mask)
    names = {"OrigColor": "Original", "OrigGray": "Original", "Worm": "Mask"}
    [found] = measure(warm, HERE / "colour.cppipe", image, names).objects["Spheroid"]
    assert found["AreaShape_Area"] == mask.sum()
    inside = pixels[mask] / 255
    means = inside.mean(axis=0) if colour else np.full(3, inside.mean())
    # Rec. 709 luma, which scikit-image's rgb2gray takes, and CellProfiler with it.
    gray = means @ (0.2125, 0.7154, 0.0721)
    for name, wanted in {"Red": means[0], "Green": means[1], "OrigGray": gray}.items():
        assert found[f"Intensity_MeanIntensity_{name}"] == pytest.approx(wanted, rel=1e-5)


def test_no_object_and_thousands(warm: Engine, tmp_path: Path) -> None:
    """6420 objects beside an empty image, in seconds and to the last number."""
    mask = specks()
    pixels = np.random.default_rng(0).integers(50, 200, mask.shape).astype(np.uint8)
    (tmp_path / "empty").mkdir()
    images = [image_of(tmp_path, Original=pixels, Mask=mask)]
    empty = image_of(tmp_path / "empty", Original=pixels, Mask=np.zeros_like(mask))
    images.append(ImageInput("two", "P", "A1", 1, empty.files))
    images.append(ImageInput("three", "P", "A1", 2, images[0].files))
    info = warm.validate(HERE / "specks.cppipe")
    assert dict(info.images) == {"mask": "Mask", "ORIGINAL": "Original"}  # but for the case
    started = time.monotonic()
    outcomes = warm.measure(HERE / "specks.cppipe", images, tmp_path / "batch")
    assert time.monotonic() - started < 60
    assert outcomes["two"].objects == {"Specks": []}
    assert outcomes["two"].error is None
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    for key in ("one", "three"):
        found = outcomes[key].objects["Specks"]
        assert len(found) == count == 6420
        assert column(found, "AreaShape_Area") == np.bincount(labels.ravel())[1:].tolist()
        assert column(found, "Intensity_IntegratedIntensity_ORIGINAL") == pytest.approx(
            ndimage.sum_labels(pixels / 255, labels, range(1, count + 1)), rel=1e-5
        )


# -- names -----------------------------------------------------------------------------------


def test_a_name_that_gets_nothing_is_an_error_with_the_choices(warm: Engine) -> None:
    with pytest.raises(PipelineError) as caught:
        warm.validate(HERE / "loaddata.cppipe", {})
    said = str(caught.value)
    assert "'OrigMask' (IdentifyPrimaryObjects (module 1" in said
    assert "'OrigGray' (MeasureObjectIntensity (module 3" in said
    assert "Original, Spheroid, Mask" in said
    assert "`images: {OrigMask: Original, OrigGray: Original}`" in said
    with pytest.raises(PipelineError) as caught:
        warm.validate(HERE / "loaddata.cppipe", {"OrigMask": "Mask"})
    assert "'OrigMask' (" not in str(caught.value)


def test_a_binary_image_is_suggested_the_mask(warm: Engine) -> None:
    with pytest.raises(PipelineError, match="Worm: Mask"):
        warm.validate(HERE / "colour.cppipe", {})


def test_a_word_that_yaml_takes_for_something_else_is_quoted(warm: Engine, tmp_path: Path) -> None:
    path = changed(HERE / "loaddata.cppipe", tmp_path, OrigGray="On", OrigMask="Mask")
    with pytest.raises(PipelineError, match=r'images: \{"On": Original\}'):
        warm.validate(path)


def test_a_misspelt_mapping_is_an_error(warm: Engine) -> None:
    with pytest.raises(PipelineError, match=r"'Dna', .* it asks for 'DNA'"):
        warm.validate(HERE / "cells.cppipe", {"DNA": "Original", "Dna": "Original"})
    # Loaded by the pipeline and used by none of its modules: no mistake.
    names = {"DNA": "Original", "Actin": "Original"}
    assert dict(warm.validate(HERE / "cells.cppipe", names).images) == {"DNA": "Original"}


@pytest.mark.parametrize(
    ("gray", "mask"), [("mask", "Mask"), ("MASK", "mask")], ids=["taken", "twice"]
)
def test_a_guess_that_could_be_wrong_is_not_made(
    gray: str, mask: str, warm: Engine, tmp_path: Path
) -> None:
    path = changed(HERE / "loaddata.cppipe", tmp_path, OrigGray=gray, OrigMask=mask)
    with pytest.raises(PipelineError, match=f"'{gray}' .MeasureObjectIntensity"):
        warm.validate(path)
    info = warm.validate(path, {gray: "Original", mask: "Mask"})
    assert dict(info.images) == {mask: "Mask", gray: "Original"}


def test_the_configuration_has_the_last_word(
    warm: Engine, pipelines: Path, tmp_path: Path, cells: Pixels
) -> None:
    mask = disc(50, 50, 30)
    image = image_of(tmp_path, Original=mask, Mask=~mask)
    outcome = measure(warm, pipelines / "mask.cppipe", image, {"Mask": "Original"})
    assert column(outcome.objects["Spheroids"], "AreaShape_Area") == [mask.sum()]
    warm.validate(pipelines / "mask.cppipe", {})


def test_the_names_are_kept_until_others_are_given(
    warm: Engine, cells: Pixels, tmp_path: Path
) -> None:
    """A pipeline that was changed under way is checked anew without them."""
    path = HERE / "cells.cppipe"
    warm.validate(path, {"DNA": "Original"})
    assert dict(warm.validate(path).images) == {"DNA": "Original"}
    with pytest.raises(PipelineError):
        warm.validate(path, {})


def test_an_image_that_the_pipeline_makes_is_not_asked_for(
    warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    path = changed(
        pipelines / "white-background.cppipe", tmp_path,
        **{"output image:Dark": "output image:Mask", "input image:Dark": "input image:Mask"},
    )  # fmt: skip
    assert dict(warm.validate(path, {}).images) == {"Spheroid": "Spheroid", "Original": "Original"}


def test_objects_from_a_file_are_refused_with_a_way_out(warm: Engine, tmp_path: Path) -> None:
    path = changed(
        HERE / "colour.cppipe",
        tmp_path,
        **{
            "image type:Binary mask": "image type:Objects",
            "Name to assign these objects:Cytoplasm": "Name to assign these objects:Worms",
            "Select objects to measure:Spheroid": "Select objects to measure:Worms",
        },
    )
    names = {"OrigColor": "Original", "OrigGray": "Original", "Worm": "Mask"}
    with pytest.raises(PipelineError, match="IdentifyPrimaryObjects"):
        warm.validate(path, names)


# -- the whole way, into SQLite ---------------------------------------------------------------


def run(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spheroidd", "run", "-c", str(config), "--until-idle"],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


@pytest.fixture
def configured(cellprofiler: Path, write_config: Callable[..., Path], cells: Pixels) -> Any:
    """Writes a configuration without a model, and one image where it looks."""

    def write(**measurement: Any) -> Path:
        config = write_config(
            segmentation={"model": "none"},
            measurement={"batch": {"max_wait_seconds": 0}, **measurement},
        )
        well = config.parent / "export" / "P" / "A1"
        well.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cells).save(well / "A1_001.png")
        return config

    return write


def test_all_objects_and_features_land_in_sqlite(
    configured: Any, found: dict[str, list[Features]]
) -> None:
    path = HERE / "cells.cppipe"
    config = configured(pipeline=str(path), images={"DNA": "Original"}, spheroid="LargeCells")
    done = run(config)
    assert done.returncode == 0, done.stderr[-3000:]
    with Reader(config.parent / "state" / "spheroidd.db") as reader:
        rows = reader.rows("SELECT name, number, is_spheroid, area_px, features FROM objects")
        [batch] = reader.rows("SELECT pipeline_sha256 FROM batches")
        [growth] = reader.rows("SELECT area_px, pipeline FROM growth")
    assert batch["pipeline_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    stored: dict[str, list[Features]] = {}
    for row in sorted(rows, key=lambda row: int(row["number"])):
        stored.setdefault(row["name"], []).append(json.loads(row["features"]))
    assert stored == found
    assert {"Parent_Nuclei", "Texture_Contrast_DNA_3_00_256"} <= set(stored["Cells"][0])
    [spheroid] = [row for row in rows if row["is_spheroid"]]
    areas = [float(area or 0) for area in column(found["LargeCells"], "AreaShape_Area")]
    assert (spheroid["name"], spheroid["area_px"], growth["area_px"]) == (
        "LargeCells", max(areas), max(areas)
    )  # fmt: skip


def test_thousands_of_objects_land_in_sqlite(configured: Any) -> None:
    names = {"mask": "Original", "ORIGINAL": "Original"}
    config = configured(pipeline=str(HERE / "specks.cppipe"), images=names)
    pixels = np.where(specks(), 250, 20).astype(np.uint8)
    Image.fromarray(pixels).save(config.parent / "export" / "P" / "A1" / "A1_001.png")
    done = run(config)
    assert done.returncode == 0, done.stderr[-3000:]
    with Reader(config.parent / "state" / "spheroidd.db") as reader:
        rows = reader.rows("SELECT area_px, features FROM objects ORDER BY number")
        [growth] = reader.rows("SELECT area_px, n_objects FROM growth")
    assert len(rows) == growth["n_objects"] == 6420
    labels, _ = ndimage.label(specks(), np.ones((3, 3)))
    assert [row["area_px"] for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    assert growth["area_px"] == 9
    assert len(json.loads(rows[-1]["features"])) > 40


def test_a_magnification_that_changes_gives_areas_by_each_images_own(
    configured: Any, cells: Pixels
) -> None:
    config = configured(
        pipeline=str(HERE / "cells.cppipe"), images={"DNA": "Original"}, spheroid="Cells"
    )
    ome = '<OME><Image><Pixels PhysicalSizeX="{}"/></Image></OME>'
    for number, um in enumerate((1.3, 0.65), start=2):
        tifffile.imwrite(
            config.parent / "export" / "P" / "A1" / f"A1_{number:03}.tif",
            np.roll(cells, number),  # the same content twice would be a duplicate
            description=ome.format(um),
            metadata=None,
        )
    done = run(config)
    assert done.returncode == 0, done.stderr[-3000:]
    with Reader(config.parent / "state" / "spheroidd.db") as reader:
        rows = reader.rows("SELECT area_px, area_um2 FROM growth ORDER BY image_path")
    assert rows[0]["area_um2"] is None
    assert [row["area_um2"] / row["area_px"] for row in rows[1:]] == pytest.approx(
        [1.3**2, 0.65**2]
    )


@pytest.mark.parametrize(
    ("measurement", "said"),
    [
        ({}, ["'DNA'", "Original, Spheroid, Mask", "images: {DNA: Original}"]),
        ({"images": {"DNA": "Original"}}, ["Nuclei, Cells, Cytoplasm, LargeCells, Spots",
                                           "spheroid: Nuclei"]),
        ({"images": {"DNA": "Original"}, "spheroid": "Zellen"},
         ["'Zellen'", "does not make", "Nuclei, Cells, Cytoplasm, LargeCells, Spots"]),
        ({"images": {"DNA": "Mask"}, "spheroid": "Cells"}, ["Mask (as 'DNA')", "model"]),
    ],
    ids=["unmatched", "which", "wrong spheroid", "no model"],
)  # fmt: skip
def test_what_the_configuration_lacks_is_said_at_start(
    measurement: dict[str, Any], said: list[str], configured: Any
) -> None:
    done = run(configured(pipeline=str(HERE / "cells.cppipe"), **measurement))
    assert done.returncode not in (0, 3)
    told = " ".join(done.stderr.split())
    assert all(part in told for part in said), told
    assert "Traceback" not in told
