"""Several images in one run: each has its own map, and nobody waits for a batch to fill."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from accelerated import Gpu
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from spheroidd.errors import ModelError
from spheroidd.segment import models
from spheroidd.segment.batching import Batches
from spheroidd.segment.rembg_session import CPU, RembgSession, Resources, load
from spheroidd.segment.session import Session
from spheroidd.segment.specimen import specimen

POISON = 13


class Device:
    """Doubles what it is given, one batch at a time, once its gate is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.most = 99
        self._turn = threading.Lock()

    def __call__(self, feed: np.ndarray, begun: Callable[[], None]) -> np.ndarray:
        with self._turn:
            begun()
            self.batches.append([int(number) for number in feed.ravel()])
            assert self.gate.wait(20)
            if len(feed) > self.most:
                raise MemoryError("out of memory")
            if (feed == POISON).any():
                raise ValueError("poison")
            return 2 * feed

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


class Crowd:
    """A thread for each input; begun one after the other, so that their order is known."""

    def __init__(self, batches: Batches, device: Device) -> None:
        self.batches, self.device = batches, device
        self._pool = ThreadPoolExecutor(32)
        self._asked: list[Future[int]] = []

    def ask(self, number: int) -> None:
        def answer() -> int:
            return int(self.batches.output_of(np.array([[number]]), self.device).item())

        self._asked.append(self._pool.submit(answer))

    def gather(self, *numbers: int) -> None:
        """Of two in hand already the first is on the device and the second waits for it, so that
        these wait together."""
        self.device.gate.clear()
        self.ask(1)
        until(lambda: self.device.batches == [[1]])
        self.ask(2)
        until(lambda: self.batches._gathered)
        for number in numbers:
            before = len(self.batches._waiting)
            self.ask(number)
            until(lambda before=before: len(self.batches._waiting) > before)
        self.device.gate.set()
        wait(self._asked, timeout=20)

    def answers(self) -> list[int | BaseException]:
        return [asked.exception(20) or asked.result() for asked in self._asked]

    def end(self) -> None:
        self.device.gate.set()
        self._pool.shutdown()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def batches(device: Device, told: list[str]) -> Batches:
    return Batches(8, told.append)


@pytest.fixture
def crowd(batches: Batches, device: Device) -> Iterator[Crowd]:
    made = Crowd(batches, device)
    yield made
    made.end()


def test_where_none_waits_a_batch_is_one(crowd: Crowd, device: Device) -> None:
    for number in range(5):
        crowd.ask(number)
        assert crowd.answers()[-1] == 2 * number
    assert device.batches == [[0], [1], [2], [3], [4]]


def test_what_waits_goes_together_in_its_order_padded_to_a_known_size(
    crowd: Crowd, device: Device
) -> None:
    crowd.gather(5, 3, 8, 7, 9)
    assert device.batches == [[1], [2], [5, 3, 8, 7, 9, 9, 9, 9]]
    assert crowd.answers() == [2, 4, 10, 6, 16, 14, 18]


def test_more_than_fit_are_several_batches(crowd: Crowd, device: Device) -> None:
    crowd.gather(*range(20, 39))
    assert device.sizes == [1, 1, 8, 8, 4]
    assert crowd.answers() == [2, 4, *range(40, 78, 2)]


def test_a_poisoned_input_fails_alone(crowd: Crowd, device: Device, told: list[str]) -> None:
    crowd.gather(3, 4, POISON, 5)
    answers = crowd.answers()
    assert isinstance(answers.pop(4), ValueError)
    assert answers == [2, 4, 6, 8, 10]
    assert device.sizes == [1, 1, 4, 1, 1, 1, 1]
    assert (crowd.batches.most, told) == (8, []), "the size was not to blame"


def test_batches_that_are_too_large_cost_no_image_and_are_given_up(
    crowd: Crowd, device: Device, told: list[str]
) -> None:
    device.most = 4
    crowd.gather(*range(20, 28))
    assert crowd.answers() == [2, 4, *range(40, 56, 2)]
    assert crowd.batches.most == 4
    assert told == ["at most 4 images in a batch from now on: out of memory"]


