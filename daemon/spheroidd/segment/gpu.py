"""A model on an NVIDIA card: in CUDA, or in TensorRT where that is asked for and agrees.

TensorRT compiles a model for the very card, which takes minutes at the first start and is kept for
the next ones.  It computes with 16 bits where that is quicker, which not every model bears: its
map of the specimen must be the CPU's.
"""

import contextlib
import importlib
import io
from pathlib import Path
from typing import Any

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import Tell
from spheroidd.segment.rembg_session import (
    CPU,
    CUDA,
    MOST,
    TENSORRT,
    RembgSession,
    Resources,
    load,
    return_memory,
)
from spheroidd.segment.specimen import specimen
from spheroidd.segment.stock import Model
from spheroidd.segment.trial import likeness


def available() -> list[str]:
    """What the installed onnxruntime offers, whether or not it works."""
    import onnxruntime  # noqa: PLC0415 - heavy, and not for everyone who imports this module

    return list(onnxruntime.get_available_providers())


def load_cuda(model: Model, home: Path, resources: Resources, warn: Tell) -> RembgSession:
    """A session in CUDA.

    Raises:
        ModelError: there is none; says why.
    """
    if CUDA not in available():
        raise ModelError("the installed onnxruntime offers no CUDA")
    said = _preload()
    try:
        session = load(model, home, CUDA, resources, warn=warn)
    except ModelError as error:
        raise ModelError(f"CUDA failed: {error.message} {said}".strip()) from error
    if session.provider == "CPU":
        raise ModelError(f"onnxruntime could not start CUDA {said}".strip())
    return session


def load_tensorrt(
    model: Model, home: Path, resources: Resources, warn: Tell, cache: Path | None
) -> RembgSession:
    """A session in TensorRT, with CUDA for what that can't do.

    Args:
        cache: where what it compiled is kept; None: nowhere.

    Raises:
        ModelError: it is not there, does not start, or draws another map; says which.
    """
    if TENSORRT not in available():
        raise ModelError("the installed onnxruntime offers no TensorRT")
    said = _preload()
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module("tensorrt_libs")  # NVIDIA's package; importing it loads them
    reference = load(model, home, CPU, resources, warn=warn)
    expected = reference.probabilities(specimen())
    batch = reference.input if reference.takes_batches else None
    del reference
    return_memory()
    engines = cache / f"{model.md5}-tensorrt" if cache else None
    options = tensorrt_options(engines, resources.gpu_memory, batch)
    try:
        session = load(model, home, CUDA, resources, warn=warn, before=[(TENSORRT, options)])
        if session.provider != "TensorRT":
            raise ModelError("onnxruntime could not start it; are its libraries installed?")
    except ModelError as error:
        # Not removed here: compiling takes minutes, and a card that was lost comes back.
        kept = f"; what it compiled is kept in {engines} and can be removed" if engines else ""
        raise ModelError(f"TensorRT failed: {error.message} {said}".strip() + kept) from error
    alike = likeness(expected, session.probabilities(specimen()))
    if not alike.enough:
        raise ModelError(f"TensorRT draws another map than the CPU: {alike}")
    return session


def tensorrt_options(
    engines: Path | None, memory: int | None, batch: tuple[str, tuple[int, ...]] | None
) -> dict[str, Any]:
    """onnxruntime's options for TensorRT.

    Args:
        engines: a folder for what it compiled; None: none.
        memory: bytes of the card's that it may work with; None: as much as it needs.
        batch: name and shape of an input of which several may come; None: its shape is fixed.

    Source: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    options: dict[str, Any] = {"trt_fp16_enable": True}
    if engines is not None:
        with contextlib.suppress(OSError):  # what can't be kept is compiled again
            engines.mkdir(parents=True, exist_ok=True)
        for kind in ("engine", "timing"):
            options[f"trt_{kind}_cache_enable"] = True
            options[f"trt_{kind}_cache_path"] = str(engines)
    if memory is not None:
        options["trt_max_workspace_size"] = memory
    if batch is not None:
        # One engine for all sizes, best at the largest: without it each new size would take
        # minutes, in mid-run.
        name, (_, *rest) = batch
        for bound, images in (("min", 1), ("opt", MOST), ("max", MOST)):
            sides = "x".join(str(side) for side in (images, *rest))
            options[f"trt_profile_{bound}_shapes"] = f"{name}:{sides}"
    return options


def _preload() -> str:
    """Let onnxruntime load CUDA from NVIDIA's Python packages; return its first complaint."""
    import onnxruntime  # noqa: PLC0415

    complaints = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(complaints):
            onnxruntime.preload_dlls()
    said = complaints.getvalue().strip().partition("\n")[0]
    return f"({said})" if said else ""
