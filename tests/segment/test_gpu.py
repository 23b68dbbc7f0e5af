"""What is done on a GPU, as far as a machine without one can tell."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from accelerated import Gpu, Hours

from spheroidd.segment import models, treatment
from spheroidd.segment.accelerator import RETRY_SECONDS
from spheroidd.segment.finding import Finder
from spheroidd.segment.gpu import tensorrt_options
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.rembg_session import CPU, CUDA
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.specimen import specimen


def lanes(session: Session | None) -> int:
    return Recipe(session and Finder(session, None, 0.5), "0").lanes


def test_a_gpu_is_fed_by_as_many_lanes_as_there_are_cores(
    session: Session,
    on_gpu: Callable[..., Session],
    tiny: models.Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = on_gpu(tiny)
    for cores, expected in ((1, 2), (2, 2), (6, 6), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert lanes(opened) == expected
        assert Recipe(Finder(session, opened, 0.5), "0").lanes == expected, "or the second model's"
        assert lanes(session) == lanes(None) == 2


def test_what_makes_a_model_slower_is_said_once(
    on_gpu: Callable[..., Session],
    tiny: models.Model,
    tiny_in_batches: models.Model,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_gpu(tiny_in_batches, inform=told.append)
    assert told == []
    on_gpu(tiny, inform=told.append)
    assert told == ["sigmoid-320 takes one image at a time: its graph was made for no more"]
    told.clear()
    lean = on_gpu(tiny_in_batches).probabilities(specimen())
    monkeypatch.setattr(treatment, "_parameters", lambda *_: None)  # a rembg with another way
    slower = on_gpu(tiny_in_batches, inform=told.append)
    assert np.array_equal(slower.probabilities(specimen()), lean)
    [line] = told
    assert "gets its input from rembg" in line


# -- TensorRT ---------------------------------------------------------------------------------


def test_tensorrt_is_used_where_it_is_asked_for_and_agrees(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny: models.Model, tmp_path: Path, told: list[str]
) -> None:
    assert on_gpu(tiny).provider == "CUDA"
    assert gpu.tensorrt is None, "it takes minutes at the first start"
    cache = tmp_path / "cache"
    opened: Any = on_gpu(
        tiny, tensorrt=True, cache=cache, gpu_memory=4_000_000_000, warn=told.append
    )
    assert opened.provider == "TensorRT"
    folder = cache / f"{tiny.md5}-tensorrt"
    assert gpu.tensorrt == tensorrt_options(folder, 4_000_000_000, None)
    (folder / "an.engine").touch()
    assert told == []
    opened._clock = clock = Hours()
    gpu.gone = True
    opened.probabilities(specimen())
    assert opened.provider == "CPU"
    assert f"kept in {folder}" in told[1]
    gpu.gone = False
    clock.now += RETRY_SECONDS + 1
    opened.probabilities(specimen())
    assert (opened.provider, opened.trouble) == ("TensorRT", "")
    assert (folder / "an.engine").exists()


def test_its_options_are_as_onnxruntime_has_them(tmp_path: Path) -> None:
    assert tensorrt_options(None, None, None) == {"trt_fp16_enable": True}
    folder = tmp_path / "engines"
    assert tensorrt_options(folder, 10, ("x", (1, 3, 320, 320))) == {
        "trt_fp16_enable": True,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
        "trt_max_workspace_size": 10,
        "trt_profile_min_shapes": "x:1x3x320x320",
        "trt_profile_opt_shapes": "x:8x3x320x320",
        "trt_profile_max_shapes": "x:8x3x320x320",
    }


def test_one_engine_serves_every_size_of_a_batch(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny_in_batches: models.Model
) -> None:
    on_gpu(tiny_in_batches, tensorrt=True)
    assert gpu.tensorrt == tensorrt_options(None, None, ("x", (1, 3, 320, 320)))
    assert gpu.runs == [1, 1, 1, 2, 4, 8, 1]


def test_where_its_libraries_are_missing_cuda_is_used_and_said_so(
    gpu: Gpu, on_gpu: Callable[..., Session], tiny: models.Model, tmp_path: Path, told: list[str]
) -> None:
    """onnxruntime then goes on without it, in CUDA and without our options."""
    gpu.tensorrt_starts = False
    opened = on_gpu(tiny, tensorrt=True, cache=tmp_path / "cache", warn=told.append)
    assert opened.provider == "CUDA"
    [line] = told
    assert line.startswith("TensorRT is not used: TensorRT failed: onnxruntime could not start it")
    assert gpu.at_once == 1, "CUDA without our options is given up first"


def test_where_it_draws_another_map_cuda_is_used_and_said_so(
    gpu: Gpu,
    on_gpu: Callable[..., Session],
    tiny: models.Model,
    onnx_file: Callable[..., Path],
    tmp_path: Path,
    told: list[str],
) -> None:
    gpu.tensorrt_draws = shutil.copy(onnx_file("Softmax", 320), tiny.path.parent)
    opened = on_gpu(tiny, tensorrt=True, cache=tmp_path / "cache", warn=told.append)
    assert opened.provider == "CUDA"
    [line] = told
    assert "draws another map than the CPU: masks agree to 0.0000" in line
    assert gpu.at_once == 1


def test_where_onnxruntime_has_no_tensorrt_it_is_said(
    gpu: Gpu,
    on_gpu: Callable[..., Session],
    tiny: models.Model,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for offered, provider in (([CUDA, CPU], "CUDA"), ([CPU], "CPU")):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda kept=offered: kept)
        opened = on_gpu(tiny, tensorrt=True, device="cuda", warn=told.append)
        assert opened.provider == provider
        assert told[0] == "TensorRT is not used: the installed onnxruntime offers no TensorRT"
        assert len(told) == (1 if provider == "CUDA" else 2)
        told.clear()


@pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA"
)
def test_a_real_gpu_draws_what_the_cpu_draws(
    u2netp: models.Model, session: Session, home: Path
) -> None:
    opened = open_session(u2netp, home=home, device="cuda", require=True, warn=pytest.fail)
    one, other = (each.probabilities(specimen()) > 0.5 for each in (session, opened))
    assert (one & other).sum() >= 0.995 * (one | other).sum()
