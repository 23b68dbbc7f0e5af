"""Several images in hand: side by side, bounded, and none forgotten."""

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from spheroidd.segment.lanes import Lanes
from spheroidd.store.images import Image

NOW = 1.7e9
ONE = Image(
    1, "/e", "/e/P/A1/1.jpg", 1, 1, 1, "ready", "P", "A1", "1.jpg", None, None, None,
    1000, 1000, None, None, 0,
)  # fmt: skip


def images(count: int, **values: Any) -> list[Image]:
    return [replace(ONE, id=number, **values) for number in range(1, count + 1)]


def work_off(lanes: Lanes, waiting: list[Image]) -> None:
    while waiting or lanes.busy:
        while waiting and lanes.fits(waiting[0]):
            lanes.begin(waiting.pop(0), NOW)
        lanes.wait_for_one()


def test_two_are_in_hand_at_once_and_all_come_through() -> None:
    both, done = threading.Barrier(2, timeout=20), []

    def work(image: Image, _now: float) -> None:
        both.wait()  # breaks unless the other one is in hand too
        done.append(image.id)

    lanes = Lanes(2, work)
    work_off(lanes, images(6))
    lanes.end()
    assert sorted(done) == [1, 2, 3, 4, 5, 6]


def test_one_lane_is_one_image_after_the_other() -> None:
    done: list[int] = []
    lanes = Lanes(1, lambda image, _: done.append(image.id))
    work_off(lanes, images(4))
    lanes.end()
    assert done == [1, 2, 3, 4]


def test_very_large_images_go_alone() -> None:
    most, inside, turn = 0, 0, threading.Lock()

    def work(_image: Image, _now: float) -> None:
        nonlocal most, inside
        with turn:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with turn:
            inside -= 1

    lanes = Lanes(4, work)
    work_off(lanes, images(6, width=6000, height=4500))
    lanes.end()
    assert most == 1


def test_what_is_raised_reaches_whoever_waits_and_the_others_come_through() -> None:
    done: list[int] = []

    def work(image: Image, _now: float) -> None:
        if image.id == 1:
            raise OSError(28, "No space left on device")
        done.append(image.id)

    lanes = Lanes(2, work)
    for image in images(2):
        lanes.begin(image, NOW)
    with pytest.raises(OSError, match="No space"):
        while lanes.busy:
            lanes.wait_for_one()
    lanes.drain()
    assert done == [2]
    assert not lanes.busy
    lanes.end()


def test_its_threads_end() -> None:
    before = set(threading.enumerate())  # other tests may have left theirs
    lanes = Lanes(3, lambda _image, _now: None)
    work_off(lanes, images(9))
    lanes.end()
    end = time.monotonic() + 20
    while set(threading.enumerate()) - before:
        assert time.monotonic() < end
        time.sleep(0.01)
