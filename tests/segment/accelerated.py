"""A GPU that is none, for machines without one."""

import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import rembg
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from spheroidd.segment.rembg_session import CPU, CUDA, TENSORRT

OUT_OF_MEMORY = onnx_errors.RuntimeException(
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv "
    "node. BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested bytes"
)
LOST = onnx_errors.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure ; GPU=0"
)


def again(error: Exception) -> Exception:
    """One like it; an exception that is raised keeps all that its traceback leads to."""
    return type(error)(*error.args)


class Gpu:
    """Every session that is opened for a GPU runs on the real CPU, says otherwise, and fails when
    told.

    That is the seam: rembg's `new_session`, where onnxruntime would begin to use the device.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[Exception | None] = []  # of the next runs, the last one first
        self.most = 99  # images in one run
        self.runs: list[int] = []  # how many images each had
        self.gone = False  # it fails every time
        self.slow = 0.0  # seconds more for each run
        self.running: list[int] = []
        self.opened = 0
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.at_once = 0  # the most sessions that were there at a time
        self.tensorrt: dict[str, Any] | None = None  # its options, once it was asked for
        self.tensorrt_starts = True
        self.tensorrt_draws: Path | None = None  # what another model draws
        self._real = rembg.new_session
        offered = [TENSORRT, CUDA, CPU]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
        monkeypatch.setattr(rembg, "new_session", self._new_session)

    def _new_session(self, name: str, *, providers: list[Any], **options: Any) -> Any:
        names = [one if isinstance(one, str) else one[0] for one in providers]
        if names[0] == TENSORRT:
            self.tensorrt = providers[0][1]
            if not self.tensorrt_starts:
                del names[0]
            elif self.tensorrt_draws:
                options["model_path"] = str(self.tensorrt_draws)
        session = self._real(name, providers=[CPU], **options)
        if names[0] != CPU:
            self.opened += 1
            session.inner_session = OnGpu(session.inner_session, self, names)
            self.alive.add(session.inner_session)
            self.at_once = max(self.at_once, len(self.alive))
        return session


class OnGpu:
    def __init__(self, inner: Any, gpu: Gpu, names: list[str]) -> None:
        self._inner, self._gpu, self._names = inner, gpu, names

    def get_providers(self) -> list[str]:
        return self._names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def io_binding(self) -> Any:
        bound = self._inner.io_binding()
        bind = bound.bind_cpu_input

        def noted(name: str, feed: np.ndarray) -> None:
            bound.images = len(feed)
            bind(name, feed)

        bound.bind_cpu_input = noted
        return bound

    def run_with_iobinding(self, bound: Any, *rest: Any) -> None:
        self._gpu.running.append(threading.get_ident())
        assert len(self._gpu.running) == 1, "runs take turns"
        try:
            time.sleep(self._gpu.slow)
            if self._gpu.gone:
                raise again(LOST)
            self._gpu.runs.append(bound.images)
            if bound.images > self._gpu.most:
                raise again(OUT_OF_MEMORY)
            if self._gpu.failures and (error := self._gpu.failures.pop()):
                raise again(error)
            self._inner.run_with_iobinding(bound, *rest)
        finally:
            self._gpu.running.pop()


class Hours:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
