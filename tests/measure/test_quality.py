"""Every flag: the number behind it, its limit on the plate, and when it is raised."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.config import Flags
from spheroidd.measure.quality import (
    FLAGS,
    as_stored,
    check,
    limit_of,
    limits,
    rechecked,
)
from spheroidd.measure.track import pick
from spheroidd.measure.values import values
from spheroidd.store.frames import Candidate, Frame

BOUNDS = Flags().bounds()
LENIENT = limits([], BOUNDS)


def shown(index: int, area: float | None = 10_000, **said: Any) -> Frame:
    """A frame of a calm well; `area` None: nothing was found. Candidates' features go along."""
    features = {name: said.pop(name) for name in list(said) if name in FEATURES}
    usual = {"x": 480, "y": 270, "solidity": 0.95, "eccentricity": 0.3, "form_factor": 0.8}
    found = () if area is None else (Candidate(1, area, **{**usual, **features}),)
    told = {
        "measurement_id": index,
        "hours": 3.0 * index,
        "timepoint": index,
        "width": 960,
        "height": 540,
        "peak_probability": 0.99,
        "foreground_px": 0 if area is None else round(area),
        "candidates": found,
        "n_objects": len(found),
    }
    return Frame(**{**told, **said})


FEATURES = (
    *("x", "y", "solidity", "eccentricity", "form_factor", "left", "top", "right", "bottom"),
)


def numbers(frames: Sequence[Frame], **how: Any) -> list[dict[str, float]]:
    return values(frames, pick(frames), **how)


def raised(frames: Sequence[Frame]) -> list[set[str]]:
    """With the limits of a plate that has these frames alone."""
    of_frames = numbers(frames)
    now = limits(of_frames, BOUNDS)
    return [{f for f, one in check(v, now).items() if one.raised} for v in of_frames]


def growing(count: int = 20, rate: float = 0.04) -> list[Frame]:
    scatter = np.random.default_rng(3).normal(0, 0.01, count)
    return [shown(i, 8000 * float(np.exp(rate * i + scatter[i]))) for i in range(count)]


def swapped(frames: list[Frame], index: int, frame: Frame) -> list[Frame]:
    return [*frames[:index], frame, *frames[index + 1 :]]


# -- limits --------------------------------------------------------------------------------


def test_a_limit_is_the_plates_scatter_within_the_bounds() -> None:
    calm = [0.01 + 0.001 * (i % 5) for i in range(50)]
    assert limit_of("area_jump", calm, (0.09, 0.25)) == 0.09
    wild = [0.02 * (i % 10) for i in range(50)]
    assert limit_of("area_jump", wild, (0.09, 0.25)) == 0.25
    # median 0.05, median deviation 0.01
    between = [0.04, 0.05, 0.06] * 10
    assert limit_of("area_jump", between, (0.09, 0.25)) == pytest.approx(0.12)
    assert limit_of("low_solidity", [0.9, 0.91, 0.92] * 10, (0.7, 0.85)) == pytest.approx(0.84)


def test_too_few_numbers_take_the_lenient_bound_and_one_number_is_fixed() -> None:
    assert limit_of("area_jump", [0.01] * 7, (0.09, 0.25)) == 0.25
    assert limit_of("low_solidity", [0.99] * 7, (0.7, 0.85)) == 0.7
    assert limit_of("flip_flop", [0.0] * 50, (0.6, 0.6)) == 0.6


def test_sharpness_is_compared_with_the_plates_own() -> None:
    assert limit_of("low_focus", [], (2, 5)) == 0
    assert limit_of("low_focus", [100.0] * 3, (2, 5)) == 20
    assert limit_of("low_focus", [100.0] * 30, (2, 5)) == 50
    assert limit_of("low_focus", [0.0] * 30, (2, 5)) == 0


@given(st.lists(st.floats(0, 1e6), max_size=40), st.sampled_from(FLAGS[1:]))
def test_limits_stay_within_their_bounds_whatever_the_order(found: list[float], flag: str) -> None:
    limit = limit_of(flag, found, BOUNDS[flag])
    assert limit == limit_of(flag, sorted(found), BOUNDS[flag])
    if flag != "low_focus":
        assert BOUNDS[flag][0] <= limit <= BOUNDS[flag][1]


def test_checks_keep_the_flags_order_and_leave_out_what_is_not_known() -> None:
    checks = check({"disagreement": 0.5, "no_spheroid": 1.0, "area_jump": 0.3}, LENIENT)
    assert list(checks) == ["no_spheroid", "area_jump", "disagreement"]
    flags, stored = as_stored(checks)
    assert flags == "area_jump,disagreement"
    assert json.loads(stored)["area_jump"] == {"value": 0.3, "limit": 0.15, "raised": True}
    assert rechecked(stored, LENIENT) == checks
    assert not rechecked(stored, {**LENIENT, "area_jump": 0.4})["area_jump"].raised


