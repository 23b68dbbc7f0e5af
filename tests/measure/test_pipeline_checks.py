"""Pipelines and images that are wrong: what is said, and what else still works."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.engine import Engine, ImageInput

HERE = Path(__file__).parent / "pipelines"
Write = Callable[..., ImageInput]
Draw = Callable[..., np.ndarray]


@pytest.fixture
def changed(pipelines: Path, tmp_path: Path) -> Callable[..., Path]:
    """A shipped pipeline, or one of `HERE`, with some text replaced, which must have been there."""

    def change(name: str, **replacements: str) -> Path:
        folder = HERE if name == "saving" else pipelines
        text = (folder / f"{name}.cppipe").read_text(encoding="utf-8")
        for old, new in replacements.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "changed.cppipe"
        path.write_text(text, encoding="utf-8")
        return path

    return change


def loaddata_pipeline(path: Path, text: str) -> Path:
    """The same pipeline with LoadData in place of the four input modules."""
    load = """LoadData:[module_num:1|svn_version:'Unknown'|variable_revision_number:6|show_window:False|notes:[]|batch_state:array([], dtype=uint8)|enabled:True|wants_pause:False]
    Input data file location:Elsewhere...|/nowhere
    Name of the file:images.csv
    Load images based on this data?:Yes
    Base image location:None|
    Process just a range of rows?:No
    Rows to process:1,100000
    Group images by metadata?:No
    Select metadata tags for grouping:
    Rescale intensities?:Yes
