"""A rembg session kept warm in onnxruntime, on the CPU or on a GPU.

rembg's own `predict` computes every output, stretches each image's probabilities to their
minimum and maximum (so an empty well gets a "spheroid" too), and enlarges them as a picture.
Here only the model's first output is computed, and taken as it is.
"""

import ctypes
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import RunFailedError
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.specimen import specimen
from spheroidd.segment.stock import Model
from spheroidd.segment.treatment import learn
from spheroidd.segment.warm_model import WarmModel

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_NAMES = {CPU: "CPU", CUDA: "CUDA", "TensorrtExecutionProvider": "TensorRT"}


@dataclass(frozen=True)
class Resources:
    """What a model may take.

    Attributes:
        threads: of the CPU, within one run.
        gpu_memory: bytes of a GPU's memory; None: as much as it needs.
    """

    threads: int
    gpu_memory: int | None = None


class RembgSession(WarmModel):
    """A rembg session kept warm.  Threads may share it."""

    def __init__(self, model: Model, rembg_session: Any) -> None:
        import onnxruntime  # noqa: PLC0415

        inner = rembg_session.inner_session
        self._inner = inner
        self._input = inner.get_inputs()[0]
        self._output = inner.get_outputs()[0].name
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True
        active = inner.get_providers()[0]
        super().__init__(
            model,
            learn(rembg_session),
            _NAMES.get(active, active.removesuffix("ExecutionProvider")),
            half=self._input.type == "tensor(float16)",
        )

    def _first_output(self, feed: NDArray[Any]) -> NDArray[Any]:
        # Bound, so that a GPU's copies, there and back, need no turn: the next image's input
        # travels while this one is computed.  On the CPU nothing is copied.
        try:
            bound = self._inner.io_binding()
            bound.bind_cpu_input(self._input.name, feed)
            bound.bind_output(self._output)
            with self._turn:
                self._inner.run_with_iobinding(bound, self._options)
            [output] = bound.copy_outputs_to_cpu()
            return np.asarray(output)
        except Exception as error:  # onnxruntime's exceptions share no narrower class
            # What an input of a wrong shape gives is no trouble of the device.
            wrong = type(error).__name__ == "InvalidArgument"
            kind = ModelError if wrong else RunFailedError
            raise kind(f"{self.model.name} failed on {self.provider}: {error}") from error


def load(model: Model, home: Path, provider: str, resources: Resources) -> RembgSession:
    """Make a session and run it once, so that the first image finds it warm.

    Args:
        home: the program's data home.
        provider: onnxruntime's name; it may fall back to the CPU, see the session's `provider`.

    Raises:
        ModelError: it can't be loaded, or does not run.
    """
    import onnxruntime  # noqa: PLC0415 - heavy, and not for everyone who imports this module

    if not model.path.is_file():
        raise ModelError(f"The weights of {model.name} are gone from {model.path}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = resources.threads
    # The pattern reserves the sum of what would fit side by side: 0.9 GB more with ISNet on the
    # CPU, and no faster.
    options.enable_mem_pattern = False
    # Threads that spin while they wait for one another make a live image an eighth quicker, and
    # a full folder a tenth slower, where CellProfiler and the other lane need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A file of the user's own lies elsewhere, and rembg takes only what is under its home.
    inside = model.path.is_relative_to(home.absolute())
    try:
        # The warnings are of falling back to the CPU, which the caller says better.
        with (
            rembg_home(home if inside else model.path.parent),
            warnings.catch_warnings(action="ignore"),
        ):
            import rembg  # noqa: PLC0415

            raw = rembg.new_session(
                model.session,
                sess_opts=options,
                providers=_providers(provider, resources),
                model_path=str(model.path),
            )
    except Exception as error:  # onnxruntime's exceptions share no narrower class
        # rembg's own warning of a fall-back can't print a provider that has options.
        why = "it did not start" if isinstance(error, TypeError) and provider == CUDA else error
        raise ModelError(f"{model.name} could not be loaded: {why}") from error
    return_memory()
    session = RembgSession(model, raw)
    session.raw(specimen())
    return session


def _providers(provider: str, resources: Resources) -> list[Any]:
    if provider != CUDA:
        return list(dict.fromkeys([provider, CPU]))
    options: dict[str, Any] = {
        # Doubling, the default, takes up to twice what the one fixed shape needs.
        "arena_extend_strategy": "kSameAsRequested",
        # Timing each convolution's algorithms (the default) may choose others at the next start,
        # whose rounding differs: the same image must give the same mask.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if resources.gpu_memory is not None:
        options["gpu_mem_limit"] = resources.gpu_memory
    return [(CUDA, options), CPU]


def return_memory() -> None:
    """Give the kernel back what loading needed; glibc keeps it otherwise, 0.2 GB with ISNet."""
    with suppress(OSError, AttributeError):  # another libc has no such function
        ctypes.CDLL(None).malloc_trim(0)
