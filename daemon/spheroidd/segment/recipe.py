"""What every mask is made with, and the making of one."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spheroidd.segment.finding import Finder
from spheroidd.segment.mask import on_white, write_mask, write_white
from spheroidd.store.results import SegmentationRecord, StoredSegmentation

# Counts up whenever the same model would give another mask than before.
_EDITION = 1
_LANES = 2  # while the model has one image, the next is read and the last one written


@dataclass(frozen=True)
class Recipe:
    """Finder and program version; `finder` is None with `model: none`.  `white`: the image on
    white is wanted, too."""

    finder: Finder | None
    version: str
    white: bool = True

    @property
    def lanes(self) -> int:
        """How many images to have in hand at once: on a GPU as many as feed it, or there are
        cores; else two."""
        most = self.finder.most_at_once if self.finder else 1
        return max(_LANES, min(most, len(os.sched_getaffinity(0))))

    @property
    def refinement(self) -> str | None:
        """What makes the mask more than a threshold; None where nothing does."""
        if self.finder is None:
            return None
        named = []
        if self.finder.refine:
            second = self.finder.second.model if self.finder.second else None
            by = f" with {second.name} {(second.md5 or '')[:8]}".rstrip() if second else ""
            named.append(f"refined/{_EDITION}{by}")
        if self.finder.dense:
            named.append(f"dense/{_EDITION}")
        return ", ".join(named) or None

    def apply(
        self, pixels: NDArray[np.uint8], root: Path, mask: Path, white: Path, started: float
    ) -> SegmentationRecord:
        """Segment one image and write its mask and, if wanted, the image on white.

        Args:
            pixels: uint8, H×W or H×W×3.
            root: the state folder, which `mask` and `white` are relative to.
            started: `time.perf_counter()` when the work on the image began.

        Raises:
            ModelError: the model failed on it.
        """
        if self.finder is None:
            return self._without_model(time.perf_counter() - started)
        found = self.finder.find(pixels)
        write_mask(root / mask, found.mask)
        if self.white:
            write_white(root / white, on_white(pixels, found.alpha))
        session = self.finder.first
        return SegmentationRecord(
            model=session.model.name,
            model_md5=session.model.md5,
            threshold=self.finder.threshold,
            provider=session.provider,
            peak_probability=round(found.peak, 6),
            foreground_px=int(np.count_nonzero(found.mask)),
            mask_path=str(mask),
            white_path=str(white) if self.white else None,
            seconds=time.perf_counter() - started,
            version=self.version,
            refinement=self.refinement,
            evidence={name: round(value, 6) for name, value in found.evidence.items()},
        )

    def pictures(self, made: SegmentationRecord | StoredSegmentation) -> list[str | None]:
        """The pictures that CellProfiler may ask for, as a segmentation has them: None where one
        was not made, or is not kept any more."""
        if self.finder is None:
            return []
        return [made.mask_path, made.white_path] if self.white else [made.mask_path]

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