"""  # noqa: E501
    header, modules = text.split("\n\n", 1)
    kept = modules.split("\n\n")[4:]
    header = re.sub(r"ModuleCount:\d+", f"ModuleCount:{len(kept) + 1}", header)
    path.write_text("\n\n".join([header, load.rstrip("\n"), *kept]), encoding="utf-8")
    return path


def with_modules(path: Path, text: str, *modules: str) -> Path:
    """A pipeline with more modules at its end, each as its name and settings."""
    kept = text.rstrip("\n").split("\n\n")
    for number, (name, *settings) in enumerate(map(str.splitlines, modules), start=len(kept)):
        kept.append(
            f"{name.split()[0]}:[module_num:{number}|svn_version:'Unknown'"
            f"|variable_revision_number:{name.split()[1]}|show_window:False|notes:[]"
            "|batch_state:array([], dtype=uint8)|enabled:True|wants_pause:False]\n"
            + "\n".join(f"    {setting.strip()}" for setting in settings)
        )
    header = re.sub(r"ModuleCount:\d+", f"ModuleCount:{len(kept) - 1}", kept[0])
    path.write_text("\n\n".join([header, *kept[1:]]) + "\n", encoding="utf-8")
    return path


def without_modules(text: str, *names: str) -> str:
    """A pipeline without some of its modules."""
    modules = text.rstrip("\n").split("\n\n")
    kept = [module for module in modules if module.split(":")[0] not in names]
    assert len(modules) - len(kept) == len(names)
    header = re.sub(r"ModuleCount:\d+", f"ModuleCount:{len(kept) - 1}", kept[0])
    return "\n\n".join([header, *kept[1:]]) + "\n"


CREATE_BATCH_FILES = """CreateBatchFiles 8
Store batch files in default output folder?:Yes
Output folder path:/nowhere
Are the cluster computers running Windows?:No
Hidden- in batch mode:No
Hidden- in distributed mode:No
Hidden- default input folder at time of save:/nowhere
Hidden- revision number:0
Hidden- from old matlab:No
Local root path:/nowhere
Cluster root path:/nowhere
"""
IDENTIFY_BY_HAND = """IdentifyObjectsManually 2
Select the input image:Original
Name the objects to be identified:Cells
"""
CROP = """Crop 3
Select the input image:Original
Name the output image:Cropped
Select the cropping shape:{}
Select the cropping method:Mouse
Apply which cycle's cropping pattern?:Every
Left and right rectangle positions:0,end
Top and bottom rectangle positions:0,end
Coordinates of ellipse center:500,500
Ellipse radius, X direction:400
Ellipse radius, Y direction:200
Remove empty rows and columns?:No
Select the masking image:None
Select the image with a cropping mask:None
Select the objects:Spheroids
"""
TRACK_OBJECTS = """TrackObjects 7
Choose a tracking method:Overlap
Select the objects to track:Spheroids
Select object measurement to use for tracking:None
Maximum pixel distance to consider matches:50
Select display option:Color and Number
Save color-coded image?:No
Name the output image:TrackedCells
Select the movement model:Both
Number of standard deviations for search radius:3.0
Search radius limit, in pixel units (Min,Max):2.0,10.0
Run the second phase of the LAP algorithm?:Yes
Gap closing cost:40
Split alternative cost:40
Merge alternative cost:40
Maximum gap displacement, in pixel units:5
Maximum split score:50
Maximum merge score:50
Maximum temporal gap, in frames:5
Filter objects by lifetime?:No
Filter using a minimum lifetime?:Yes
Minimum lifetime:1
Filter using a maximum lifetime?:No
Maximum lifetime:100
Mitosis alternative cost:80
Maximum mitosis distance, in pixel units:40
Average cell diameter in pixels:35.0
Use advanced configuration parameters:No
Cost of cell to empty matching:15.0
Weight of area difference in function matching cost:25.0
"""
PROJECTION = """MakeProjection 2
Select the input image:Original
Type of projection:Average
Name the output image:Projected
Frequency:6.0
"""
SAVE_CROPPED = """SaveCroppedObjects 3
Do you want to save cropped images or object masks?:Masks
Objects:Spheroids
Directory:Elsewhere...|{}
Prefix saved crop image name with input image name?:Yes
Select image name to use as a prefix:Original
Save output crops in nested folders?:Yes
Saved file format:png
Image to crop:None
"""


@pytest.mark.parametrize(
    ("replacements", "said"),
    [
        ({"IdentifyPrimaryObjects:[": "IdentifyHappyObjects:["}, "IdentifyHappyObjects"),
        ({"display outlines:Original": "display outlines:DNA"}, "DNA.*Original, Spheroid, Mask"),
        ({"Select objects to display:Spheroids": "Select objects to display:Cells"}, "Cells"),
        ({"(Min,Max):10,100000": "(Min,Max):ten,100000"}, "IdentifyPrimaryObjects"),
        ({"Process as 3D?:No": "Process as 3D?:Yes"}, "3D"),
        ({"image type:Binary mask": "image type:Illumination function"}, "Mask"),
        ({"CellProfiler Pipeline:": "A shopping list:"}, "not a CellProfiler pipeline"),
        (
            {"variable_revision_number:15": "variable_revision_number:99"},
            "saved by a newer CellProfiler",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_wrong_pipeline_is_refused_by_name(
    replacements: dict[str, str], said: str, warm: Engine, changed: Callable[..., Path]
) -> None:
    pid = warm.pid
    with pytest.raises(PipelineError, match=said) as caught:
        warm.validate(changed("saving", **replacements))
    assert "changed.cppipe" in str(caught.value)
    assert warm.pid == pid, "a wrong pipeline is no reason to replace the worker"


def test_files_that_are_no_pipelines(warm: Engine, tmp_path: Path) -> None:
    binary = tmp_path / "picture.cppipe"
    binary.write_bytes(bytes(range(256)))
    truncated = tmp_path / "truncated.cppipe"
    truncated.write_text("CellProfiler Pipeline: http://www.cellprofiler.org\nVersion:5\n")
    for path in (binary, truncated, tmp_path / "missing.cppipe", tmp_path):
        with pytest.raises(PipelineError):
            warm.validate(path)


def test_a_pipeline_changed_since_its_check_is_refused(
    warm: Engine,
    changed: Callable[..., Path],
    tmp_path: Path,
    write_image: Write,
    disc: Draw,
) -> None:
    path = changed("mask")
    first = warm.validate(path)
    changed("mask", **{"(Min,Max):10,": "(Min,Max):12,"})
    with pytest.raises(PipelineError, match="changed"):
        warm.measure(path, [write_image("one", disc())], tmp_path / "batch")
    assert warm.validate(path).sha256 != first.sha256
    assert warm.measure(path, [write_image("one", disc())], tmp_path / "batch")["one"].error is None


def test_loaddata_pipelines_give_the_same_numbers(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    original = pipelines / "white-background.cppipe"
    loading = loaddata_pipeline(tmp_path / "load.cppipe", original.read_text(encoding="utf-8"))
    images = [write_image("one", disc())]
    assert warm.measure(loading, images, tmp_path / "a") == warm.measure(
        original, images, tmp_path / "b"
    )


def test_a_bad_image_fails_alone(
    warm: Engine, saving: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    names = ("truncated", "text", "missing", "no mask", "sizes", "deep", "floats")
    bad = {key: write_image(key, disc()) for key in names}
    content = bad["truncated"].files["Mask"].read_bytes()
    bad["truncated"].files["Mask"].write_bytes(content[: len(content) // 2])
    bad["text"].files["Original"].write_text("no image")
    bad["missing"].files["Mask"].unlink()
    del bad["no mask"].files["Mask"]  # type: ignore[attr-defined]
    Image.fromarray(disc()[:-1]).save(bad["sizes"].files["Mask"])
    Image.fromarray(np.full((120, 160), 999, np.uint16)).save(bad["deep"].files["Original"])
    floats = tmp_path / "floats.npy"
    np.save(floats, disc().astype(float))
    bad["floats"].files["Mask"] = floats  # type: ignore[index]
    images = [write_image("good1", disc()), *bad.values(), write_image("good2", disc())]
    outcomes = warm.measure(saving, images, tmp_path / "batch")
    assert {key for key, outcome in outcomes.items() if outcome.error} == set(names)
    assert all(outcome.objects == {} for outcome in outcomes.values() if outcome.error)
    assert "uses Mask" in (outcomes["no mask"].error or "")
    assert "differ in size" in (outcomes["sizes"].error or "")
    for key in ("good1", "good2"):
        assert outcomes[key].objects["Spheroids"][0]["AreaShape_Area"] == disc().sum()
        assert (tmp_path / "batch" / f"{key}_outline.png").is_file()


def test_an_image_that_fails_late_has_no_result(
    warm: Engine, changed: Callable[..., Path], tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    """The objects are found, then saving fails: CellProfiler itself would exit with 0."""
    (tmp_path / "batch" / "bad_outline.png").mkdir(parents=True)
    images = [write_image("bad", disc()), write_image("good", disc())]
    outcomes = warm.measure(changed("saving"), images, tmp_path / "batch")
    assert (outcomes["bad"].error or "").startswith("SaveImages: ")
    assert outcomes["bad"].objects == {}
    assert outcomes["good"].error is None


def test_spreadsheets_that_cannot_be_written_fail_the_batch(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    (tmp_path / "batch" / "Spheroids.csv").mkdir(parents=True)
    with pytest.raises(EngineError, match=r"ExportToSpreadsheet.*Spheroids\.csv") as caught:
        warm.measure(pipelines / "mask.cppipe", [write_image("a", disc())], tmp_path / "batch")
    assert not isinstance(caught.value, PipelineError)
    assert warm.retry_in == 0, "the worker is well"


def test_two_wells_with_equal_names_stay_apart(
    warm: Engine, saving: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    (tmp_path / "A1").mkdir()
    (tmp_path / "B2").mkdir()
    images = []
    for well, radius in (("A1", 20), ("B2", 40)):
        image = write_image(f"{well}_img", disc(radius=radius), well=well)
        files = {
            name: path.rename(tmp_path / well / f"{name}.png") for name, path in image.files.items()
        }
        images.append(ImageInput(f"{well}_img", "P", well, 1, files))
    outcomes = warm.measure(saving, images, tmp_path / "batch")
    for image, radius in zip(images, (20, 40), strict=True):
        (found,) = outcomes[image.key].objects["Spheroids"]
        assert found["AreaShape_Area"] == disc(radius=radius).sum()
        with Image.open(tmp_path / "batch" / f"{image.key}_outline.png") as outline:
            yellow = (np.asarray(outline) == (255, 255, 0)).all(axis=2)
        assert yellow[60, 80 - radius]


def test_odd_names_reach_the_spreadsheets(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    names = [
        "20230915 - CQ22 3D (AZD, Metf)",
        'a "quoted" plate',
        "two\nlines",
        "Größe µ 培养",
        "007",
        "1e5",
        "",
        "=1+1; \\g<Well> %s {}",
        "not UTF-8: \udcff",
    ]
    images = [
        write_image(
            f"k{number}", disc(), plate=name, well=name, timepoint=None if number % 2 else number
        )
        for number, name in enumerate(names)
    ]
    folder = tmp_path / "odd, folder (1) µ"
    outcomes = warm.measure(pipelines / "mask.cppipe", images, folder)
    assert all(outcome.error is None for outcome in outcomes.values())
    with (folder / "Image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Metadata_Plate"] for row in rows] == [*names[:-1], "not UTF-8: ?"]
    assert [row["Metadata_Timepoint"] for row in rows][:3] == ["0", "", "2"]
    assert rows[0]["FileName_Original"] == "k0.png"
    with (folder / "Spheroids.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["Metadata_Well"] for row in found] == [row["Metadata_Well"] for row in rows]
    assert {float(row["AreaShape_Area"]) for row in found} == {disc().sum()}


def test_arrays_and_colour_are_taken_too(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    image = write_image("one", disc())
    files = {}
    for name, path in image.files.items():
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], pixels)
    arrays = ImageInput("one", "P1", "A1", 0, files)
    for name in ("mask", "white-background"):
        path = pipelines / f"{name}.cppipe"
        assert warm.measure(path, [arrays], tmp_path / "a") == warm.measure(
            path, [image], tmp_path / "b"
        )


def test_a_batch_measured_again_replaces_its_files(
    warm: Engine, changed: Callable[..., Path], tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    """Even if the pipeline says not to overwrite and to write elsewhere: nobody is there to ask."""
    path = changed(
        "mask",
        **{
            "files without warning?:Yes": "files without warning?:No",
            "    Output file location:Default Output Folder|\n    Create a": (
                f"    Output file location:Elsewhere...|{tmp_path}/gone\n    Create a"
            ),
        },
    )
    for radius in (20, 40):
        image = write_image("one", disc(radius=radius))
        outcome = warm.measure(path, [image], tmp_path / "batch")["one"]
        assert outcome.objects["Spheroids"][0]["AreaShape_Area"] == disc(radius=radius).sum()
    assert f",{disc(radius=40).sum()}," in (tmp_path / "batch" / "Spheroids.csv").read_text()
    assert not (tmp_path / "gone").exists()


def test_a_pipeline_that_can_give_no_area_is_refused(
    warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    text = (pipelines / "mask.cppipe").read_text(encoding="utf-8")
    path = tmp_path / "changed.cppipe"
    path.write_text(without_modules(text, "MeasureObjectSizeShape"), encoding="utf-8")
    with pytest.raises(PipelineError, match="add MeasureObjectSizeShape for Spheroids"):
        warm.validate(path)
    gone = ("IdentifyPrimaryObjects", "MeasureObjectIntensity", "MeasureObjectSizeShape")
    path.write_text(without_modules(text, *gone), encoding="utf-8")
    crop = CROP.format("Rectangle").replace("Mouse", "Coordinates")
    path = with_modules(path, path.read_text(encoding="utf-8"), crop)
    with pytest.raises(PipelineError, match="no objects; add IdentifyPrimaryObjects"):
        warm.validate(path)


def test_objects_come_in_the_order_of_the_pipeline(
    warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    text = (pipelines / "mask.cppipe").read_text(encoding="utf-8")
    first = next(part for part in text.split("\n\n") if part.startswith("IdentifyPrimary"))
    _, *settings = first.replace("identified:Spheroids", "identified:Cells").splitlines()
    cells = "\n".join(["IdentifyPrimaryObjects 15", *settings])
    info = warm.validate(with_modules(tmp_path / "two.cppipe", text, cells))
    assert info.objects == ("Spheroids", "Cells")
    assert info.measured == ("Spheroids",)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (CREATE_BATCH_FILES, "CreateBatchFiles .module 5 .*cluster"),
        (IDENTIFY_BY_HAND, "IdentifyObjectsManually .*person"),
        (CROP.format("Rectangle"), "Crop .*cropping method.*Mouse"),
    ],
)
def test_modules_that_need_somebody_or_reach_out_are_refused(
    module: str, said: str, warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    text = (pipelines / "mask.cppipe").read_text(encoding="utf-8")
    path = with_modules(tmp_path / "more.cppipe", text, module)
    with pytest.raises(PipelineError, match=said):
        warm.validate(path)
    # CellProfiler has a module's settings in the file although it is switched off.
    off = path.read_text(encoding="utf-8")
    at = off.rindex("enabled:True")
    path.write_text(off[:at] + off[at:].replace("enabled:True", "enabled:False"), encoding="utf-8")
    assert warm.validate(path).objects == ("Spheroids",)


def test_a_choice_that_is_not_in_use_is_no_reason_to_refuse(
    warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    text = (pipelines / "mask.cppipe").read_text(encoding="utf-8")
    path = with_modules(tmp_path / "more.cppipe", text, CROP.format("Objects"))
    assert "Crop" in warm.validate(path).modules


@pytest.mark.parametrize("place", ["Elsewhere...|{}", "Default Output Folder sub-folder|../{}"])
def test_what_is_saved_elsewhere_lands_in_the_batch_folder(
    place: str,
    warm: Engine,
    changed: Callable[..., Path],
    tmp_path: Path,
    write_image: Write,
    disc: Draw,
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    where = place.format(other if place.startswith("Else") else "other")
    path = changed(
        "saving",
        **{
            "location:Default Output Folder|\n    Image": f"location:{where}\n    Image",
            "in the output folder?:No": "in the output folder?:Yes",
            "Base image folder:Elsewhere...|": f"Base image folder:Elsewhere...|{other}",
        },
    )
    path = with_modules(path, path.read_text(encoding="utf-8"), SAVE_CROPPED.format(other))
    warm.validate(path)
    image = write_image("one", disc())
    before = set(tmp_path.rglob("*"))
    assert warm.measure(path, [image], tmp_path / "batch")["one"].error is None
    assert (tmp_path / "batch" / "one_outline.png").is_file()
    assert (tmp_path / "batch" / "one" / "one_Spheroids_1.png").is_file()
    assert not list(other.iterdir())
    new = set(tmp_path.rglob("*")) - before
    assert all(found.is_relative_to(tmp_path / "batch") for found in new)


@pytest.mark.parametrize(
    "replacements",
    [
        {"append to the image name:_outline": "append to the image name:/../../outline"},
        {
            "file names:From image filename": "file names:Single name",
            "single file name:OrigBlue": "single file name:/tmp/outline",
        },
        {
            "Add a prefix to file names?:No": "Add a prefix to file names?:Yes",
            "Filename prefix:MyExpt_": "Filename prefix:../",
        },
    ],
    ids=["suffix", "name", "prefix"],
)
def test_a_file_name_that_is_a_path_is_refused(
    replacements: dict[str, str], warm: Engine, changed: Callable[..., Path]
) -> None:
    with pytest.raises(PipelineError, match="can't hold '/'"):
        warm.validate(changed("saving", **replacements))


def test_pictures_told_apart_by_their_folders_alone_are_refused(
    warm: Engine, saving: Path, tmp_path: Path
) -> None:
    """In the one folder of a batch, one would overwrite the other."""
    text = saving.read_text(encoding="utf-8")
    first = next(part for part in text.split("\n\n") if part.startswith("SaveImages"))
    _, *settings = first.replace("Default Output Folder|", "Elsewhere...|/second").splitlines()
    again = "\n".join(["SaveImages 16", *settings])
    with pytest.raises(PipelineError, match=r"SaveImages .module 7 .*same names.* .module 5 "):
        warm.validate(with_modules(tmp_path / "twice.cppipe", text, again))
    other = again.replace("name:_outline", "name:_again")
    warm.validate(with_modules(tmp_path / "twice.cppipe", text, other))


@pytest.mark.parametrize("keys", [["a/b"], [""], ["x", "x"], ["nul\0"]])
def test_keys_must_make_file_names(
    keys: list[str], warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    images = [ImageInput(key, "P", "A1", 0, {}) for key in keys]
    with pytest.raises(ValueError, match=r"key|file name"):
        warm.measure(pipelines / "mask.cppipe", images, tmp_path / "batch")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (TRACK_OBJECTS, "TrackObjects .module 5 .*several images"),
        (PROJECTION, "MakeProjection .*several images"),
    ],
)
def test_modules_that_mix_images_are_refused(
    module: str, said: str, warm: Engine, pipelines: Path, tmp_path: Path
) -> None:
    """A number would depend on which images happened to come in one batch."""
    text = (pipelines / "mask.cppipe").read_text(encoding="utf-8")
    path = with_modules(tmp_path / "more.cppipe", text, module)
    with pytest.raises(PipelineError, match=said):
        warm.validate(path)


def test_a_film_is_no_picture_of_one_image(warm: Engine, changed: Callable[..., Path]) -> None:
    path = changed("saving", **{"type of image to save:Image": "type of image to save:Movie/Stack"})
    with pytest.raises(PipelineError, match=r"SaveImages .*several images"):
        warm.validate(path)


def test_shipped_pipelines_hold_no_paths(pipelines: Path) -> None:
    for path in sorted(pipelines.glob("*.cppipe")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(/home/|/tmp/|/root/|file:|[A-Z]:\\\\)", text), path
        assert "HasImagePlaneDetails:False" in text
        assert json.loads(re.search(r"ModuleCount:(\d+)", text)[1]) == len(  # type: ignore[index]
            re.findall(r"^\w+:\[module_num:", text, re.MULTILINE)
        )
