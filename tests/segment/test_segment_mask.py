"""Mask, white-background image, and the files they are written to."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from spheroidd.segment.mask import on_white, write_mask, write_white
from spheroidd.store.files import whole

SHAPE = (5, 7)
probability_maps = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


@given(probability_maps, hnp.arrays(np.uint8, SHAPE))
def test_the_composite_follows_its_formula(probabilities, image) -> None:
    p = probabilities.astype(np.float64)
    exact = p * image + (1 - p) * 255
    assert np.abs(on_white(image, probabilities) - exact).max() <= 0.5 + 1e-4


def test_colour_is_kept_on_white() -> None:
    image = np.full((2, 2, 3), (10, 20, 30), np.uint8)
    white = on_white(image, np.array([[1, 0], [1, 0]], np.float32))
    assert white[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("image", [np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.uint16)])
def test_what_does_not_fit_is_refused(image) -> None:
    with pytest.raises(ValueError, match="doesn't fit"):
        on_white(image, np.zeros((2, 2), np.float32))


def test_files_read_back_identically(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    mask = noise.random((37, 41)) > 0.5
    write_mask(tmp_path / "mask.png", mask)
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "1"
        assert np.array_equal(np.asarray(picture), mask)
    for shape in ((37, 41), (37, 41, 3)):
        image = noise.integers(0, 256, shape, dtype=np.uint8)
        write_white(tmp_path / "white.png", image)
        with Image.open(tmp_path / "white.png") as picture:
            assert np.array_equal(np.asarray(picture), image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "white.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "mask.png"
    write_mask(target, np.ones((3, 3), bool))
    before = target.read_bytes()
    with pytest.raises(OSError, match="disk"), whole(target) as temporary:
        temporary.write_bytes(b"half")
        raise OSError("the disk is full")
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_mask(tmp_path / "nowhere" / "mask.png", np.ones((3, 3), bool))
