"""The spheroid among everything else in a well, over all its frames."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.measure.track import NOTHING, pick, touches
from spheroidd.store.frames import Candidate, Frame

WIDTH, HEIGHT = 960, 540


def found(number: int, area: float, x: float = 480, y: float = 270, **said: Any) -> Candidate:
    usual = {"solidity": 0.96, "eccentricity": 0.3, "form_factor": 0.8}
    return Candidate(number, area, x, y, **{**usual, **said})


def film(*frames: Sequence[Candidate], every: float = 3.0) -> list[Frame]:
    """A well's frames; candidates by falling area, as the store gives them."""
    return [
        Frame(
            measurement_id=index,
            hours=every * index,
            width=WIDTH,
            height=HEIGHT,
            candidates=sorted(candidates, key=lambda one: (-one.area_px, one.number)),
            n_objects=len(candidates),
        )
        for index, candidates in enumerate(frames)
    ]


def chosen(frames: Sequence[Frame], **how: Any) -> list[int | None]:
    return [one.spheroid.number if one.spheroid else None for one in pick(frames, **how)]


def test_no_frame_and_no_object_give_nothing() -> None:
    assert pick([]) == []
    assert pick(film([], [])) == [NOTHING, NOTHING]
    assert pick(film([]), "all") == [NOTHING]


def test_one_frame_alone_takes_what_looks_most_like_a_spheroid() -> None:
    assert chosen(film([found(1, 5000), found(2, 4000, 200, 100)])) == [1]
    # ragged precipitate, a little larger, cut by the border
    crystal = found(1, 5000, 60, 40, solidity=0.55, left=0, top=0, right=120, bottom=90)
    assert chosen(film([crystal, found(2, 4500)])) == [2]
    # nothing is known but the areas
    assert chosen(film([Candidate(1, 5000.0), Candidate(2, 400.0)])) == [1]


def test_debris_that_outgrows_the_spheroid_for_some_frames_is_not_followed() -> None:
    frames = [[found(1, 10_000 * 0.99**i)] for i in range(20)]
    for i in range(8, 12):
        frames[i].append(found(2, 13_000, 150, 120, solidity=0.8, eccentricity=0.8))
    assert chosen(film(*frames)) == [1] * 20


def test_the_largest_is_followed_when_another_was_larger_for_one_frame() -> None:
    frames = [[found(1, 10_000), found(2, 6_000, 200, 100)] for _ in range(9)]
    frames[4] = [found(1, 10_000), found(2, 11_000, 200, 100)]
    assert chosen(film(*frames)) == [1] * 9


def test_empty_frames_are_bridged_the_first_one_too() -> None:
    frames = [[found(1, 8000), found(2, 8500, 100, 100, solidity=0.7)] for _ in range(10)]
    frames[0] = frames[4] = frames[5] = []
    assert chosen(film(*frames)) == [None, 1, 1, 1, None, None, 1, 1, 1, 1]


def test_a_frame_that_holds_only_a_speck_does_not_make_the_track_forget() -> None:
    frames = [[found(1, 8000), found(2, 9500, 250, 150, solidity=0.88)] for _ in range(10)]
    for i in (0, 1, 2, 3):
        frames[i] = [found(1, 8000)]
    frames[4] = [found(3, 300, 900, 500)]
    assert chosen(film(*frames)) == [1, 1, 1, 1, 3, 1, 1, 1, 1, 1]


def test_two_that_are_nearly_equal_rival_and_clear_cases_do_not() -> None:
    twins = [[found(1, 8000, 300), found(2, 8000, 660)] for _ in range(6)]
    assert all(one.rivalry > 0.9 for one in pick(film(*twins)))
    assert len(set(chosen(film(*twins)))) == 1, "one of them, and the same in every frame"
    clear = [[found(1, 8000), found(2, 2000, 800)] for _ in range(6)]
    assert all(one.rivalry < 0.05 for one in pick(film(*clear)))
    assert all(one.rivalry == 0 for one in pick(film([found(1, 8000)])))


def test_a_decision_is_an_anchor_and_an_excluded_frame_is_no_evidence() -> None:
    frames = film(*[[found(1, 8000, 300), found(2, 7600, 660)] for _ in range(9)])
    assert chosen(frames) == [1] * 9
    settled = [*frames]
    settled[4] = replace(frames[4], decision="chosen", object_number=2)
    assert chosen(settled) == [2] * 9
    assert pick(settled)[4].rivalry == 0
    settled[4] = replace(settled[4], excluded=True)
    assert chosen(settled) == [1, 1, 1, 1, 2, 1, 1, 1, 1]
    nothing = [*frames]
    nothing[4] = replace(frames[4], decision="chosen", object_number=None)
    assert chosen(nothing) == [1, 1, 1, 1, None, 1, 1, 1, 1]