# -- what is right -------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.06, -0.02, 0.0, 0.04, 0.1, 0.15])
def test_growing_and_shrinking_raise_nothing(rate: float) -> None:
    assert raised(growing(rate=rate)) == [set()] * 20


def test_a_frame_alone_and_an_empty_well_raise_what_is_certain_only() -> None:
    assert raised([shown(0)]) == [set()]
    assert raised([shown(0, None)]) == [{"no_spheroid"}]
    assert raised([shown(i, None) for i in range(12)]) == [{"no_spheroid"}] * 12
    assert numbers([]) == []


def test_a_spheroid_that_comes_or_goes_to_stay_does_not_flip() -> None:
    ghost_at_the_end = [shown(i, 500 if i == 9 else None) for i in range(10)]
    assert "flip_flop" in raised(ghost_at_the_end)[9]
    one_empty = [shown(i, None if i == 0 else 9000) for i in range(10)]
    assert raised(one_empty) == [{"no_spheroid"}, *[set()] * 9]
    came = [shown(i, None if i < 5 else 9000) for i in range(15)]
    assert [flags - {"no_spheroid"} for flags in raised(came)] == [set()] * 15
    gone = [shown(i, None if i > 9 else 9000) for i in range(15)]
    assert [flags - {"no_spheroid"} for flags in raised(gone)] == [set()] * 15


# -- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 0.85, 1.18, 2.0])
@pytest.mark.parametrize("index", [0, 1, 9, 18, 19])
def test_a_wrong_area_is_flagged_and_its_neighbours_are_not(index: int, factor: float) -> None:
    frames = growing()
    area = frames[index].candidates[0].area_px * factor
    found = raised(swapped(frames, index, shown(index, area)))
    assert "area_jump" in found[index]
    assert not any("area_jump" in f for i, f in enumerate(found) if i != index)


def test_several_wrong_areas_in_a_row_are_flagged() -> None:
    frames = growing(30)
    for index in (14, 15, 16):
        frames[index] = shown(index, frames[index].candidates[0].area_px * 0.75)
    found = raised(frames)
    assert [i for i, flags in enumerate(found) if "area_jump" in flags] == [14, 15, 16]


@pytest.mark.parametrize(
    ("said", "flag"),
    [
        ({"x": 580}, "position_jump"),
        ({"eccentricity": 0.9}, "shape_jump"),
        ({"form_factor": 0.3}, "shape_jump"),
        ({"solidity": 0.6}, "low_solidity"),
        ({"peak_probability": 0.4}, "low_confidence"),
        ({"evidence": {"mean_probability": 0.4}}, "low_confidence"),
        ({"evidence": {"uncertain_share": 0.6}}, "low_confidence"),
        ({"evidence": {"agreement": 0.7}}, "disagreement"),
        ({"foreground_px": 0}, "disagreement"),
        ({"left": 0, "top": 5, "right": 90, "bottom": 90}, "touches_border"),
        ({"left": 900, "top": 5, "right": 960, "bottom": 90}, "touches_border"),
    ],
)
def test_one_frame_that_is_unlike_the_others(said: dict[str, Any], flag: str) -> None:
    found = raised(swapped(growing(), 9, shown(9, growing()[9].candidates[0].area_px, **said)))
    assert flag in found[9]
    assert not any(flag in f for i, f in enumerate(found) if i != 9)


def test_focus_and_exposure() -> None:
    usual = {"focus": 80.0, "background": 190.0}
    frames = [replace(frame, evidence=usual) for frame in growing()]
    frames[4] = replace(frames[4], evidence={"focus": 10.0, "background": 190.0})
    frames[7] = replace(frames[7], evidence={"focus": 80.0, "background": 150.0})
    found = raised(frames)
    assert [i for i, f in enumerate(found) if f] == [4, 7]
    assert (found[4], found[7]) == ({"low_focus"}, {"exposure_shift"})


def test_an_empty_well_is_not_out_of_focus() -> None:
    dull = {"focus": 0.5}
    empty = [replace(shown(i, None), evidence=dull) for i in range(10)]
    assert not any("low_focus" in one for one in numbers(empty))
    once = [*empty, replace(shown(10), evidence=dull)]
    assert all(one["low_focus"] == 0.5 for one in numbers(once))


def test_what_flips() -> None:
    missed = swapped(growing(), 9, shown(9, None))
    assert raised(missed)[9] == {"no_spheroid", "flip_flop"}
    assert all(not flags for i, flags in enumerate(raised(missed)) if i != 9)
    ghost = swapped([shown(i, None) for i in range(12)], 6, shown(6, 500))
    assert "flip_flop" in raised(ghost)[6]
    turns = raised([shown(i, None if i % 2 else 9000) for i in range(12)])
    assert sum("flip_flop" in flags for flags in turns) >= 9
    area = growing()[9].candidates[0].area_px
    there_and_back = raised(swapped(growing(), 9, shown(9, 0.6 * area)))
    assert "flip_flop" in there_and_back[9]


