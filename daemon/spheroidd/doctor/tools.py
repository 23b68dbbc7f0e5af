"""What images are worked on with: onnxruntime, the models, the accelerator, CellProfiler."""

import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from spheroidd.doctor.finding import Finding, Installation, Level
from spheroidd.errors import SpheroiddError
from spheroidd.measure import environment
from spheroidd.segment.models import resolve
from spheroidd.segment.session import open_session
from spheroidd.warming import begin_engine, warm_engine

_NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"))
_SIZE = (1040, 1392)  # a Cell-IQ's camera


def packages() -> Finding:
    """Whether exactly one onnxruntime is installed: they all are the same module."""
    found = sorted(
        {
            f"{name} {one.version}"
            for one in distributions()
            if (name := (one.metadata["Name"] or "").lower()).startswith("onnxruntime")
        }
    )
    if len(found) == 1:
        return Finding("onnxruntime", "ok", found[0])
    advice = "`make setup EXTRA=cpu` (or gpu) removes all of them and installs one."
    if not found:
        return Finding("onnxruntime", "wrong", "it is not installed", advice)
    both = f"{' and '.join(found)} overwrite each other's files"
    return Finding("onnxruntime", "wrong", both, advice)


def models(here: Installation) -> Iterator[Finding]:
    """Whether the models' weights are there, and are what they should be."""
    for name in here.config.segmentation.models:
        try:
            model = resolve(name, here.home)
        except SpheroiddError as error:
            yield Finding(f"model {name}", "wrong", error.message, error.hint)
            continue
        megabytes = model.path.stat().st_size / 1e6
        yield Finding(
            f"model {name}", "ok", f"{megabytes:.1f} MB, md5 {model.md5} is right ({model.path})"
        )
    if not here.config.segmentation.enabled:
        yield Finding("model", "ok", "none, as configured: CellProfiler finds the spheroids")


def speed(here: Installation) -> Iterator[Finding]:
    """How fast each model is, and on what: a timed run on a test picture."""
    for name in here.config.segmentation.models:
        yield _speed_of(name, here)


def _speed_of(name: str, here: Installation) -> Finding:
    wanted, said, chosen = here.config.segmentation, list[str](), list[str]()
    what = f"run of {name}"
    try:
        began = time.perf_counter()
        session = open_session(
            resolve(name, here.home),
            home=here.home,
            device=wanted.device,
            threads=wanted.cpu_threads,
            warn=said.append,
            inform=chosen.append,
        )
        loaded = time.perf_counter()
        probability = session.probabilities(_picture())
        ended = time.perf_counter()
    except SpheroiddError as error:
        return Finding(what, "wrong", error.message, error.hint)
    found = (
        f"{ended - loaded:.2f} s an image on {session.provider}, "
        f"{loaded - began:.1f} s to load and warm up" + "".join(f" ({reason})" for reason in chosen)
    )
    if not _found_it(probability):
        advice = "Fetch it anew; on an accelerator, try `device: cpu` and report it."
        return Finding(what, "wrong", f"it does not find the disc on the test picture ({found})",
                       advice)  # fmt: skip
    return _judged(what, found, session.provider, " ".join(said), here)


def _judged(what: str, found: str, provider: str, said: str, here: Installation) -> Finding:
    """Whether it runs where it should."""
    wanted = here.config.segmentation
    on_cpu = provider == "CPU" or (provider.startswith("OpenVINO") and wanted.device != "openvino")
    if not on_cpu or wanted.device == "cpu":
        return Finding(what, "ok", found)
    level: Level = "wrong" if wanted.require else "warning"
    if said:
        return Finding(what, level, found, said)
    if any(path.exists() for path in _NVIDIA):
        advice = "onnxruntime without CUDA is installed: `make setup EXTRA=gpu` uses the GPU."
        return Finding(what, level, f"{found}, though there is an NVIDIA GPU", advice)
    if wanted.require:
        advice = "The daemon will not start: set `segmentation.require: false`, or give it a GPU."
        return Finding(what, "wrong", f"{found}, and segmentation.require is true", advice)
    return Finding(what, "ok", found)


def _picture() -> NDArray[np.uint8]:
    """A dark disc on a light, noisy ground."""
    height, width = _SIZE
    y, x = np.ogrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2
    noise = np.random.default_rng(0).normal(0, 6, _SIZE)
    return np.clip(np.where(inside, 70, 190) + noise, 0, 255).astype(np.uint8)


def _found_it(probability: NDArray[np.float32]) -> bool:
    height, width = _SIZE
    corner = probability[: height // 10, : width // 10]
    return bool(probability[height // 2, width // 2] > 0.5 > corner.mean())


def cellprofiler(here: Installation) -> Iterator[Finding]:
    """Whether CellProfiler starts and takes the configured pipeline."""
    try:
        info = environment.check(here.home)
    except SpheroiddError as error:
        yield Finding("CellProfiler", "wrong", error.message, error.hint)
        return
    if info.current:
        yield Finding("CellProfiler", "ok", f"{info.cellprofiler} on {info.python}")
    else:
        yield Finding(
            "CellProfiler",
            "warning",
            f"{info.cellprofiler}, installed by another version of spheroidd",
            environment.INSTALL_HINT,
        )
    yield _pipeline(here)


def _pipeline(here: Installation) -> Finding:
    what = f"pipeline {here.config.measurement.pipeline}"
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="spheroidd-doctor-") as scratch:
            engine = begin_engine(here.config, here.home, Path(scratch), _silent())
            try:
                protocol = warm_engine(engine, here.config, here.home, _silent())
            finally:
                engine.stop()
    except SpheroiddError as error:
        return Finding(what, "wrong", error.message, error.hint)
    seconds = time.perf_counter() - began
    measures = f"measures {protocol.object_name}"
    return Finding(what, "ok", f"{measures}; CellProfiler was ready with it in {seconds:.1f} s")


def _silent() -> Any:
    """A logger for parts that want one; what matters they raise."""

    def drop(*_: object) -> dict[str, object]:
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[drop])
