"""What a simulated well looks like, and whether its truth is true."""

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from spheroidd.simulator import (
    EMPTY_KINDS,
    KINDS,
    SIZE,
    Well,
    demo_plan,
    render,
    scene_at,
    survey,
)

WITH_SPHEROID = [kind for kind in KINDS if kind not in EMPTY_KINDS]
IN_FOCUS = [kind for kind in WITH_SPHEROID if kind != "defocus"]
SMOOTH = ["growing", "control", "precipitate", "rings", "debris", "gradient"]
BORDER = np.pad(np.zeros((SIZE[0] - 2, SIZE[1] - 2), bool), 1, constant_values=True)


def steepness(picture: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_gradient_magnitude(picture.astype(np.float32), 0.8)


def ring(truth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pixels whose way to the edge is between the two; negative inside."""
    way = ndimage.distance_transform_edt(~truth) - ndimage.distance_transform_edt(truth)
    return (way >= low) & (way <= high)


@pytest.mark.parametrize("kind", KINDS)
def test_same_scene_gives_same_picture_and_truth(kind):
    first, first_truth = render(scene_at(Well(kind, 5), 60.0, 3))
    again, again_truth = render(scene_at(Well(kind, 5), 60.0, 3))
    assert first.dtype == np.uint8 and first.shape == SIZE
    assert first_truth.dtype == bool and first_truth.shape == SIZE
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_truth, again_truth)


def test_other_seeds_give_other_wells_and_other_shots_other_noise():
    one, one_truth = render(scene_at(Well("treated", 1), 24.0, 1))
    other, other_truth = render(scene_at(Well("treated", 2), 24.0, 1))
    next_shot, _ = render(scene_at(Well("treated", 1), 24.0, 2))
    assert (one_truth != other_truth).any()
    assert (one != other).mean() > 0.5
    assert (one != next_shot).mean() > 0.3


@pytest.mark.parametrize("kind", WITH_SPHEROID)
@pytest.mark.parametrize("hours", [0.0, 100.0, 300.0])
def test_truth_is_one_piece_without_holes_within_the_picture(kind, hours):
    for seed in (11, 12):
        _, truth = render(scene_at(Well(kind, seed), hours))
        _, pieces = ndimage.label(truth)
        assert pieces == 1
        np.testing.assert_array_equal(ndimage.binary_fill_holes(truth), truth)
        assert (truth & BORDER).any() == (kind == "border")


@pytest.mark.parametrize("kind", EMPTY_KINDS)
def test_empty_well_has_no_area_but_is_no_blank(kind):
    for seed in (3, 4, 5):
        picture, labels = survey(scene_at(Well(kind, seed), 50.0))
        assert labels.sum() == 0
        wide = ndimage.gaussian_filter(picture.astype(float), 4).std()
        assert (wide > 3) == (kind != "empty-blank")


def test_the_demos_pictures_stay_as_the_readme_shows_them():
    """Whatever is added to the simulator. Not to the byte: machines round in their own ways."""
    shots = {shot.kind: shot for shot in demo_plan(1, frames=9) if shot.frame == 8}
    expected = {"treated": (25918, 127.43), "pale": (29566, 129.90), "empty": (0, 133.73)}
    for kind, (area, gray) in expected.items():
        picture, truth = render(shots[kind].scene)
        assert truth.sum() == pytest.approx(area, abs=20)
        assert picture.mean() == pytest.approx(gray, abs=0.02)


@pytest.mark.parametrize("kind", IN_FOCUS)
def test_the_drawn_edge_lies_on_the_true_edge(kind):
    """The picture is steepest at the truth's edge; a few pixels outside it is only medium."""
    picture, truth = render(scene_at(Well(kind, 21), 40.0))
    steep = steepness(picture)
    at_edge = steep[ring(truth, -1, 1)].mean()
    outside = steep[ring(truth, 6, 9)].mean()
    assert at_edge > 2 * outside


@pytest.mark.parametrize("kind", SMOOTH)
def test_a_shifted_truth_would_be_noticed(kind):
    """Round spheroids: the steepest of all thin rings around the edge is the edge itself."""
    picture, truth = render(scene_at(Well(kind, 22), 120.0))
    steep = steepness(picture)
    rings = {way: steep[ring(truth, way - 1, way + 1)].mean() for way in range(-12, 13, 2)}
    assert abs(max(rings, key=rings.get)) <= 2, rings


@pytest.mark.parametrize("size", [(540, 960), (1536, 2048), (480, 480)])
def test_every_size_shows_the_same_spheroid(size):
    picture, truth = render(scene_at(Well("growing", 8), 48.0), size)
    assert picture.shape == truth.shape == size
    _, reference = render(scene_at(Well("growing", 8), 48.0))
    scale = (size[0] / SIZE[0]) ** 2
    assert truth.sum() == pytest.approx(reference.sum() * scale, rel=0.02)


def areas(kind: str, hours: range, seed: int = 31) -> list[int]:
    return [int(render(scene_at(Well(kind, seed), float(h)))[1].sum()) for h in hours]


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("growing", 2.0, 6.0), ("control", 1.2, 2.6), ("pale", 1.05, 2.0)]
)
def test_untreated_spheroids_grow_ever_more_slowly(kind, low, high):
    first, *between, last = areas(kind, range(0, 241, 60))
    assert low < last / first < high
    assert first < between[0] < between[-1] < last
    assert between[0] - first > last - between[-1]


@pytest.mark.parametrize("kind", ["treated", "dying", "precipitate"])
def test_dosed_spheroids_shrink(kind):
    first, *_, last = areas(kind, range(0, 241, 120))
    assert 0.2 < last / first < 0.9


