"""The front door to a model: a warm session on the fastest device that can be trusted."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import AcceleratedSession, Tell
from spheroidd.segment.gpu import available, load_cuda, load_tensorrt
from spheroidd.segment.openvino_session import PLAIN, OpenVinoSession, installed, load_openvino
from spheroidd.segment.rembg_session import CPU, CUDA, RembgSession, Resources, load
from spheroidd.segment.stock import Model
from spheroidd.segment.trial import Memory, hold
from spheroidd.segment.warm_model import WarmModel

_NO_CUDA = (
    "Install `spheroidd[gpu]` instead of `spheroidd[cpu]` and check the NVIDIA driver "
    "with `nvidia-smi`"
)
_NO_OPENVINO = "Install `openvino` beside onnxruntime, or set `device: cpu`"


class Session(Protocol):
    """What the segment stage needs of a model."""

    @property
    def model(self) -> Model: ...

    @property
    def provider(self) -> str:
        """What it runs on: "CUDA", "TensorRT", "OpenVINO", "OpenVINO bf16" or "CPU"."""
        ...

    @property
    def trouble(self) -> str:
        """That an accelerator was lost, and since when; empty: all is well."""
        ...

    @property
    def most_at_once(self) -> int:
        """How many images in hand keep it busy: on a GPU several, whether it takes them as a
        batch or one by one, for it is done sooner than a core has prepared the next; else 1."""
        ...

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Foreground probability of each pixel, float32 H×W in [0, 1], for uint8 H×W[×3]."""
        ...


def open_session(  # noqa: PLR0913 - all by name
    model: Model,
    *,
    home: Path,
    device: str = "auto",
    require: bool = False,
    threads: int | None = None,
    gpu_memory: int | None = None,
    tensorrt: bool = False,
    cache: Path | None = None,
    warn: Tell,
    alarm: Tell | None = None,
    inform: Tell | None = None,
) -> Session:
    """Load a model and run it once, so that the first image finds it warm.

    Args:
        model: from `models.resolve`; nothing is ever downloaded here.
        home: the program's data home.
        device: `cuda`, `openvino`, `cpu`, or `auto`: CUDA where there is one; else OpenVINO
            where a trial shows that it draws the same mask and is quicker; else onnxruntime on
            the CPU.
        require: refuse to run on anything slower than asked; with `auto`, on the CPU.
        threads: CPU threads within one run; None: `threads_here`.
        gpu_memory: bytes of a GPU's memory that it may take; None: as much as it needs.
        tensorrt: on a GPU, compute in TensorRT where it is installed and draws the same map; the
            first start then takes minutes.
        cache: where compiled models and trials are kept; None: nowhere.
        warn: told, in one line, when another device is used than was asked for.
        alarm: told so when the accelerator is lost in mid-run, or back; None: as `warn`.
        inform: told, in one line each, why `auto` chose what it did, and what makes the model
            slower than it could be.

    Raises:
        ModelError: the model can't run, or not as demanded; says why and what to do.
    """
    inform = inform or (lambda _line: None)
    resources = Resources(threads or threads_here(), gpu_memory)
    on = _Opening(model, home, resources, cache, warn, tensorrt)
    session: WarmModel | None = None
    reopen: Callable[[], tuple[WarmModel | None, str]] = on.gpu
    reason, remedy = "", ""
    if device in ("auto", "cuda"):
        session, reason = on.gpu()
        remedy = _NO_CUDA
    elif device == "openvino":
        session, reason = on.openvino_if(asked_for=True)
        remedy = _NO_OPENVINO
    if session is None and reason and require:
        raise ModelError(
            f"`device: {device}` with `require: true`, but {reason}.",
            f"{remedy}; or set `require: false` to run on the CPU.",
        )
    if session is None and reason and (device != "auto" or CUDA in available()):
        warn(f"Running on the CPU, which is slower: {reason}. {remedy}.")
    if session is None and device == "auto":
        session, reason = on.openvino_if(asked_for=False)
        if reason:
            inform(f"{session.provider if session else 'onnxruntime on the CPU'}: {reason}")
    used = session or on.cpu()
    for remark in used.remarks():
        inform(remark)
    if session is None:
        return used
    if isinstance(session, OpenVinoSession):
        reopen = partial(on.openvino, half=session.provider != PLAIN)
    return AcceleratedSession(session, reopen, on.cpu, alarm or warn, require=require)


def threads_here() -> int:
    """As many threads as there are cores for this process, not counting a core's second thread.

    Not fewer, though CellProfiler works beside the model.  On two busy cores a single thread took
    a tenth less CPU time an image and as long as two; on quiet ones two share the work.
    """
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return max(1, int(given))
    cores = set()
    for number in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(number))
    return max(1, len(cores))


@dataclass(frozen=True)
class _Opening:
    """The ways to open one model."""

    model: Model
    home: Path
    resources: Resources
    cache: Path | None
    warn: Tell
    tensorrt: bool

    def cpu(self) -> RembgSession:
        return load(self.model, self.home, CPU, self.resources, warn=self.warn)

    def gpu(self) -> tuple[RembgSession | None, str]:
        """A session on the GPU, or None and the reason why there is none."""
        what = self.model, self.home, self.resources, self.warn
        if self.tensorrt:
            try:
                return load_tensorrt(*what, self.cache), ""
            except ModelError as error:
                self.warn(f"TensorRT is not used: {error.message}")
        try:
            return load_cuda(*what), ""
        except ModelError as error:
            return None, error.message

    def openvino(self, *, half: bool) -> tuple[OpenVinoSession | None, str]:
        """A session in OpenVINO, or None and the reason why there is none."""
        try:
            return self._openvino(half=half), ""
        except ModelError as error:
            return None, error.message

    def openvino_if(self, *, asked_for: bool) -> tuple[OpenVinoSession | None, str]:
        """A session in OpenVINO if the trial speaks for it, and in any case why or why not."""
        if installed() is None:
            return None, "OpenVINO is not installed" if asked_for else ""
        if (trial := self._memory.recall()) is not None:
            use, why = trial.verdict(asked_for=asked_for)
            if not use:
                return None, why
            session, failed = self.openvino(half=trial.half)
            if session is not None and trial.holds_for(session):
                return session, why
            del session
            self.warn(f"OpenVINO is tried anew: {failed or 'it draws another map than before'}")
        self._memory.forget()
        try:
            trial, session = hold(self.cpu, lambda half: self._openvino(half=half))
        except ModelError as error:
            return None, error.message
        use, why = trial.verdict(asked_for=asked_for)
        if not use:
            self._memory.forget()  # what was compiled for the trial
        self._memory.keep(trial)
        return (session if use else None), why

    def _openvino(self, *, half: bool) -> OpenVinoSession:
        threads, folder = self.resources.threads, self._memory.folder
        return load_openvino(self.model, self.home, threads, folder, half=half)

    @property
    def _memory(self) -> Memory:
        return Memory(self.cache, self.model, self.resources.threads)
