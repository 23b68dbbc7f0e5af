"""What every mask is made with, and the making of one."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spheroidd.segment.mask import segment, write_mask, write_white
from spheroidd.segment.session import Session
from spheroidd.store.results import SegmentationRecord


@dataclass(frozen=True)
class Recipe:
    """Model, threshold and program version; `session` is None with `model: none`."""

    session: Session | None
    threshold: float
    version: str

    def apply(
        self, pixels: NDArray[np.uint8], root: Path, mask: Path, white: Path, started: float
    ) -> SegmentationRecord:
        """Segment one image and write its two pictures.

        Args:
            pixels: uint8, H×W or H×W×3.
            root: the state folder, which `mask` and `white` are relative to.
            started: `time.perf_counter()` when the work on the image began.

        Raises:
            ModelError: the model failed on it.
        """
        if self.session is None:
            return self._without_model(time.perf_counter() - started)
        found = segment(pixels, self.session.probabilities(pixels), self.threshold)
        write_mask(root / mask, found.mask)
        write_white(root / white, found.white)
        return SegmentationRecord(
            model=self.session.model.name,
            model_md5=self.session.model.md5,
            threshold=self.threshold,
            provider=self.session.provider,
            peak_probability=round(found.peak_probability, 6),
            foreground_px=found.foreground_px,
            mask_path=str(mask),
            white_path=str(white),
            seconds=time.perf_counter() - started,
            version=self.version,
        )

    def _without_model(self, seconds: float) -> SegmentationRecord:
        return SegmentationRecord(
            model="none",
            model_md5=None,
            threshold=None,
            provider=None,
            peak_probability=None,
            foreground_px=None,
            mask_path=None,
            white_path=None,
            seconds=seconds,
            version=self.version,
        )