@pytest.mark.parametrize("kind", WITH_SPHEROID)
def test_a_spheroid_stays_itself_from_frame_to_frame(kind):
    pictures = [render(scene_at(Well(kind, 41), hours, 7)) for hours in (60.0, 66.0)]
    (early, early_truth), (late, late_truth) = pictures
    overlap = (early_truth & late_truth).sum() / (early_truth | late_truth).sum()
    assert overlap > 0.85
    background = ~ndimage.binary_dilation(early_truth | late_truth, iterations=90)
    assert np.abs(early[background].astype(int) - late[background]).mean() < 2.5


def test_treated_spheroids_darken_and_dying_ones_pale():
    def darkness(kind: str, hours: float) -> float:
        picture, truth = render(scene_at(Well(kind, 51), hours))
        return float(picture[~truth].mean() - picture[truth].mean())

    assert darkness("treated", 240.0) > darkness("treated", 0.0) + 30
    assert darkness("dying", 240.0) < darkness("dying", 0.0) - 20


def test_precipitate_is_dark_beside_the_spheroid_and_not_in_the_truth():
    before, _ = render(scene_at(Well("precipitate", 61), 0.0, 1))
    after, truth = render(scene_at(Well("precipitate", 61), 200.0, 1))
    darker = (before.astype(int) - after > 25) & ~ndimage.binary_dilation(truth, iterations=4)
    assert darker.sum() > 0.1 * truth.sum()


def test_uneven_light_is_strong_and_leaves_the_spheroid_to_be_seen():
    for seed in (71, 72, 73):
        picture, truth = render(scene_at(Well("gradient", seed), 60.0))
        ground = ndimage.gaussian_filter(picture.astype(float), 20)[~truth]
        assert np.percentile(ground, 99) > 2.2 * np.percentile(ground, 1)
        inside, outside = picture[ring(truth, -8, -2)].mean(), picture[ring(truth, 5, 11)].mean()
        assert inside < 0.85 * outside


def test_defocus_blurs_the_whole_picture_and_moves_no_edge():
    for seed in (81, 82, 83):
        scene = scene_at(Well("defocus", seed), 60.0)
        sharp, sharp_truth = render(replace(scene, defocus=0.0))
        picture, truth = render(scene)
        np.testing.assert_array_equal(truth, sharp_truth)
        for where in (ring(truth, -1, 1), ~ndimage.binary_dilation(truth, iterations=30)):
            coarse = [steepness(ndimage.gaussian_filter(p, 1.5))[where] for p in (sharp, picture)]
            assert np.percentile(coarse[1], 99) < 0.6 * np.percentile(coarse[0], 99)
        # An even disc is symmetric: half way from medium to body lies at the edge.
        smooth = picture.astype(float)
        levels = [smooth[ring(truth, way - 1, way + 1)].mean() for way in (-22, 0, 22)]
        assert levels[0] < levels[1] < levels[2]
        assert 0.3 < (levels[1] - levels[0]) / (levels[2] - levels[0]) < 0.75


@pytest.mark.parametrize("hours", [0.0, 200.0])
def test_spiky_spheroids_have_long_thin_strands(hours):
    """Cutting off all that is narrow takes much of a star and little of a ball."""

    def narrow(kind: str, seed: int) -> float:
        _, truth = render(scene_at(Well(kind, seed), hours))
        width = 0.2 * np.sqrt(truth.sum() / np.pi)
        core = ndimage.distance_transform_edt(truth) > width
        return 1 - (ndimage.distance_transform_edt(~core) <= width)[truth].mean()

    for seed in (91, 92, 93):
        assert narrow("spiky", seed) > 1.6 * narrow("control", seed)


def test_a_spheroid_at_the_border_is_cut_by_it_on_every_side():
    sides = set()
    for seed in range(12):
        scene = scene_at(Well("border", seed), 60.0)
        _, truth = render(scene)
        seen = truth.sum() / (np.pi * scene.body.radius**2)
        assert 0.15 < seen < 0.97
        edges = {
            "up": truth[0],
            "down": truth[-1],
            "left": truth[:, 0],
            "right": truth[:, -1],
        }
        # The cut is a straight one, along as much of the border as a chord would take.
        side, cut = max(edges.items(), key=lambda item: item[1].sum())
        assert cut.sum() > 0.5 * scene.body.radius
        sides.add(side)
    assert sides == {"up", "down", "left", "right"}


def test_several_spheroids_have_truths_of_their_own_and_one_is_the_main_one():
    counts = set()
    for seed in range(8):
        for hours in (0.0, 240.0):
            _, labels = survey(scene_at(Well("several", seed), hours))
            areas = np.bincount(labels.ravel())[1:]
            counts.add(len(areas))
            assert ndimage.label(labels > 0, np.ones((3, 3)))[1] == len(areas)  # none touches
            assert areas[0] == areas.max() and areas.min() > 0.4 * areas.max()
            middles = ndimage.center_of_mass(labels > 0, labels, np.arange(1, len(areas) + 1))
            away = np.hypot(*(np.array(middles) - np.array(SIZE) / 2).T)
            assert away[0] == away.min()
    assert counts == {2, 3, 4}


def test_blank_fields_have_no_noise_or_much():
    spreads = [render(scene_at(Well("empty-blank", seed), 0.0))[0].std() for seed in range(12)]
    assert min(spreads) == 0 and max(spreads) > 5


def test_drawing_keeps_up_with_a_live_demo():
    scene = scene_at(Well("treated", 71), 48.0)
    render(scene)  # the backdrop is drawn once per well
    start = time.process_time()
    for _ in range(3):
        render(scene)
    assert (time.process_time() - start) / 3 < 0.5