def test_other_objects_count_from_a_share_on() -> None:
    def beside(area: float) -> Frame:
        frame = shown(0)
        return replace(frame, candidates=[*frame.candidates, Candidate(2, area, 100, 100)])

    assert "several_objects" in raised([beside(3000)])[0]
    assert "several_objects" not in raised([beside(300)])[0]
    assert {"several_objects", "ambiguous"} <= raised([beside(9900)])[0]
    both = [replace(beside(9900), candidates=[Candidate(1, 9e3, 300), Candidate(2, 9e3, 660)])]
    told = values(both, pick(both, "all"), several=True)[0]
    assert not {"several_objects", "ambiguous"} & set(told)


def test_frames_that_are_missing_by_number_or_by_time() -> None:
    numbered = [shown(i) for i in (0, 1, 2, 5, 6, 6, 7)]
    found = [one["missing_frame"] for one in numbers(numbered)]
    assert found == [0, 0, 0, 2, 0, 0, 0]
    timed = [replace(frame, timepoint=None) for frame in numbered]
    assert [one["missing_frame"] for one in numbers(timed)] == found
    every_second = [shown(i) for i in (2, 4, 6, 8, 10)]
    assert not any(one["missing_frame"] for one in numbers(every_second))
    slower = [replace(shown(0), timepoint=None, hours=h) for h in (0, 2, 4, 6, 8, 14, 20, 26, 32)]
    assert not any(one["missing_frame"] for one in numbers(slower))
    unknown = [replace(shown(i), timepoint=None, hours=None) for i in range(3)]
    assert not any("missing_frame" in one for one in numbers(unknown))


def test_a_well_filmed_twice_says_so_in_every_frame() -> None:
    twice = [shown(i) for i in range(10) for _ in "ab"]
    assert raised(twice) == [{"duplicate_frame"}] * 20


def test_a_magnification_that_changes_is_no_jump_where_pixel_sizes_are_known() -> None:
    frames = [
        replace(shown(i, area, x=x), pixel_size_um=size)
        for i, (area, x, size) in enumerate([(10_000, 500, 2.0)] * 8 + [(2_500, 490, 4.0)] * 8)
    ]
    assert raised(frames) == [set()] * 16
    blind = [replace(frame, pixel_size_um=None) for frame in frames]
    assert any("area_jump" in flags for flags in raised(blind))


def test_one_file_without_a_pixel_size_is_no_jump() -> None:
    frames = [replace(frame, pixel_size_um=2.0) for frame in growing()]
    frames[9] = replace(frames[9], pixel_size_um=None)
    assert raised(frames) == [set()] * 20, "µm² of one are not compared with pixels of another"


def test_excluded_frames_are_no_evidence() -> None:
    frames = growing()
    for index in (8, 10, 11):
        frames[index] = replace(shown(index, 90_000, x=100), excluded=True)
    found = raised(frames)
    assert [flags for i, flags in enumerate(found) if i not in (8, 10, 11)] == [set()] * 17


def test_a_mask_that_fills_the_field() -> None:
    box = {"left": 0, "top": 0, "right": 960, "bottom": 540}
    filled = shown(9, 960 * 540, solidity=1.0, **box)
    assert {"touches_border", "area_jump"} <= raised(swapped(growing(), 9, filled))[9]


MAYBE = st.none() | st.floats(0, 1)
FRAMES = st.lists(
    st.builds(
        lambda area, x, solidity, eccentricity, peak, evidence: shown(
            0, area, x=x, solidity=solidity, eccentricity=eccentricity,
            peak_probability=peak, evidence=evidence,
        ),
        st.none() | st.floats(1, 5e5),
        st.none() | st.floats(0, 960),
        MAYBE,
        MAYBE,
        MAYBE,
        st.dictionaries(
            st.sampled_from(["mean_probability", "focus", "background", "agreement"]),
            st.floats(0, 1e9),
        ),
    ),
    max_size=10,
)  # fmt: skip


@given(FRAMES)
def test_any_well_gives_numbers_that_can_be_stored(frames: list[Frame]) -> None:
    timed = [replace(frame, hours=2.0 * i, timepoint=i) for i, frame in enumerate(frames)]
    for one, of_frame in zip(timed, numbers(timed), strict=True):
        flags, stored = as_stored(check(of_frame, LENIENT))
        assert json.loads(json.dumps(json.loads(stored), allow_nan=False)).keys() <= set(FLAGS)
        assert ("no_spheroid" in flags) == (not one.candidates)


def test_every_flag_is_explained_with_its_bounds_and_a_picture() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    text = (docs / "flags.md").read_text()
    sections = dict(
        section.split("\n", 1) for section in text.split("\n### ")[1:] if "\n" in section
    )
    assert set(sections) == set(FLAGS)
    for flag, section in sections.items():
        assert f"(flags/{flag}.png)" in section
        assert (docs / "flags" / f"{flag}.png").is_file()
    for flag, (low, high) in BOUNDS.items():
        shown_as = f"{low:g}" if low == high else f"[{low:g}, {high:g}]"
        assert f"`{flag}: {shown_as}`" in sections[flag], flag
