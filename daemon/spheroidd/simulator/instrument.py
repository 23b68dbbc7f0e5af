"""An imaging instrument that exports as Cell-IQ does: a folder per well, an image at a time.

Images appear under their final name and grow in pieces, as a slow instrument writes them over a
network share; whoever watches the folder sees unfinished files.
"""

import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from spheroidd.errors import SpheroiddError
from spheroidd.simulator.plan import Shot
from spheroidd.simulator.scene import survey
from spheroidd.simulator.truth import TRUTH_NAME, Truth, append_truth, read_truth

QUALITY = 92


@dataclass(frozen=True)
class Exposure:
    """A picture taken: the JPEG file's bytes, and the exact areas on it.

    `area_px` is of the spheroid, `area_all_px` of it and all others in the well.
    """

    jpeg: bytes
    area_px: int
    area_all_px: int


def shoot(shot: Shot) -> Exposure:
    """Take one picture: 8-bit gray JPEG; the truth is counted before compression."""
    picture, labels = survey(shot.scene, shot.size)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return Exposure(file.getvalue(), int((labels == 1).sum()), int((labels > 0).sum()))


class Instrument:
    """Takes the planned pictures one after another and writes them to its export folder.

    Beside the pictures it keeps `truth.csv`: a row for every picture that is complete. Pictures
    that have a row are not taken again, so a stopped instrument can be started where it stopped.

    Args:
        to: the export folder; made if missing.
        shots: what to photograph, in this order.
        interval_seconds: from the start of one picture to the start of the next.
        pieces: how many pieces each file is written in.
        pause_seconds: between two pieces.
    """

    def __init__(
        self,
        to: Path,
        shots: Sequence[Shot],
        *,
        interval_seconds: float = 1.0,
        pieces: int = 4,
        pause_seconds: float = 0.05,
    ) -> None:
        if interval_seconds < 0 or pause_seconds < 0 or pieces < 1:
            raise SpheroiddError(
                f"The instrument can't write {pieces} pieces, {pause_seconds} s apart, "
                f"every {interval_seconds} s.",
                "Use at least one piece, and times that are not negative.",
            )
        self.to = to
        self.truth_path = to / TRUTH_NAME
        self.shots = tuple(shots)
        self.interval_seconds = interval_seconds
        self.pieces = pieces
        self.pause_seconds = pause_seconds

    def run(
        self,
        stop: threading.Event,
        on_written: Callable[[Path, Truth], object] = lambda _path, _truth: None,
    ) -> int:
        """Take the pictures until all are there or `stop` is set.

        A picture begun when `stop` is set is completed at once, without further pauses.

        Args:
            stop: ends the run; may be set from any thread.
            on_written: called with each picture's path and truth once both are on the disk.

        Returns:
            How many pictures were written by this run.

        Raises:
            SpheroiddError: the folder can't be written, or holds a `truth.csv` of another kind.
        """
        written = 0
        for shot in self._remaining():
            if stop.is_set():
                break
            due = time.monotonic() + self.interval_seconds
            path, truth = self._take(shot, stop)
            written += 1
            on_written(path, truth)
            stop.wait(max(0.0, due - time.monotonic()))
        return written

    def _remaining(self) -> list[Shot]:
        if not self.truth_path.exists():
            return list(self.shots)
        done = {row.image_path for row in read_truth(self.truth_path)}
        return [shot for shot in self.shots if str(shot.path) not in done]

    def _take(self, shot: Shot, stop: threading.Event) -> tuple[Path, Truth]:
        exposure = shoot(shot)
        path = self.to.joinpath(*shot.path.parts)
        truth = Truth(
            plate=shot.plate,
            well=shot.well,
            timepoint=shot.frame,
            hours=shot.hours,
            kind=shot.kind,
            image_path=str(shot.path),
            area_px=exposure.area_px,
            area_all_px=exposure.area_all_px,
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, exposure.jpeg, stop)
            append_truth(self.truth_path, truth)
        except OSError as error:
            raise SpheroiddError(
                f"Can't write to {error.filename or self.to}: {error.strerror}.",
                "Choose a folder that exists or can be made, with room for the images.",
            ) from error
        return path, truth

    def _write(self, path: Path, content: bytes, stop: threading.Event) -> None:
        size = -(-len(content) // self.pieces)
        with path.open("wb") as file:
            for start in range(0, len(content), size):
                if start:
                    stop.wait(self.pause_seconds)
                file.write(content[start : start + size])
                file.flush()
