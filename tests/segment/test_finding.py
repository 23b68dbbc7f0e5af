"""The flow of one image: when it is looked at again, by whom, and what comes of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from drawn import disc, picture, sureness
from spheroidd.segment.finding import Finder, Finding, _median_around
from spheroidd.segment.session import RembgSession
from spheroidd.segment.stock import Model
from spheroidd.simulator import EMPTY_KINDS, Kind, Well, scene_at, survey

SHAPE = (240, 320)
SMALL = (270, 480)
NOTHING = np.zeros(SHAPE, np.float32)
BODY = disc(SHAPE, 40)
SURE, UNSURE = sureness(BODY), sureness(BODY, soft=4)

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]


class Scripted:
    """A model that says what it is told to: of the whole image, and of any part of it."""

    model = Model("scripted", Path("none"), "md5", "u2netp")
    provider = "CPU"

    def __init__(self, whole: Map, part: Callable[[Pixels], Map] | None = None) -> None:
        self.asked: list[tuple[int, ...]] = []
        self._whole = whole
        self._part = part or (lambda image: sureness(image < 120))

    def probabilities(self, image: Pixels) -> Map:
        self.asked.append(image.shape)
        return self._whole if image.shape[:2] == self._whole.shape else self._part(image)


def well(kind: Kind, seed: int, size: tuple[int, int] = SMALL) -> tuple[Pixels, np.ndarray]:
    image, labels = survey(scene_at(Well(kind, seed), 120.0), size)
    return image, labels


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def assert_plain(found: Finding) -> None:
    """Evidence goes into the ledger as JSON, which knows neither NumPy's numbers nor NaN."""
    assert {type(value) for value in found.evidence.values()} == {float}
    assert type(found.peak) is float
    assert json.loads(json.dumps(found.evidence, allow_nan=False)) == found.evidence


# -- what asks for a second look ----------------------------------------------------------


def test_a_sharp_mask_is_believed_at_once() -> None:
    first, second = Scripted(SURE), Scripted(SURE)
    found = Finder(first, second, 0.5).find(picture(BODY))
    assert (first.asked, second.asked) == ([SHAPE], [])
    assert found.evidence["looks"] == 1
    assert "agreement" not in found.evidence
    assert np.array_equal(found.mask, BODY)
    assert found.evidence["background"] == pytest.approx(180, abs=1)


def test_a_blurred_boundary_is_looked_at_from_nearer() -> None:
    first = Scripted(UNSURE)
    found = Finder(first, None, 0.5).find(picture(BODY))
    box = 2 * 80
    assert first.asked == [SHAPE, (box, box)]
    assert found.evidence["looks"] == 2
    assert found.evidence["agreement"] > 0.96
    assert iou(found.mask, BODY) > 0.96


def test_without_refinement_there_is_one_look_and_the_ghost_still_goes() -> None:
    ghost = disc(SHAPE, 20, (50, 50))
    first, second = Scripted(np.maximum(UNSURE, sureness(ghost))), Scripted(SURE)
    found = Finder(first, second, 0.5, refine=False).find(picture(BODY))
    assert (first.asked, second.asked) == ([SHAPE], [])
    assert np.array_equal(found.mask, UNSURE > 0.5)
    assert found.evidence["ghosts"] == 1
    assert not found.alpha[ghost & (sureness(ghost) > 0.5)].any()


def test_a_second_model_finds_what_the_first_missed() -> None:
    first, second = Scripted(NOTHING), Scripted(SURE)
    found = Finder(first, second, 0.5).find(picture(BODY))
    assert len(first.asked) == 1
    assert len(second.asked) == 2  # the image, then its part
    assert found.evidence["looks"] == 3
    assert found.evidence["agreement"] == 0
    assert iou(found.mask, BODY) > 0.95
    assert found.peak == pytest.approx(0.99, abs=1e-3)


def test_a_ghost_beside_the_spheroid_asks_for_the_second_model() -> None:
    first = Scripted(np.maximum(SURE, sureness(disc(SHAPE, 20, (50, 50)))))
    second = Scripted(SURE)
    found = Finder(first, second, 0.5).find(picture(BODY))
    assert second.asked
    assert found.evidence["ghosts"] == 1
    assert found.evidence["agreement"] > 0.9
    assert iou(found.mask, BODY) > 0.95


def test_what_no_model_sees_is_not_there() -> None:
    for second, looks in ((Scripted(NOTHING), 2), (None, 1)):
        found = Finder(Scripted(NOTHING), second, 0.5).find(picture(BODY))
        assert not found.mask.any()
        assert not found.alpha.any()
        assert found.evidence["looks"] == looks
        assert "agreement" not in found.evidence
        assert_plain(found)


