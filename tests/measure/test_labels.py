"""The objects as a picture of their numbers: never at the cost of an area, and no litter."""

import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spheroidd.errors import EngineError
from spheroidd.measure.engine import WORKER, Engine, ImageInput, worker_command
from spheroidd.measure.outline import read_labels

Write = Callable[..., ImageInput]
Draw = Callable[..., np.ndarray]

IN_THE_WORKER = """
import json, sys
import numpy
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/standins"]
from cellprofiler_core.object import Objects
from labels import keep_labels
from place import Place, whole

def objects(**given):
    one = Objects()
    for name, value in given.items():
        setattr(one, name, value)
    return one

rows = numpy.arange(65536)
many = (rows + 1).reshape(256, 256)
overlapping = numpy.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [0, 2, 2]])
small = numpy.zeros((30, 40), int)
small[5:9, 7:20] = 1
print(json.dumps([
    keep_labels(objects(segmented=many), whole((256, 256))),
    keep_labels(objects(segmented=numpy.where(many > 65535, 0, many)), whole((256, 256))),
    keep_labels(objects(ijv=overlapping), whole((3, 3))),
    keep_labels(None, whole((3, 3))),
    keep_labels(objects(segmented=small), Place(100, 200, 30, 40, (300, 400))),
    keep_labels(objects(segmented=small), whole((60, 80))),
    keep_labels(objects(segmented=small * 0), whole((30, 40))),
]))
"""


@pytest.fixture
def own(cellprofiler: Path, tmp_path: Path) -> Engine:
    """A worker of the test's own, to be ill-treated."""
    engine = Engine(worker_command(cellprofiler, tmp_path / "scratch"), log=lambda *_, **__: None)
    engine.start()
    return engine


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "scratch").rglob("labels-*"))


def test_more_than_can_be_numbered_and_overlapping_ones(cellprofiler: Path) -> None:
    done = subprocess.run(
        [str(cellprofiler), "-I", "-c", IN_THE_WORKER, str(WORKER.parent)],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    too_many, most, overlapping, broken, *parts = json.loads(done.stdout.splitlines()[-1])
    assert (too_many, broken) == (None, None)
    assert "can't be kept" in done.stderr
    read = []
    for path in (most, overlapping, *parts):
        read.append(read_labels(Path(path)))
        Path(path).unlink()
    assert read[0].numbers[255, -3:].tolist() == [65534, 65535, 0]
    assert read[1].numbers[0].tolist() == [1, 1, 2], "of two the pixel is the first one's"
    on_crop, resized, none = read[2:]
    assert (on_crop.top, on_crop.left, on_crop.frame) == (105, 207, (300, 400))
    assert on_crop.numbers.shape == (4, 13)
    assert (resized.top, resized.left, resized.frame) == (5, 7, (30, 40))
    assert none.frame == (30, 40)
    assert not none.numbers.any()


def test_a_picture_that_cannot_be_written_costs_no_area(
    own: Engine, saving: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    """The disk is full, half way through the picture."""
    text = saving.read_text(encoding="utf-8")
    modules = [one for one in text.rstrip("\n").split("\n\n")
               if not one.startswith(("SaveImages", "ExportTo"))]  # fmt: skip
    path = tmp_path / "no files.cppipe"
    path.write_text("\n\n".join(modules) + "\n", encoding="utf-8")
    grainy = np.random.default_rng(2).random((120, 160)) > 0.7
    image = write_image("one", disc() | disc(60, 20, 8) & grainy)
    expected = own.measure(path, [image], tmp_path / "a", labels_of="Spheroids")["one"]
    assert expected.labels
    expected.labels.unlink()
    assert own.pid
    resource.prlimit(own.pid, resource.RLIMIT_FSIZE, (64, 64))
    try:
        found = own.measure(path, [image], tmp_path / "b", labels_of="Spheroids")["one"]
    finally:
        own.stop()
    assert (found.error, found.labels) == (None, None)
    assert found.objects == expected.objects != {}
    assert kept(tmp_path) == []


def test_what_fails_leaves_no_picture(
    own: Engine, saving: Path, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    """An image that fails, then a batch that fails as a whole after its objects were found."""
    images = [write_image("bad", disc()), write_image("good", disc())]
    Image.fromarray(disc()[:-1]).save(images[0].files["Mask"])
    try:
        outcomes = own.measure(saving, images, tmp_path / "a", labels_of="Spheroids")
        good, bad = outcomes["good"].labels, outcomes["bad"]
        assert bad.error
        assert bad.labels is None
        assert kept(tmp_path) == [good]
        assert good
        good.unlink()
        (tmp_path / "b" / "Spheroids.csv").mkdir(parents=True)
        with pytest.raises(EngineError, match="ExportToSpreadsheet"):
            own.measure(
                pipelines / "mask.cppipe", images[1:], tmp_path / "b", labels_of="Spheroids"
            )
    finally:
        own.stop()
    assert kept(tmp_path) == []


def test_objects_that_the_pipeline_does_not_make_have_no_picture(
    warm: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    image, path = write_image("one", disc()), pipelines / "mask.cppipe"
    found = warm.measure(path, [image], tmp_path / "batch", labels_of="Nuclei")["one"]
    assert (found.error, found.labels) == (None, None)