def test_many_threads_each_get_their_own(batches: Batches, device: Device) -> None:
    numbers = [number for number in range(400) if number != POISON]
    random.Random(1).shuffle(numbers)

    def doubled(number: int) -> int:
        return int(batches.output_of(np.array([[number]]), device).item())

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(doubled, numbers)) == [2 * number for number in numbers]
    assert set(device.sizes) <= {1, 2, 4, 8}
    assert not batches._waiting


# -- tried out at the start -----------------------------------------------------------------


def tried_out(run: Any, told: list[str]) -> int:
    batches = Batches(8, told.append)
    batches.try_out([np.array([[1.0]]), np.array([[2.0]])], run, np.array_equal)
    return batches.most


def test_every_size_is_run_once_at_the_start(device: Device, told: list[str]) -> None:
    assert tried_out(device, told) == 8
    assert device.sizes == [1, 1, 2, 4, 8]
    assert not told


def test_a_size_that_fails_is_not_used(device: Device, told: list[str]) -> None:
    device.most = 2
    assert tried_out(device, told) == 2
    assert told == ["at most 2 images in a batch from now on: out of memory"]


def test_a_model_whose_maps_depend_on_their_company_runs_one_by_one(told: list[str]) -> None:
    assert tried_out(lambda feed, begun: feed / feed.max(), told) == 1
    assert "depends on the others" in told[0]
    assert tried_out(lambda feed, begun: feed[:1], told) == 1, "or gives one map for all"
    assert "1 outputs for 2 images" in told[1]


def test_what_fails_alone_is_raised(device: Device, told: list[str]) -> None:
    with pytest.raises(ValueError, match="poison"):
        Batches(8, told.append).try_out([np.array([[POISON]])], device, np.array_equal)


# -- with models ----------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each run of onnxruntime had."""
    sizes: list[int] = []
    real: Any = onnxruntime.InferenceSession.run_with_iobinding

    def noted(self: Any, bound: Any, *rest: Any) -> None:
        real(self, bound, *rest)
        sizes.append(bound.get_outputs()[0].shape()[0])

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", noted)
    return sizes


def together(opened: Any, images: list[np.ndarray], warm: Any = None) -> list[np.ndarray]:
    """Their maps, by a thread each: the first image goes alone, and the others wait for it.

    Args:
        warm: the session that runs them; None: `opened` itself.
    """
    warm = warm or opened
    with ThreadPoolExecutor(len(images)) as pool:
        with warm._turn:  # as if something ran
            asked = [pool.submit(opened.probabilities, images[0])]
            until(lambda: warm._batches._gathered)
            asked += [pool.submit(opened.probabilities, image) for image in images[1:]]
            until(lambda: len(warm._batches._waiting) == len(images) - 1)
        return [one.result(60) for one in asked]


def made(model: models.Model, home: Path, max_batch: int, told: list[str]) -> RembgSession:
    return load(model, home, CPU, Resources(2), warn=told.append, max_batch=max_batch)


def several(count: int) -> list[np.ndarray]:
    return [np.roll(specimen(), 40 * number, axis=1) for number in range(count)]


def test_maps_of_a_batch_are_those_of_each_image_alone(
    u2netp: models.Model,
    session: RembgSession,
    home: Path,
    tmp_path: Path,
    told: list[str],
    runs: list[int],
) -> None:
    """The real U²-Net-p, whose graph was made for one image but does as well with several."""
    copy = tmp_path / "models" / "u2netp" / "u2netp.onnx"
    copy.parent.mkdir(parents=True)
    one, any_number = (b"\n\2" + size + b"\n\2\x08\3" for size in (b"\x08\1", b"\x1a\0"))
    weights = u2netp.path.read_bytes()
    assert weights.count(one) == 1, "the input's shape, 1×3×…"
    copy.write_bytes(weights.replace(one, any_number))
    opened = made(replace(u2netp, session="u2net_custom", path=copy), tmp_path, 2, told)
    assert runs == [1, 1, 1, 2], "each size, to be warm"
    assert opened.remarks() == told == []
    images = several(3)
    runs.clear()
    found = together(opened, images)
    assert runs == [1, 2]
    assert len({map_.tobytes() for map_ in found}) == 3, "each another one"
    for image, map_ in zip(images, found, strict=True):
        assert np.allclose(map_, session.probabilities(image), atol=1e-5)