def test_two_ghosts_are_not_a_spheroid() -> None:
    """Both models claim what the image does not show."""
    found = Finder(Scripted(SURE), Scripted(SURE), 0.5).find(picture(BODY & False))
    assert not found.mask.any()
    assert not found.alpha.any()
    assert found.evidence["ghosts"] == 1
    assert found.peak == pytest.approx(0.99, abs=1e-3)


def test_where_two_looks_differ_the_image_decides() -> None:
    image, labels = well("growing", 1)
    truth = labels == 1
    radius = np.sqrt(truth.sum() / np.pi)
    depth = ndimage.distance_transform_edt(truth)
    small = sureness(depth > 0.06 * radius, soft=3)
    smaller = sureness(depth > 0.15 * radius, soft=3)
    first = Scripted(small, part=lambda part: np.zeros(part.shape, np.float32))
    found = Finder(first, Scripted(smaller, part=first.probabilities), 0.5).find(image)
    assert found.evidence["agreement"] < 0.9
    assert iou(found.mask, truth) > iou(small > 0.5, truth) + 0.02
    assert np.array_equal(found.alpha, found.mask)


# -- the crop ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("centre", "shape"),
    [((0, 0), (60, 60)), ((239, 319), (60, 60)), ((120, 0), (160, 60)), ((0, 160), (60, 160))],
    ids=["corner", "other corner", "left", "top"],
)
def test_a_crop_ends_at_the_image(centre: tuple[int, int], shape: tuple[int, int]) -> None:
    body = disc(SHAPE, 40, centre)
    first = Scripted(sureness(body, soft=4))
    found = Finder(first, None, 0.5).find(picture(body))
    assert first.asked[0] == SHAPE
    assert first.asked[1] == pytest.approx(shape, abs=2)
    assert found.mask[centre]
    assert iou(found.mask, body) > 0.9


def test_a_crop_that_shows_nearly_everything_is_not_taken() -> None:
    body = disc(SHAPE, 85)
    image, map_ = picture(body), sureness(body, soft=7)
    first = Scripted(map_)
    found = Finder(first, None, 0.5).find(image)
    assert first.asked == [SHAPE]
    assert found.evidence["looks"] == 1
    assert "agreement" not in found.evidence
    second = Scripted(map_)
    found = Finder(first, second, 0.5).find(image)
    assert second.asked == [SHAPE]
    assert found.evidence["agreement"] == 1
    assert iou(found.mask, body) > 0.95


def test_what_the_crop_shows_beside_the_spheroid_does_not_count() -> None:
    body, speck = disc(SHAPE, 40, (120, 120)), disc(SHAPE, 8, (60, 170))
    first = Scripted(sureness(body, soft=4))
    found = Finder(first, None, 0.5).find(picture(body | speck))
    assert len(first.asked) == 2
    assert ndimage.label(found.mask)[1] == 1
    assert not found.mask[60, 170]


def test_what_was_looked_at_once_is_not_a_disagreement(session: RembgSession) -> None:
    """The crop shows one of several spheroids; the others have had one look only."""
    image, labels = well("several", 1)
    found = Finder(session, None, 0.5).find(image)
    assert found.evidence["looks"] == 2
    assert labels.max() > 1
    assert found.evidence["agreement"] > 0.85


def test_the_background_is_the_median_around_the_objects() -> None:
    image = np.random.default_rng(4).integers(0, 256, SHAPE, dtype=np.uint8)
    for radius in (0, 3, 40, 500):
        mask = disc(SHAPE, radius)
        expected = np.median(image if mask.all() else image[~mask])
        assert _median_around(image, mask) == expected


# -- the real model on the simulator's wells ----------------------------------------------


@pytest.mark.parametrize("kind", EMPTY_KINDS)
def test_an_empty_well_gives_no_ghost(session: RembgSession, kind: Kind) -> None:
    for seed in (1, 2):
        found = Finder(session, None, 0.5).find(well(kind, seed, (540, 960))[0])
        assert not found.mask.any()
        assert not found.alpha.any()
        assert_plain(found)


@pytest.mark.parametrize("kind", ["pale", "spiky", "dying", "precipitate", "border", "defocus"])
def test_a_difficult_spheroid_is_found(session: RembgSession, kind: Kind) -> None:
    image, labels = well(kind, 1)
    truth = labels == 1
    found = Finder(session, None, 0.5).find(image)
    pieces, _ = ndimage.label(found.mask)
    largest = pieces == 1 + np.bincount(pieces[pieces > 0])[1:].argmax()
    assert (largest & truth).sum() > 0.9 * truth.sum()
    assert_plain(found)


@pytest.mark.parametrize("seed", [1, 2])
def test_several_spheroids_stay_several(session: RembgSession, seed: int) -> None:
    image, labels = well("several", seed)
    found = Finder(session, None, 0.5).find(image)
    pieces, count = ndimage.label(found.mask)
    assert count == labels.max()
    for number in range(1, count + 1):
        [own] = np.unique(labels[(pieces == number) & (labels > 0)])
        assert iou(pieces == number, labels == own) > 0.85


