"""What intake keeps in memory for the segment stage: bounded, and never needed."""

import numpy as np
from numpy.typing import NDArray

from spheroidd.intake.fresh import Fresh


def pixels(value: int = 0) -> NDArray[np.uint8]:
    return np.full((10, 10), value, np.uint8)


def test_it_gives_what_was_kept_once() -> None:
    fresh = Fresh()
    fresh.keep(7, pixels(1))
    found = fresh.take(7)
    assert found is not None
    assert found[0, 0] == 1
    assert fresh.take(7) is None


def test_what_came_first_keeps_its_place_when_it_is_full() -> None:
    fresh = Fresh(most_bytes=200)
    for number in (1, 2, 3):
        fresh.keep(number, pixels())
    assert [fresh.take(number) is not None for number in (1, 2, 3)] == [True, True, False]
    fresh.keep(4, pixels())
    assert fresh.take(4) is not None


def test_what_nobody_asked_for_makes_room_after_a_while() -> None:
    clock = 0.0
    fresh = Fresh(most_bytes=200, monotonic=lambda: clock)
    fresh.keep(1, pixels())
    clock = 200.0
    fresh.keep(2, pixels())
    clock = 400.0  # the first is old, the second is not
    fresh.keep(3, pixels())
    assert [fresh.take(number) is not None for number in (1, 2, 3)] == [False, True, True]


def test_an_image_larger_than_all_of_it_is_not_kept() -> None:
    fresh = Fresh(most_bytes=99)
    fresh.keep(1, pixels())
    assert fresh.take(1) is None