def test_half_precision_input_goes_in_batches_too(
    tmp_path: Path, onnx_file: Callable[..., Path], told: list[str], runs: list[int]
) -> None:
    path = onnx_file("Sigmoid", 320, half=True, batches=True)
    model = models.resolve(str(path), tmp_path)
    opened, alone = (made(model, tmp_path, most, told) for most in (8, 1))
    images = several(6)
    runs.clear()
    found = together(opened, images)
    assert runs == [1, 8]
    for image, map_ in zip(images, found, strict=True):
        assert np.array_equal(map_, alone.probabilities(image))


def test_a_graph_that_was_made_for_one_image_keeps_to_one_and_says_so(
    tmp_path: Path, onnx_file: Callable[..., Path], told: list[str], runs: list[int]
) -> None:
    model = models.resolve(str(onnx_file("Sigmoid", 320)), tmp_path)
    opened = made(model, tmp_path, 8, told)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(opened.probabilities, several(6)))) == 6
    assert set(runs) == {1}
    [remark] = opened.remarks()
    assert "one image at a time" in remark
    assert opened.most_at_once == 8, "several in hand keep the device busy all the same"


def test_what_is_no_probability_is_an_error_at_the_start_all_the_same(
    tmp_path: Path, onnx_file: Callable[..., Path], told: list[str]
) -> None:
    model = models.resolve(str(onnx_file("Identity", 320, batches=True)), tmp_path)
    with pytest.raises(ModelError, match="no probabilities"):
        made(model, tmp_path, 8, told)


def test_on_the_cpu_there_are_no_batches(session: RembgSession) -> None:
    assert session.most_at_once == 1
    assert session.remarks() == []
    assert session._batches is None


# -- when the device fails -------------------------------------------------------------------


def test_a_batch_that_fails_once_costs_no_image_and_no_accelerator(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny_in_batches: models.Model, told: list[str]
) -> None:
    opened: Any = on_gpu(tiny_in_batches, warn=told.append)
    assert gpu.runs == [1, 1, 1, 2, 4, 8]
    images = several(7)
    expected = [opened.probabilities(image) for image in images]
    gpu.runs.clear()
    gpu.most = 4
    found = together(opened, images, opened._session)
    assert all(np.array_equal(*both) for both in zip(found, expected, strict=True))
    assert gpu.runs == [1, 8, 1, 1, 1, 1, 1, 1]
    assert (opened.provider, opened.trouble, gpu.opened) == ("CUDA", "", 1)
    assert len(told) == 1
    assert told[0].startswith("sigmoid-320 on CUDA: at most 4 images in a batch")


def test_an_image_that_fails_by_itself_fails_alone(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny_in_batches: models.Model, told: list[str]
) -> None:
    opened: Any = on_gpu(tiny_in_batches)
    images = several(4)
    wrong = onnx_errors.InvalidArgument("Got invalid dimensions for input")
    gpu.failures = [wrong, wrong, None]  # the batch, and then the first of it
    with pytest.raises(ModelError, match="invalid dimensions"):
        together(opened, images, opened._session)
    assert gpu.runs[-5:] == [1, 4, 1, 1, 1]
    assert (opened.provider, gpu.opened, told) == ("CUDA", 1, [])


def test_a_device_that_is_lost_in_a_batch_costs_no_image(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny_in_batches: models.Model, told: list[str]
) -> None:
    opened: Any = on_gpu(tiny_in_batches)
    images = several(6)
    expected = [opened.probabilities(image) for image in images]
    gpu.gone = True
    found = together(opened, images, opened._session)
    assert all(np.array_equal(*both) for both in zip(found, expected, strict=True))
    assert opened.provider == "CPU"
    assert len(told) == 2, "loaded again, and lost: each told once"
    assert not gpu.alive