def test_a_magnification_that_changes_moves_nothing_where_pixel_sizes_are_known() -> None:
    def seen(zoom: float) -> list[Candidate]:
        return [
            found(1, 8000 * zoom**2, 480 + 40 * zoom, 270),
            found(2, 7000 * zoom**2, 480 - 200 * zoom, 270),
        ]

    frames = film(*[seen(1.0)] * 5, *[seen(0.5)] * 5)
    sized = [
        replace(frame, pixel_size_um=2.0 if index < 5 else 4.0)
        for index, frame in enumerate(frames)
    ]
    assert chosen(sized) == [1] * 10
    assert [one.rivalry for one in pick(sized)] == pytest.approx(
        [one.rivalry for one in pick(film(*[seen(1.0)] * 10))], abs=0.05
    )
    assert chosen(frames) == [1] * 10


def test_all_objects_but_specks_count_if_told_so() -> None:
    [one] = pick(film([found(1, 5000), found(2, 3000, 200), found(3, 240, 700)]), "all")
    assert one.area_px == 8000
    assert one.spheroid is not None
    assert one.spheroid.number == 1


def test_sides_are_counted_where_box_and_image_are_known() -> None:
    box = {"left": 0, "top": 5, "right": WIDTH, "bottom": 9}
    [frame] = film([found(1, 9, **box)])
    assert touches(frame, frame.candidates[0]) == 2
    assert touches(frame, found(1, 9)) is None
    assert touches(replace(frame, width=None), frame.candidates[0]) is None


def test_where_all_are_spheroids_none_is_left_out_and_a_settled_frame_counts_all_its_own() -> None:
    many = [found(number, 1000.0 + number, 20.0 * number) for number in range(1, 41)]
    speck = found(41, 40)
    [frame] = film([*many, speck])
    [one] = pick([frame], "all")
    assert (len(one.counted), one.area_px) == (40, sum(found.area_px for found in many))
    marked = [replace(found, is_spheroid=10 < found.number < 41) for found in frame.candidates]
    settled = replace(frame, candidates=marked, decision="confirmed", object_number=40)
    [one] = pick([settled], "all")
    assert {found.number for found in one.counted} == set(range(11, 41))
    assert pick([replace(settled, object_number=None)], "all") == [NOTHING]
    [one] = pick([settled], "one")
    assert [found.number for found in one.counted] == [40]


def test_one_spheroid_is_looked_for_among_the_largest() -> None:
    many = [found(number, 1000.0 - number, 20.0 * number, solidity=0.5) for number in range(1, 20)]
    assert pick(film([*many, found(20, 900)])) == pick(film(many))


AREAS = st.floats(100, 100_000)
PLACES = st.tuples(st.floats(1, WIDTH - 1), st.floats(1, HEIGHT - 1))
MAYBE = st.none() | st.floats(0, 1)
OBJECTS = st.builds(
    lambda number, area, place, solidity, eccentricity: Candidate(
        number, area, *place, solidity=solidity, eccentricity=eccentricity
    ),
    st.integers(1, 99),
    AREAS,
    PLACES,
    MAYBE,
    MAYBE,
)
FILMS = st.lists(st.lists(OBJECTS, max_size=4, unique_by=lambda one: one.number), max_size=8).map(
    lambda frames: film(*frames)
)


@given(FILMS)
def test_whatever_there_is_one_object_of_every_frame_is_taken(frames: list[Frame]) -> None:
    for frame, one in zip(frames, pick(frames), strict=True):
        assert (one.spheroid in frame.candidates) if frame.candidates else one == NOTHING
        assert 0 <= one.rivalry <= 1


@given(FILMS, st.floats(0.1, 10))
def test_the_pictures_size_in_pixels_does_not_matter(frames: list[Frame], zoom: float) -> None:
    def enlarged(one: Candidate) -> Candidate:
        assert one.x is not None
        assert one.y is not None
        return replace(one, area_px=one.area_px * zoom**2, x=one.x * zoom, y=one.y * zoom)

    larger = [
        replace(
            frame,
            width=WIDTH * zoom,
            height=HEIGHT * zoom,
            candidates=[enlarged(one) for one in frame.candidates],
        )
        for frame in frames
    ]
    for before, after in zip(pick(frames), pick(larger), strict=True):
        assert before.rivalry == pytest.approx(after.rivalry, abs=1e-6)
        if before.rivalry < 0.999 and before.spheroid:
            assert after.spheroid is not None
            assert after.spheroid.number == before.spheroid.number


@given(FILMS.filter(lambda frames: any(frame.candidates for frame in frames)), st.data())
def test_what_a_person_settled_stays_and_the_rest_is_found(frames: list[Frame], data: Any) -> None:
    index = data.draw(st.sampled_from([i for i, one in enumerate(frames) if one.candidates]))
    number = data.draw(st.sampled_from([one.number for one in frames[index].candidates]))
    settled = [*frames]
    settled[index] = replace(frames[index], decision="chosen", object_number=number)
    for i, (frame, one) in enumerate(zip(settled, pick(settled), strict=True)):
        assert (one.spheroid in frame.candidates) if frame.candidates else one == NOTHING
        if i == index:
            assert one.spheroid
            assert one.spheroid.number == number
