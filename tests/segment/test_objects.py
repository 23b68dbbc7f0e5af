"""What is there at all: the model must be sure, and the image must show something."""

import numpy as np
import pytest
from scipy import ndimage

from drawn import disc, picture, sureness
from spheroidd.segment.appearance import reduced
from spheroidd.segment.objects import SMALLEST_SHARE, Objects, hint, objects_of

SHAPE = (240, 320)
NOTHING = np.zeros(SHAPE, bool)


def sorted_out(map_: np.ndarray, image: np.ndarray, threshold: float = 0.5) -> Objects:
    return objects_of(map_, threshold, reduced(image))


def test_a_sure_model_and_a_dark_object_agree() -> None:
    mask = disc(SHAPE, 30)
    found = sorted_out(sureness(mask), picture(mask))
    assert np.array_equal(found.mask, mask)
    assert found.peak == pytest.approx(0.99, abs=1e-3)
    assert found.darkness is not None
    assert found.darkness > 20
    assert (found.found, found.ghosts) == (True, 0)


def test_what_looks_like_the_medium_is_a_ghost() -> None:
    found = sorted_out(sureness(disc(SHAPE, 30)), picture(NOTHING))
    assert not found.mask.any()
    assert (found.found, found.ghosts) == (False, 1)
    assert found.peak == pytest.approx(0.99, abs=1e-3)  # what the model claimed is on record
    assert found.darkness == pytest.approx(0, abs=2)


@pytest.mark.parametrize(("dark", "there"), [(60, True), (176, False)])
def test_a_wavering_model_needs_something_striking(dark: float, there: bool) -> None:
    mask = disc(SHAPE, 30)
    assert sorted_out(sureness(mask, top=0.88), picture(mask, dark)).found == there


def test_an_unsure_model_finds_nothing_however_striking() -> None:
    mask = disc(SHAPE, 30)
    assert not sorted_out(sureness(mask, top=0.8), picture(mask)).found


@pytest.mark.parametrize(("dark", "grain"), [(140, 0), (180, 20)], ids=["darker", "grainier"])
def test_a_pale_object_is_there_if_it_is_darker_or_grainier(dark: float, grain: float) -> None:
    mask = disc(SHAPE, 30)
    assert sorted_out(sureness(mask), picture(mask, dark, grain=grain)).found


def test_specks_are_neither_objects_nor_ghosts() -> None:
    speck = np.zeros(SHAPE, bool)
    speck[5, 5 : 5 + int(SMALLEST_SHARE * speck.size)] = True
    found = sorted_out(sureness(speck), picture(speck))
    assert (found.found, found.ghosts, found.darkness) == (False, 0, None)
    assert found.peak > 0.5


def test_the_ghost_goes_and_the_spheroid_stays() -> None:
    real, ghost = disc(SHAPE, 20, (60, 60)), disc(SHAPE, 35, (150, 230))
    found = sorted_out(sureness(real | ghost), picture(real))
    assert np.array_equal(found.mask, real)
    assert found.ghosts == 1
    assert found.darkness is not None
    assert found.darkness > 20  # of the one that was kept, though the ghost is larger


def test_a_field_full_of_spheroid_goes_by_the_model_alone() -> None:
    full = np.ones(SHAPE, bool)
    found = sorted_out(np.full(SHAPE, 0.99, np.float32), picture(full))
    assert found.mask.all()
    assert not sorted_out(np.full(SHAPE, 0.8, np.float32), picture(full)).found


@pytest.fixture
def thirty() -> np.ndarray:
    places = [(25 + 45 * row, 30 + 50 * column) for row in range(5) for column in range(6)]
    return np.any([disc(SHAPE, 8, place) for place in places], axis=0)


def test_thirty_spheroids_are_thirty(thirty) -> None:
    assert np.array_equal(sorted_out(sureness(thirty), picture(thirty)).mask, thirty)


def test_thirty_ghosts_are_none(thirty) -> None:
    """Only the 20 largest are looked at; the rest must not slip through by their peaks."""
    found = sorted_out(sureness(thirty), picture(NOTHING))
    assert not found.found
    assert found.ghosts == 30


def test_a_thread_that_vanishes_in_the_reduced_picture_is_left_out() -> None:
    thread = np.zeros((300, 6000), bool)
    thread[5] = True
    spheroid = disc(thread.shape, 60)
    found = sorted_out(sureness(thread | spheroid), picture(thread | spheroid))
    assert np.array_equal(found.mask, spheroid)
    assert found.ghosts == 1
    assert not sorted_out(sureness(thread), picture(thread)).found


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
def test_the_threshold_is_on_raw_probabilities(threshold: float) -> None:
    mask = disc(SHAPE, 30)
    map_ = np.where(mask, sureness(mask, soft=3), np.float32(0))
    found = sorted_out(map_, picture(mask), threshold)
    assert np.array_equal(found.mask, map_ > threshold)


def test_a_suspicion_is_looked_at_closer_unless_nothing_is_to_be_seen() -> None:
    mask = disc(SHAPE, 30)
    weak = sureness(mask, top=0.4)
    seen = reduced(picture(mask))
    assert np.array_equal(hint(weak, seen), weak > weak.max() / 2)
    assert not hint(weak, reduced(picture(NOTHING))).any()
    assert not hint(np.full(SHAPE, 0.02, np.float32), seen).any()


@pytest.mark.parametrize(("top", "there"), [(0.99, True), (0.94, False)])
def test_what_fills_the_field_needs_a_model_that_is_sure_everywhere(
    top: float, there: bool
) -> None:
    everywhere = np.full(SHAPE, 0.9, np.float32)
    everywhere[100:140, 100:140] = top
    everywhere[everywhere < top] = 0.97 if there else 0.88
    assert sorted_out(everywhere, picture(np.ones(SHAPE, bool))).found == there


def test_sorting_out_is_by_each_piece_of_the_whole_map() -> None:
    """Pieces, sizes and peaks by their plain definitions, wherever they lie."""
    bodies = [disc(SHAPE, 30, (60, 70)), disc(SHAPE, 22, (200, 300)), disc(SHAPE, 2, (120, 200))]
    tops = (0.99, 0.95, 0.97)
    map_ = np.max([sureness(b, top=top) for b, top in zip(bodies, tops, strict=True)], axis=0)
    found = sorted_out(map_, picture(bodies[0] | bodies[1]))
    labels, count = ndimage.label(map_ > 0.5)
    large = [n for n in range(1, count + 1) if (labels == n).mean() >= SMALLEST_SHARE]
    assert len(large) == 2
    assert np.array_equal(found.mask, np.isin(labels, large))
    assert found.peak == max(map_[labels == n].max() for n in large)
