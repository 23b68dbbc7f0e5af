"""The boundary drawn anew: towards the image's own, one piece for each object, never made up."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from drawn import disc, picture, sureness
from spheroidd.segment.boundary import refit
from spheroidd.simulator import Kind, Well, scene_at, survey

SHAPE = (240, 320)


def well(kind: Kind, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    image, labels = survey(scene_at(Well(kind, seed), 120.0), (270, 480))
    return image, labels > 0


def grown(mask: np.ndarray, pixels: float) -> np.ndarray:
    inside, outside = (ndimage.distance_transform_edt(one) for one in (mask, ~mask))
    return np.asarray(inside - outside > -pixels)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("kind", ["growing", "control", "rings"])
@pytest.mark.parametrize("share", [-0.1, -0.05, 0.05])
def test_a_mask_of_the_wrong_size_moves_towards_the_truth(kind: Kind, share: float) -> None:
    image, truth = well(kind)
    wrong = grown(truth, share * np.sqrt(truth.sum() / np.pi))
    mended = refit(image, sureness(wrong, soft=2.5), 0.5)
    assert mended is not None
    before, after = (abs(one.sum() / truth.sum() - 1) for one in (wrong, mended))
    assert before > 0.08
    assert after < before
    assert iou(mended, truth) > iou(wrong, truth)
    if share < 0:  # what models do where the outer cells are loose
        assert after < 0.5 * before


@pytest.mark.parametrize("kind", ["growing", "treated", "gradient"])
def test_a_right_mask_stays_about_right(kind: Kind) -> None:
    image, truth = well(kind)
    redrawn = refit(image, sureness(truth, soft=2.5), 0.5)
    assert redrawn is not None
    assert iou(redrawn, truth) > 0.93


def test_uneven_light_and_inverted_contrast_are_no_hindrance() -> None:
    truth = disc(SHAPE, 40)
    bright = picture(truth, dark=230, light=40)
    ramp = np.linspace(-40, 40, SHAPE[1])
    uneven = np.clip(picture(truth, dark=90, light=150) + ramp, 0, 255).astype(np.uint8)
    for image in (bright, uneven):
        redrawn = refit(image, sureness(truth, soft=2), 0.5)
        assert redrawn is not None
        assert iou(redrawn, truth) > 0.95


def test_each_object_is_one_piece_without_holes() -> None:
    image, truth = well("several", 2)
    holed = sureness(truth, soft=2)
    holed[ndimage.distance_transform_edt(truth) > 12] = 0.1  # the model doubts the cores
    redrawn = refit(image, np.where(truth, np.maximum(holed, 0), holed), 0.5)
    _, wanted = ndimage.label(truth)
    assert redrawn is not None
    _, pieces = ndimage.label(redrawn)
    assert wanted > 1
    assert pieces == wanted
    assert np.array_equal(redrawn, ndimage.binary_fill_holes(redrawn))


def test_two_hundred_objects_do_not_take_minutes() -> None:
    places = [(20 + 40 * row, 20 + 40 * column) for row in range(10) for column in range(20)]
    truth = np.any([disc((400, 800), 13, place) for place in places], axis=0)
    redrawn = refit(picture(truth), sureness(truth, soft=1), 0.5)
    assert redrawn is not None
    assert ndimage.label(redrawn)[1] == 200


def test_an_object_at_the_border_stays_there() -> None:
    truth = disc(SHAPE, 60, (0, 40))
    redrawn = refit(picture(truth), sureness(truth, soft=2), 0.5)
    assert redrawn is not None
    assert iou(redrawn, truth) > 0.95
    assert redrawn[0, 40]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_what_lies_at_the_threshold_is_not_an_object(threshold: float) -> None:
    """So the caller marks what it does not want; reducing the image must not bring it back."""
    shape = (1200, 1600)
    wanted, unwanted = disc(shape, 150, (600, 500)), disc(shape, 100, (600, 1200))
    map_ = sureness(wanted, soft=4)
    map_[unwanted] = np.float32(threshold)
    redrawn = refit(picture(wanted | unwanted), map_, threshold)
    assert redrawn is not None
    assert not redrawn[unwanted].any()
    assert iou(redrawn, wanted) > 0.95


def test_three_times_the_pixels_a_side_is_nine_times_the_area() -> None:
    image, truth = well("spiky")
    small = sureness(grown(truth, -2), soft=2)
    size = (480 * 3, 270 * 3)
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    map_ = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BILINEAR))
    one, other = refit(image, small, 0.5), refit(large, map_, 0.5)
    assert one is not None
    assert other is not None
    assert other.sum() == pytest.approx(9 * one.sum(), rel=0.03)


@pytest.mark.parametrize(
    "map_",
    [
        np.zeros(SHAPE, np.float32),
        np.ones(SHAPE, np.float32),
        sureness(disc(SHAPE, 190)),
        sureness(disc(SHAPE, 3)),
        sureness(disc(SHAPE, 30), top=0.6),
    ],
    ids=["nothing", "all", "no medium left", "a speck", "never sure"],
)
def test_where_the_image_shows_too_little_there_is_no_answer(map_) -> None:
    assert refit(picture(map_ > 0.5), map_, 0.5) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 3), (31, 31), (8, 2000)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_odd_images_are_no_error(shape: tuple[int, int], level: int) -> None:
    """A flat image tells nothing: what comes, if anything, is nowhere but where the model said."""
    mask = disc(shape, max(shape) / 5)
    redrawn = refit(np.full(shape, level, np.uint8), sureness(mask), 0.5)
    assert redrawn is None or (redrawn.shape == shape and redrawn.dtype == bool)
    if redrawn is not None:
        assert redrawn.any()
        assert not (redrawn & ~mask).any()
