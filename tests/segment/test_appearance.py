"""What an image shows of itself: brightness, focus, and how unlike the medium things look."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from drawn import disc, picture
from spheroidd.segment.appearance import (
    background,
    bounding_box,
    colourless,
    focus,
    grey_of,
    reduced,
    resized,
    unlike,
)
from spheroidd.simulator import Well, scene_at, survey

SHAPE = (200, 300)


def labelled(*masks: np.ndarray) -> np.ndarray:
    return sum((number * mask for number, mask in enumerate(masks, 1)), np.zeros(SHAPE, np.int32))


def test_grey_stays_grey_and_colour_becomes_luma() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert grey_of(grey) is grey
    assert np.array_equal(grey_of(np.repeat(grey[:, :, np.newaxis], 3, axis=2)), grey)
    green = np.full((1, 1, 3), (0, 255, 0), np.uint8)
    assert grey_of(green)[0, 0] == 150  # 0.587 · 255


def test_three_equal_channels_are_one_and_a_single_coloured_pixel_is_colour() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (70, 90), dtype=np.uint8)
    image = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    assert np.array_equal(colourless(image), grey)
    assert colourless(grey) is grey
    image[41, 7, 1] ^= 1
    assert colourless(image) is image


def test_a_bounding_box_holds_all_and_ends_at_the_image() -> None:
    mask = np.zeros((20, 30), bool)
    assert mask[bounding_box(mask)].size == 0
    mask[3, 4] = mask[10, 29] = True
    assert bounding_box(mask) == (slice(3, 11), slice(4, 30))
    assert mask[bounding_box(mask, 5)].shape == (16, 30)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1), (1, 1)),
        ((1024, 3), (1024, 3)),
        ((2048, 1000), (1024, 500)),
        ((1, 5000), (1, 1024)),
        ((5000, 1), (1024, 1)),
        ((1025, 1), (1024, 1)),
    ],
)
def test_the_longest_side_is_reduced_to_1024(shape, expected) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = reduced(image)
    assert (small.shape, small.dtype) == (expected, np.float32)
    assert small.mean() == pytest.approx(image.mean(), rel=0.01)
    assert resized(small, shape).shape == shape


def test_focus_falls_with_blur_and_not_with_the_lamp() -> None:
    sharp, _ = survey(scene_at(Well("growing", 1), 48.0), (270, 480))
    values = [focus(ndimage.gaussian_filter(sharp.astype(np.float32), s)) for s in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.1 * values[0]
    assert focus(sharp.astype(np.float32) * 0.5) == pytest.approx(values[0], rel=0.05)
    assert focus(np.full((40, 40), 100, np.float32)) == 0


def test_the_light_under_an_object_is_that_around_it() -> None:
    ramp = np.broadcast_to(np.linspace(100, 200, 300, dtype=np.float32), SHAPE)
    hidden = disc(SHAPE, 25)
    light = background(np.where(hidden, 0, ramp).astype(np.float32), (~hidden).astype("f4"), 20)
    assert np.abs(light - ramp)[hidden].max() < 10


def test_objects_are_compared_in_the_order_of_their_numbers() -> None:
    dark, fair, bright = (disc(SHAPE, 15, (100, column)) for column in (50, 150, 250))
    image = picture(np.zeros(SHAPE, bool), light=150).astype(np.float32)
    for mask, step in ((dark, -60), (fair, -20), (bright, 60)):
        image[mask] += step
    found = unlike(image, labelled(bright, dark, fair))
    assert found is not None
    darkness = found.darkness.tolist()
    assert darkness[1] > darkness[2] > 5
    assert darkness[0] < -5


def test_grain_shows_in_the_texture_alone() -> None:
    grainy = disc(SHAPE, 25)
    image = picture(grainy, dark=150, light=150, grain=20).astype(np.float32)
    found = unlike(image, labelled(grainy))
    assert found is not None
    assert found.texture[0] > 5
    assert abs(found.darkness[0]) < 2


def test_nothing_is_unlike_plain_medium_in_uneven_light() -> None:
    ramp = np.broadcast_to(np.linspace(90, 200, 300), SHAPE)
    image = (ramp + np.random.default_rng(1).normal(0, 3, SHAPE)).astype(np.float32)
    found = unlike(image, labelled(disc(SHAPE, 25)))
    assert found is not None
    assert abs(found.darkness[0]) < 3
    assert abs(found.texture[0]) < 4


def test_where_no_medium_is_left_nothing_is_compared() -> None:
    assert unlike(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.int32)) is None
    small = np.asarray(Image.fromarray(np.eye(3, dtype=np.int32)))
    assert unlike(np.zeros((3, 3), np.float32), small) is None


@pytest.mark.parametrize(
    ("radius", "centre"), [(4, (30, 30)), (25, (100, 150)), (60, (20, 280)), (45, (199, 0))]
)
def test_what_lies_far_away_changes_no_digit(radius: float, centre: tuple[int, int]) -> None:
    """The same by its formula on the whole image, though only a part of it is looked at."""
    mask = disc(SHAPE, radius, centre)
    image = picture(mask, grain=9).astype(np.float32)
    found = unlike(image, mask.astype(np.int32))
    assert found is not None
    distance = ndimage.distance_transform_edt(~mask)
    size = float(np.sqrt(mask.sum() / np.pi))
    outside = distance > max(3, 0.25 * size)
    medium = outside & (distance < max(12, 1.5 * size))
    scale = float(np.clip(size / 20, 1, 4))
    smooth = ndimage.gaussian_filter(image, scale)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(image**2, scale) - smooth**2, 0))
    light = background(image, outside.astype(np.float32), max(4.0, 0.6 * size))
    for values, measured, floor in (
        (light - smooth, found.darkness, 0.5),
        (np.log(spread + 0.3), found.texture, 0.05),
    ):
        low, middle, high = np.percentile(values[medium], [16, 50, 84])
        expected = (np.median(values[mask]) - middle) / ((high - low) / 2 + floor)
        assert measured == pytest.approx([expected], rel=1e-5, abs=1e-5)
