"""onnxruntime or OpenVINO on this CPU?  Tried once with each model, and remembered.

Both segment the same drawn spheroid.  OpenVINO is taken where its map is the same (with 16 bits
where the CPU has them; where a model does not bear that, with 32) and, unless it was asked for by
name, where it is clearly quicker.  What was measured is kept beside the compiled model; it holds
until the model, either library, the CPU, the threads or this program changes, or until OpenVINO
draws another map at a later start.
"""

import base64
import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd import __version__
from spheroidd.errors import ModelError
from spheroidd.segment.openvino_session import PLAIN, OpenVinoSession, cpu_named, installed
from spheroidd.segment.rembg_session import FAR, return_memory
from spheroidd.segment.specimen import specimen
from spheroidd.segment.stock import Model
from spheroidd.segment.warm_model import WarmModel
from spheroidd.store.files import whole

SAME = 0.995  # intersection over union of the two masks
_QUICKER = 0.9  # of onnxruntime's time: less is within what a busy machine scatters
_RUNS = 3
_LEVELS = 255  # of the remembered map: finer than any bound here
_THRESHOLD = 0.5

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """How alike two maps of the specimen are.

    Attributes:
        overlap: intersection over union of the masks; 0 where the first one is empty, for
            nothing can be told from that.
        apart: the largest difference of two probabilities.
    """

    overlap: float
    apart: float

    @property
    def enough(self) -> bool:
        return self.overlap >= SAME and self.apart <= FAR

    def __str__(self) -> str:
        return f"masks agree to {self.overlap:.4f}, maps to {self.apart:.3f}"


def likeness(one: Map, other: Map) -> Likeness:
    """Compare two maps of the same size."""
    first, second = one > _THRESHOLD, other > _THRESHOLD
    union = int((first | second).sum())
    overlap = float((first & second).sum()) / union if first.any() else 0.0
    return Likeness(overlap, float(np.abs(one - other).max()))


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        since: when, ISO 8601, UTC.
        provider: OpenVINO's, with its precision.
        half: whether 16 bits were allowed.
        seconds, seconds_openvino: for an image, on onnxruntime's CPU and on OpenVINO.
        overlap, apart: see `Likeness`.
        reference: onnxruntime's map, packed.
    """

    since: str
    provider: str
    half: bool
    seconds: float
    seconds_openvino: float
    overlap: float
    apart: float
    reference: str

    def verdict(self, *, asked_for: bool) -> tuple[bool, str]:
        """Whether OpenVINO is used, and why, with the figures."""
        alike = Likeness(self.overlap, self.apart)
        figures = (
            f"{self.seconds_openvino:.3f} s an image on {self.provider}, {self.seconds:.3f} s on "
            f"onnxruntime's CPU, {alike}, tried {self.since}"
        )
        if not alike.enough:
            return False, f"{self.provider} draws another map: {figures}"
        if asked_for or self.seconds_openvino <= _QUICKER * self.seconds:
            return True, figures
        return False, f"{self.provider} is not clearly quicker: {figures}"

    def holds_for(self, session: WarmModel) -> bool:
        """Whether a session's map of the specimen is still like the reference's."""
        try:
            found = session.probabilities(specimen())
            packed = zlib.decompress(base64.b64decode(self.reference))
            known = np.frombuffer(packed, np.uint8).reshape(found.shape).astype(np.float32)
        except (ModelError, ValueError, zlib.error):
            return False
        return likeness(known / np.float32(_LEVELS), found).enough


def _timed(session: WarmModel) -> tuple[float, Map]:
    """Seconds of a warm session with the specimen, and its map.

    The best of a few: what else the machine does can only make it slower.
    """
    image, taken = specimen(), []
    for _ in range(_RUNS):
        began = time.perf_counter()
        found = session.probabilities(image)
        taken.append(time.perf_counter() - began)
    return min(taken), found


def _like(session: OpenVinoSession, reference: Map) -> tuple[OpenVinoSession, Likeness]:
    return session, likeness(reference, session.probabilities(specimen()))


def hold(
    on_cpu: Callable[[], WarmModel], on_openvino: Callable[[bool], OpenVinoSession]
) -> tuple[Trial, OpenVinoSession]:
    """Try both, one after the other, so that only one model is in memory at a time.

    Args:
        on_openvino: given whether 16 bits are allowed.

    Raises:
        ModelError: one of them can't be loaded, or does not run.
    """
    seconds, reference = _timed(on_cpu())
    return_memory()
    half, session, alike = True, *_like(on_openvino(True), reference)
    if not alike.enough and session.provider != PLAIN:
        del session
        half, session, alike = False, *_like(on_openvino(False), reference)
    seconds_openvino, _ = _timed(session)
    levels = np.rint(reference * _LEVELS).astype(np.uint8)
    trial = Trial(
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        provider=session.provider,
        half=half,
        seconds=round(seconds, 4),
        seconds_openvino=round(seconds_openvino, 4),
        overlap=round(alike.overlap, 5),
        apart=round(alike.apart, 4),
        reference=base64.b64encode(zlib.compress(levels.tobytes())).decode(),
    )
    return trial, session


class Memory:
    """The trial of one model on this machine, in a folder of its own."""

    def __init__(self, cache: Path | None, model: Model, threads: int) -> None:
        """
        Args:
            cache: of all models; None: nothing is remembered.
        """
        self.folder = cache / model.md5 if cache else None
        self._key = {
            "model": model.md5,
            "onnxruntime": _onnxruntime(),
            "openvino": installed(),
            "cpu": cpu_named(),
            "threads": threads,
            "spheroidd": __version__,
        }

    def recall(self) -> Trial | None:
        """What was measured under the same conditions; None where nothing usable is there."""
        if self.folder is None:
            return None
        try:
            kept = json.loads((self.folder / "trial.json").read_text(encoding="utf-8"))
            trial = Trial(**kept["trial"])
            trial.verdict(asked_for=False)  # a figure that is no number shows here
            return trial if kept["key"] == self._key else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def forget(self) -> None:
        """Empty the folder: what was compiled for other conditions is not needed any more."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, trial: Trial) -> None:
        """Remember a trial; a folder that can't be written only costs the next start time."""
        if self.folder is None:
            return
        kept: dict[str, Any] = {"key": self._key, "trial": asdict(trial)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole(self.folder / "trial.json") as temporary:
                temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        except OSError:
            return


def _onnxruntime() -> str:
    import onnxruntime  # noqa: PLC0415 - the wheel has several names

    return str(onnxruntime.__version__)