def test_the_same_image_gives_the_same_in_grey_and_in_colour(session: RembgSession) -> None:
    grey, _ = well("spiky", 3)
    colour = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    finder = Finder(session, None, 0.5, dense=True)
    one, *others = (finder.find(image) for image in (grey, grey.copy(), colour))
    assert one.evidence["looks"] == 2
    for other in others:
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.alpha, other.alpha)
        assert (one.peak, one.evidence) == (other.peak, other.evidence)


def test_three_times_the_pixels_a_side_is_nine_times_the_area(session: RembgSession) -> None:
    image, _ = well("spiky", 2, (360, 640))
    large = np.asarray(Image.fromarray(image).resize((1920, 1080), Image.Resampling.BICUBIC))
    one, other = (Finder(session, None, 0.5).find(picture) for picture in (image, large))
    assert other.mask.sum() == pytest.approx(9 * one.mask.sum(), rel=0.03)


def test_the_dense_body_lies_within_the_whole_one(session: RembgSession) -> None:
    image, _ = well("dying", 2)
    whole = Finder(session, None, 0.5).find(image)
    dense = Finder(session, None, 0.5, dense=True).find(image)
    assert 0 < dense.mask.sum() < whole.mask.sum()
    assert not (dense.mask & ~whole.mask).any()
    assert not dense.alpha[whole.mask & ~dense.mask].any()


# -- odd images ----------------------------------------------------------------------------


ODD = [(1, 1), (1, 2), (5, 3), (31, 31), (1, 5000), (5000, 1), (20, 2500)]


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_odd_shapes_are_no_error(session: RembgSession, shape: tuple[int, int]) -> None:
    image = picture(disc(shape, min(shape) / 3))
    found = Finder(session, None, 0.5, dense=True).find(image)
    assert found.mask.shape == found.alpha.shape == shape
    assert (found.mask.dtype, found.alpha.dtype) == (bool, np.float32)
    assert_plain(found)


@pytest.mark.parametrize("shape", ODD, ids=str)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("claimed", ["all", "half", "noise", "body"])
def test_no_claim_of_a_model_is_an_error(shape: tuple[int, int], dense: bool, claimed: str) -> None:
    body = disc(shape, max(shape) / 4)
    noise = np.random.default_rng(1).random(shape).astype(np.float32)
    maps = {
        "all": np.ones(shape, np.float32),
        "half": np.full(shape, 0.5, np.float32),
        "noise": noise,
        "body": sureness(body, soft=2),
    }
    first = Scripted(maps[claimed], part=lambda part: np.zeros(part.shape, np.float32))
    for image in (picture(body), picture(body, 250, 20), (255 * noise).astype(np.uint8)):
        found = Finder(first, first, 0.5, dense=dense).find(image)
        assert found.mask.shape == found.alpha.shape == shape
        assert (found.mask.dtype, found.alpha.dtype) == (bool, np.float32)
        assert not found.alpha[~found.mask].max(initial=0) > 0.5
        assert_plain(found)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_holds_nothing(session: RembgSession, level: int) -> None:
    found = Finder(session, session, 0.5).find(np.full((120, 160), level, np.uint8))
    assert not found.mask.any()
    assert found.evidence["background"] == level
    assert found.evidence["focus"] == 0
    assert_plain(found)


@pytest.mark.parametrize(
    "change",
    [lambda image: 255 - image, lambda image: np.minimum(image, 127) * 2, lambda image: image // 6],
    ids=["bright on dark", "saturated", "under-exposed"],
)
def test_other_exposures_show_the_same_spheroid(
    session: RembgSession, change: Callable[[Pixels], Pixels]
) -> None:
    image, labels = well("treated", 1)
    found = Finder(session, None, 0.5).find(change(image))
    assert iou(found.mask, labels == 1) > 0.93
    assert_plain(found)


@pytest.mark.parametrize("dense", [False, True])
def test_a_mask_that_fills_the_field_is_left_as_the_model_gave_it(dense: bool) -> None:
    full = np.full(SHAPE, 0.97, np.float32)
    full[:3] = 0.6  # not sure of an edge, so that it asks for more
    full[:, :64] = np.minimum(full[:, :64], 0.89)
    image = np.full(SHAPE, 70, np.uint8)
    found = Finder(Scripted(full), Scripted(full), 0.5, dense=dense).find(image)
    assert found.mask.all()
    assert found.evidence["looks"] == 2
    assert found.evidence["background"] == 70
    assert "darkness" not in found.evidence  # there was no medium to compare with
    assert_plain(found)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_threshold_decides_what_the_model_alone_draws(threshold: float) -> None:
    found = Finder(Scripted(UNSURE), None, threshold, refine=False).find(picture(BODY))
    assert np.array_equal(found.mask, threshold < UNSURE)
