"""One warm rembg session that gives raw probabilities.

rembg's own `predict` stretches each image's probabilities to their minimum and maximum, so an
empty well gets a "spheroid" too. Here rembg prepares the input as it always does, and the
model's first output is taken as it is.
"""

import contextlib
import ctypes
import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import AcceleratedSession, RunFailedError
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.stock import Model

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_WANTED = {"auto": _CUDA, "cuda": _CUDA, "openvino": _OPENVINO, "cpu": _CPU}
PROVIDER_NAMES = {
    _CPU: "CPU",
    _CUDA: "CUDA",
    _OPENVINO: "OpenVINO",
    "TensorrtExecutionProvider": "TensorRT",
}
_REMEDY = {
    _CUDA: "Install `spheroidd[gpu]` instead of `spheroidd[cpu]` and check the NVIDIA driver "
    "with `nvidia-smi`",
    _OPENVINO: "Install onnxruntime-openvino in place of onnxruntime",
}
# Half precision leaves rounding errors around 0 and 1; anything beyond is no probability.
_ROUNDING = 0.01


class Session(Protocol):
    """What the segment stage needs of a model."""

    @property
    def model(self) -> Model: ...

    @property
    def provider(self) -> str:
        """What it runs on: "CUDA", "TensorRT", "OpenVINO" or "CPU"."""
        ...

    @property
    def trouble(self) -> str:
        """That an accelerator was lost, and since when; empty: all is well."""
        ...

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Foreground probability of each pixel, float32 H×W in [0, 1], for uint8 H×W[×3]."""
        ...


class _Prepared(Exception):  # noqa: N818 - not an error: it carries the input out of rembg
    def __init__(self, feeds: dict[str, NDArray[Any]]) -> None:
        self.feeds = feeds


class _Recorder:
    """Stands where rembg keeps its onnxruntime session; `run` hands back what it was given."""

    def __init__(self, inner: Any) -> None:
        self.get_inputs = inner.get_inputs

    def run(self, _outputs: object, feeds: dict[str, NDArray[Any]]) -> None:
        raise _Prepared(feeds)


class RembgSession:
    """A rembg session kept warm. Safe to share between threads: one image at a time."""

    def __init__(self, model: Model, rembg_session: Any) -> None:
        self.model = model
        self.trouble = ""
        self._inner = rembg_session.inner_session
        rembg_session.inner_session = _Recorder(self._inner)
        self._rembg = rembg_session
        self._half = self._inner.get_inputs()[0].type == "tensor(float16)"
        self._output = self._inner.get_outputs()[0].name
        active = self._inner.get_providers()[0]
        self.provider = PROVIDER_NAMES.get(active, active.removesuffix("ExecutionProvider"))
        self._lock = threading.Lock()

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Foreground probability of each pixel.

        Args:
            image: uint8, H×W (grey) or H×W×3.

        Returns:
            float32, H×W, in [0, 1]: the model's own map, never stretched to the image's range,
            enlarged or reduced to the image's size.

        Raises:
            ValueError: not such an image. A mistake in the calling code.
            ModelError: the model failed, or gave something that is no probability.
            RunFailedError: of these, that onnxruntime failed while it ran.
        """
        if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)):
            raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 H×W or H×W×3")
        with self._lock:
            raw = self._raw(Image.fromarray(image))
        height, width = image.shape[:2]
        resized = Image.fromarray(raw).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized, dtype=np.float32)

    def _raw(self, picture: Image.Image) -> NDArray[np.float32]:
        """The model's first output for a picture, at the model's own size."""
        feeds = self._feeds(picture)
        try:
            output = np.asarray(self._inner.run([self._output], feeds)[0], dtype=np.float32)
        except Exception as error:  # onnxruntime's exceptions share no narrower class
            # What an input of a wrong shape gives is no trouble of the device.
            wrong = type(error).__name__ == "InvalidArgument"
            kind = ModelError if wrong else RunFailedError
            raise kind(f"{self.model.name} failed on {self.provider}: {error}") from error
        if output.ndim != 4:
            raise ModelError(
                f"{self.model.name} gave an output of shape {output.shape}, not 1 × 1 × H × W.",
                "This is no segmentation model that spheroidd can use.",
            )
        # rembg's BiRefNet sessions, and they alone, pass the output through a sigmoid.
        if hasattr(self._rembg, "sigmoid"):
            output = 0.5 * (1 + np.tanh(0.5 * output))
        return self._checked(output[0, 0])

    def _feeds(self, picture: Image.Image) -> dict[str, NDArray[Any]]:
        try:
            self._rembg.predict(picture)
        except _Prepared as prepared:
            if self._half:
                return {key: array.astype(np.float16) for key, array in prepared.feeds.items()}
            return prepared.feeds
        raise ModelError(
            f"rembg's session {self.model.session} did not run the model.",
            "This version of rembg works in another way; install the one spheroidd asks for.",
        )

    def _checked(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        # NaN fails both comparisons, infinities one of them.
        if not (output.min() >= -_ROUNDING and output.max() <= 1 + _ROUNDING):
            raise ModelError(
                f"{self.model.name} gave values from {output.min()} to {output.max()} on "
                f"{self.provider}, which are no probabilities; the image was not segmented.",
                "Check the file with `spheroidd model verify`, or run on `device: cpu`.",
            )
        return np.clip(output, 0, 1)


def open_session(
    model: Model,
    *,
    home: Path,
    device: str = "auto",
    require: bool = False,
    threads: int | None = None,
    warn: Callable[[str], None],
    alarm: Callable[[str], None] | None = None,
) -> Session:
    """Make one rembg session and run it once, so that the first image finds it warm.

    Args:
        model: from `models.resolve`; nothing is ever downloaded here.
        home: the program's data home.
        device: `auto` (CUDA where there is one, else the CPU), `cuda`, `openvino` or `cpu`.
        require: refuse to run on anything slower than asked; with `auto`, on the CPU.
        threads: CPU threads within one run; None leaves it to onnxruntime.
        warn: told, in one line, when another device is used than was asked for.
        alarm: told so when the accelerator is lost in mid-run, or back; None: as `warn`.

    Raises:
        ModelError: the model can't run, or not as demanded; says why and what to do.
    """
    wanted = _WANTED[device]
    reason = ""
    if wanted != _CPU:
        session, reason = _accelerated(model, home, wanted, threads)
        if session is not None:
            return AcceleratedSession(
                session,
                lambda: _accelerated(model, home, wanted, threads),
                lambda: _warm(model, home, _CPU, threads),
                alarm or warn,
                require=require,
            )
        if require:
            raise ModelError(
                f"`device: {device}` with `require: true`, but {reason}.",
                f"{_REMEDY[wanted]}; or set `require: false` to run on the CPU.",
            )
        if device != "auto" or _CUDA in _available():
            warn(f"Running on the CPU, which is slower: {reason}. {_REMEDY[wanted]}.")
    return _warm(model, home, _CPU, threads)


def _accelerated(
    model: Model, home: Path, provider: str, threads: int | None
) -> tuple[RembgSession | None, str]:
    """A session on the accelerator, or None and the reason why there is none."""
    name = PROVIDER_NAMES[provider]
    if provider not in _available():
        return None, f"the installed onnxruntime offers no {name}"
    said = _preload_cuda() if provider == _CUDA else ""
    try:
        session = _warm(model, home, provider, threads)
    except ModelError as error:
        return None, f"{name} failed: {error.message}"
    if session.provider != name:
        return None, f"onnxruntime could not start {name} {said}".strip()
    return session, ""


def _available() -> list[str]:
    import onnxruntime  # noqa: PLC0415 - heavy, and not for everyone who imports this module

    return list(onnxruntime.get_available_providers())


def _preload_cuda() -> str:
    """Let onnxruntime load CUDA from NVIDIA's Python packages; return its first complaint."""
    import onnxruntime  # noqa: PLC0415

    complaints = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(complaints):
            onnxruntime.preload_dlls()
    said = complaints.getvalue().strip().partition("\n")[0]
    return f"({said})" if said else ""


def _warm(model: Model, home: Path, provider: str, threads: int | None) -> RembgSession:
    import onnxruntime  # noqa: PLC0415

    if not model.path.is_file():
        raise ModelError(f"The weights of {model.name} are gone from {model.path}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # The pattern reserves the sum of what would fit side by side: 0.9 GB more with ISNet on the
    # CPU, and no faster.
    options.enable_mem_pattern = False
    # A file of the user's own lies elsewhere, and rembg takes only what is under its home.
    inside = model.path.is_relative_to(home.absolute())
    try:
        # The warnings are of falling back to the CPU; `_accelerated` says that better.
        with (
            rembg_home(home if inside else model.path.parent),
            warnings.catch_warnings(action="ignore"),
        ):
            import rembg  # noqa: PLC0415

            raw = rembg.new_session(
                model.session,
                sess_opts=options,
                providers=list(dict.fromkeys([provider, _CPU])),
                model_path=str(model.path),
            )
    except Exception as error:  # onnxruntime's exceptions share no narrower class
        raise ModelError(f"{model.name} could not be loaded: {error}") from error
    _return_memory()
    session = RembgSession(model, raw)
    session.probabilities(_disc())
    return session


def _return_memory() -> None:
    """Give the kernel back what loading needed; glibc keeps it otherwise, 0.2 GB with ISNet."""
    with contextlib.suppress(OSError, AttributeError):  # another libc has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _disc(side: int = 256) -> NDArray[np.uint8]:
    """A dark disc on a light ground, as a picture to warm up with."""
    y, x = np.ogrid[:side, :side]
    inside = (y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2
    return np.where(inside, 60, 200).astype(np.uint8)
