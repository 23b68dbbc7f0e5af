"""The same models in OpenVINO, which on many CPUs is faster than onnxruntime."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ModelError
from spheroidd.segment.accelerator import RunFailedError
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.rembg_session import return_memory
from spheroidd.segment.specimen import specimen
from spheroidd.segment.stock import Model
from spheroidd.segment.treatment import Treatment, learn
from spheroidd.segment.warm_model import WarmModel

PLAIN = "OpenVINO"
_HALF = "f16"


def installed() -> str | None:
    """OpenVINO's version; None where it is not installed."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


class OpenVinoSession(WarmModel):
    """A model compiled by OpenVINO for this CPU.  Threads may share it."""

    def __init__(self, model: Model, treatment: Treatment, compiled: Any, *, half: bool) -> None:
        """
        Args:
            compiled: OpenVINO's compiled model, with one output.
        """
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        provider = PLAIN if precision == "f32" else f"{PLAIN} {precision}"
        super().__init__(model, treatment, provider, half=half)
        self._request = compiled.create_infer_request()

    def _first_output(self, feed: NDArray[Any]) -> NDArray[Any]:
        try:
            with self._turn:
                self._request.infer({0: feed}, share_inputs=True)
                # The request writes its next output to the same place.
                return np.array(self._request.get_output_tensor(0).data)
        except RuntimeError as error:
            raise RunFailedError(f"{self.model.name} failed on {self.provider}: {error}") from error


def load_openvino(
    model: Model, home: Path, threads: int, cache: Path | None, *, half: bool
) -> OpenVinoSession:
    """Compile a model for this CPU; it has not run yet.

    Args:
        home: the program's data home.
        threads: of the CPU, within one run.
        cache: a folder for the compiled model, so that the next start is quicker; None: none.
        half: compute with 16 bits where the CPU does so natively; the session's `provider`
            tells.  Not every model bears it.

    Raises:
        ModelError: OpenVINO is not there, or can't load the model.
    """
    if installed() is None:
        raise ModelError("OpenVINO is not installed.", "Install `openvino` beside onnxruntime.")
    if not model.path.is_file():
        raise ModelError(f"The weights of {model.name} are gone from {model.path}.")
    treatment = learn(_rembgs(model, home))
    try:
        core = quiet_openvino().Core()
        graph = core.read_model(model.path)
        for result in graph.get_results()[1:]:  # and with it all that only it needs
            graph.remove_result(result)
        graph.reshape(list(treatment.feed(specimen()).shape))
        compiled = core.compile_model(graph, "CPU", _settings(core, threads, cache, half=half))
        halved = graph.input(0).get_element_type().get_type_name() == _HALF
        session = OpenVinoSession(model, treatment, compiled, half=halved)
    except Exception as error:  # OpenVINO raises whatever comes, mostly RuntimeError
        raise ModelError(f"{model.name} could not be loaded in OpenVINO: {error}") from error
    return_memory()
    return session


def quiet_openvino() -> Any:
    """OpenVINO, without the package that tells its makers of every import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 - heavy, and not for everyone who imports this module

    return openvino


def _settings(core: Any, threads: int, cache: Path | None, *, half: bool) -> dict[str, Any]:
    native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Threads that are tied to cores wait there for CellProfiler's worker.
        "ENABLE_CPU_PINNING": False,
        # Half the bits only where the CPU computes with them: elsewhere it is slower.
        "INFERENCE_PRECISION_HINT": "bf16" if half and "BF16" in native else "f32",
    }
    return settings | ({"CACHE_DIR": str(cache)} if cache else {})


def _rembgs(model: Model, home: Path) -> Any:
    """rembg's session for a model, without what makes it large: the model in onnxruntime."""
    with rembg_home(home):
        from rembg.sessions import sessions_class  # noqa: PLC0415

    kind = next(kind for kind in sessions_class if kind.name() == model.session)
    return kind.__new__(kind)


def cpu_named() -> str:
    """What OpenVINO's and onnxruntime's speed depend on: the CPU's name and abilities."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features")
    found = dict(line.split(":", 1) for line in text.splitlines() if line.startswith(wanted))
    return " ".join(" ".join(value.split()) for value in found.values())
