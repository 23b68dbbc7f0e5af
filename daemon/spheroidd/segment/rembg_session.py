"""A rembg session kept warm in onnxruntime, on the CPU or on a GPU.

rembg's own `predict` computes every output, stretches each image's probabilities to their
minimum and maximum (so an empty well gets a "spheroid" too), and enlarges them as a picture.
Here only the model's first output is computed, and taken as it is.
"""

import ctypes
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import RunFailedError, Tell
from spheroidd.segment.batching import Batches
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.specimen import specimen
from spheroidd.segment.stock import Model
from spheroidd.segment.treatment import learn
from spheroidd.segment.warm_model import WarmModel

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
_NAMES = {CPU: "CPU", CUDA: "CUDA", TENSORRT: "TensorRT"}
# Images in a batch on a GPU: more would take memory and win little.
MOST = 8
# How far apart two maps of the same image may be, computed in two ways.  Masks of a clear
# spheroid agree even where the maps do not.  With 16 bits U²-Net-p is 0.17 off on the specimen
# (its mask agrees to 0.996) and then draws real, pale spheroids 20 % off; ISNet, which is 0.013
# off, draws them the same.
FAR = 0.05


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
    """A rembg session kept warm.  Threads may share it.

    On a GPU the inputs of several threads are run as one batch where the model's graph allows
    it: see `batching`.  On the CPU a batch takes as long as its images one by one.
    """

    def __init__(
        self, model: Model, rembg_session: Any, warn: Tell, *, max_batch: int | None = None
    ) -> None:
        """
        Args:
            warn: told, in one line, when images are run in smaller batches than was wanted.
            max_batch: images in one run, a power of two; None: what is good for the device.
        """
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
        self.most_at_once = max_batch or (MOST if active in (CUDA, TENSORRT) else 1)
        self._batches: Batches | None = None
        if self.most_at_once > 1 and self.takes_batches:
            about = f"{model.name} on {self.provider}"
            self._batches = Batches(self.most_at_once, lambda line: warn(f"{about}: {line}"))

    @property
    def takes_batches(self) -> bool:
        """Whether the graph says so; many were made for one image at a time."""
        return not isinstance(self._input.shape[0], int)

    @property
    def input(self) -> tuple[str, tuple[int, ...]]:
        """The name of the model's input, and its shape for one image."""
        return self._input.name, self._feed(specimen()).shape

    def remarks(self) -> list[str]:
        """As `WarmModel.remarks`."""
        if self.most_at_once == 1 or self.takes_batches:
            return super().remarks()
        one = f"{self.model.name} takes one image at a time: its graph was made for no more"
        return [*super().remarks(), one]

    def warm_up(self) -> None:
        """Run it once, and in every size of a batch, so that the first images find it warm.

        Raises:
            ModelError: it does not run.
        """
        # Not by `raw`: an error that went from thread to thread is in a circle with this session,
        # whose memory must be free at once where it can't be used.
        self._map(self._run(self._feed(specimen())))
        if self._batches:
            pictures = specimen(), np.full_like(specimen(), 128)
            self._batches.try_out([self._feed(one) for one in pictures], self._run, self._same)

    def _same(self, one: NDArray[Any], other: NDArray[Any]) -> bool:
        return bool(np.abs(self._map(one) - self._map(other)).max() <= FAR)

    def _first_output(self, feed: NDArray[Any]) -> NDArray[Any]:
        return self._batches.output_of(feed, self._run) if self._batches else self._run(feed)

    def _run(self, feed: NDArray[Any], begun: Callable[[], None] = lambda: None) -> NDArray[Any]:
        # Bound, so that a GPU's input travels before its turn, while another one is computed.  On
        # the CPU nothing is copied.
        try:
            bound = self._inner.io_binding()
            bound.bind_cpu_input(self._input.name, feed)
            bound.bind_output(self._output)
            with self._turn:
                begun()
                self._inner.run_with_iobinding(bound, self._options)
            [output] = bound.copy_outputs_to_cpu()
            return np.asarray(output)
        except Exception as error:  # onnxruntime's exceptions share no narrower class
            # What an input of a wrong shape gives is no trouble of the device.
            wrong = type(error).__name__ == "InvalidArgument"
            kind = ModelError if wrong else RunFailedError
            raise kind(f"{self.model.name} failed on {self.provider}: {error}") from error


def load(
    model: Model,
    home: Path,
    provider: str,
    resources: Resources,
    *,
    warn: Tell,
    before: Sequence[tuple[str, dict[str, Any]]] = (),
    max_batch: int | None = None,
) -> RembgSession:
    """Make a session and run it once, so that the first image finds it warm.

    Args:
        home: the program's data home.
        provider: onnxruntime's name; it may fall back to the CPU, see the session's `provider`.
        warn, max_batch: see `RembgSession`.
        before: providers that come before it, and their options.

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
                providers=[*before, *_providers(provider, resources)],
                model_path=str(model.path),
            )
    except Exception as error:  # onnxruntime's exceptions share no narrower class
        # rembg's own warning of a fall-back can't print a provider that has options.
        why = "it did not start" if isinstance(error, TypeError) and provider != CPU else error
        raise ModelError(f"{model.name} could not be loaded: {why}") from error
    return_memory()
    session = RembgSession(model, raw, warn, max_batch=max_batch)
    session.warm_up()
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
