"""The dense body: what is cut off, and what is never touched."""

import numpy as np
import pytest
from scipy import ndimage

from drawn import disc, picture
from spheroidd.segment.appearance import reduced
from spheroidd.segment.trim import dense_parts
from spheroidd.simulator import Well, scene_at, survey

SHAPE = (240, 320)


def trimmed(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return dense_parts(reduced(image), mask)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_filament_is_cut_off_and_the_body_stays() -> None:
    body, thread = disc(SHAPE, 40), np.zeros(SHAPE, bool)
    thread[118:121, 160:300] = True
    left = trimmed(picture(body | thread), body | thread)
    assert iou(left, body) > 0.97
    assert not left[118:121, 210:].any()


def test_a_pale_halo_is_cut_off() -> None:
    body, halo = disc(SHAPE, 30), disc(SHAPE, 50)
    image = picture(halo, dark=165)
    image[body] = picture(body)[body]
    assert iou(trimmed(image, halo), body) > 0.93


@pytest.mark.parametrize(
    ("dark", "light"), [(220, 60), (180, 180)], ids=["brighter than the medium", "no contrast"]
)
def test_what_has_no_dense_body_is_not_lost(dark: float, light: float) -> None:
    mask = disc(SHAPE, 40)
    left = trimmed(picture(mask, dark, light, noise=0), mask)
    assert np.array_equal(left, mask)


def test_a_thin_object_without_a_body_stays_whole_wherever_it_lies() -> None:
    """A row at the upper border: nothing of it is thick enough to have an inner part."""
    row = np.zeros(SHAPE, bool)
    row[0, 20:300] = True
    assert np.array_equal(trimmed(picture(row, noise=0), row), row)


def test_each_of_several_keeps_its_own_body() -> None:
    one, other = disc(SHAPE, 30, (80, 80)), disc(SHAPE, 20, (160, 240))
    image = picture(one | other)
    image[other] += 60  # half as dense
    assert iou(trimmed(image, one | other), one | other) > 0.95


@pytest.mark.parametrize("kind", ["spiky", "dying", "debris", "several", "border"])
def test_nothing_is_ever_added(kind) -> None:
    image, labels = survey(scene_at(Well(kind, 5), 150.0), (270, 480))
    mask = ndimage.binary_dilation(labels > 0, iterations=4)
    left = trimmed(image, mask)
    assert left.any()
    assert not (left & ~mask).any()


def test_nothing_is_added_where_the_image_was_reduced() -> None:
    mask = disc((1500, 1600), 301)
    left = trimmed(picture(mask), mask)
    assert not (left & ~mask).any()
    assert iou(left, mask) > 0.98


def test_empty_and_full_masks_stay() -> None:
    noise = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    for mask in (np.zeros(SHAPE, bool), np.ones(SHAPE, bool)):
        assert np.array_equal(trimmed(noise, mask), mask)
