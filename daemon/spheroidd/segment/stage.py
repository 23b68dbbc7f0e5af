"""The stage that segments: a few images in hand, all through the one warm session.

`ready → segmented`.  Leaves, per image, the mask, the white-background image, and the
8-bit original for CellProfiler, so that nothing depends on the instrument's file any more.
"""

import errno
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from spheroidd.errors import AcceleratorLostError, SpheroiddError
from spheroidd.segment.lanes import Lanes
from spheroidd.segment.recipe import Recipe
from spheroidd.store.files import whole
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import ClaimLostError, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable
from spheroidd.store.results import Results, SegmentationRecord

# None: numpy and Pillow say "could not write" without a number.
_DISK_TROUBLE = (
    None,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)
_CLEAR_SECONDS = 3600.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Flow:
    """Which images come next, and how many at once.

    Attributes:
        lanes: how many may be in hand, see `Recipe.lanes`.
        newest_first: of a backlog; live images go in their order, before all others.
        segmented: called, from any thread, when there is an image more to measure.
    """

    lanes: int = 2
    newest_first: bool = False
    segmented: Callable[[], None] = lambda: None


class SegmentStage:
    """Claims ready images: live ones first, the oldest first."""

    def __init__(
        self,
        ledger: Ledger,
        results: Results,
        folder: StateFolder,
        read: Callable[[Image], Pixels],
        recipe: Recipe,
        log: FilteringBoundLogger,
        flow: Flow = Flow(),
    ) -> None:
        """
        Args:
            read: gives an image's 8-bit pixels, or raises ImageError; InterruptedError where
                it was told to wait no longer.
        """
        self._ledger = ledger
        self._results = results
        self._folder = folder
        self._read = read
        self._recipe = recipe
        self._log = log
        self._flow = flow
        self._lanes = Lanes(flow.lanes, self._work)
        self._claimed: deque[Image] = deque()
        self._cleared_at = 0.0

    def start(self, now: float) -> None:
        """Clear away what a killed daemon left half done."""
        self._clear_handover(now)
        for well in {(image.plate, image.well) for image in self._ledger.in_state("ready")}:
            for path in (self._folder.root / self._folder.well(*well)).glob(".*.part"):
                path.unlink()

    def redo_incomplete(self, now: float) -> int:
        """Take images back to `ready` where what CellProfiler needs of them is not all there.

        Before the loops start: CellProfiler's stage must not claim them first.
        """
        handed = self._ledger.in_state("segmented")
        missing = [image.id for image in handed if not self._is_complete(image)]
        self._ledger.segment_again(missing, now)
        return len(missing)

    def _clear_handover(self, now: float) -> None:
        """Originals of images that were superseded on their way; only this stage writes here."""
        self._cleared_at = now
        wanted = {self._folder.original(image_id) for image_id in self._ledger.handed_over()}
        for path in self._folder.handover.iterdir():
            if path not in wanted:
                path.unlink()

    def _is_complete(self, image: Image) -> bool:
        """Whether CellProfiler can have what this recipe promises: another model, or none,
        may have been configured when the image was segmented."""
        pictures = self._recipe.pictures(self._results.segmentation(image.id))
        return self._folder.original(image.id).is_file() and all(
            path is not None and (self._folder.root / path).is_file() for path in pictures
        )

    def step(self, now: float) -> bool:
        """Keep every lane busy until one image is through; returns whether there was any."""
        if not self._claimed and self._lanes.free:
            claimed = self._ledger.claim_ready(
                now, limit=self._flow.lanes, newest_first=self._flow.newest_first
            )
            self._claimed.extend(claimed)
        while self._claimed and self._lanes.fits(self._claimed[0]):
            self._lanes.begin(self._claimed.popleft(), now)
        if self._lanes.busy:
            self._lanes.wait_for_one()
            return True
        if abs(now - self._cleared_at) > _CLEAR_SECONDS:
            self._clear_handover(now)
        return False

    def hand_back(self) -> None:
        """Give up the claims that a step which raised still holds."""
        self._lanes.drain()
        self._claimed.clear()
        self._ledger.recover("ready")

    def stop(self) -> None:
        """Let the lanes end; what they have in hand is through, or handed back."""
        self._lanes.end()

    def _work(self, image: Image, now: float) -> None:
        log = self._log.bind(plate=image.plate, well=image.well, path=printable(image.path))
        started = time.perf_counter()
        try:
            record = self._segment(image, started)
            self._results.segmented(image, record, now)
        except (sqlite3.Error, AcceleratorLostError):
            raise  # the disk's or the device's trouble, not the image's: the loop hands it back
        except InterruptedError:  # told to stop while its folder did not answer
            self._ledger.release([image.id])
        except ClaimLostError:
            # Its original may be handed over by whoever moved it on; `_clear_handover` removes
            # the ones that nobody wants.
            log.info("moved on by somebody else while it was segmented")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
                raise  # as above
            # A model may choke on one image in ways of its own; the others go on.
            known = isinstance(error, SpheroiddError)
            reason = str(error) if known else f"segmentation failed: {error!r}"
            again = self._ledger.fail(
                image,
                reason,
                now,
                permanent=getattr(error, "permanent", False),
                for_ever=getattr(error, "unreachable", False),
            )
            log.error("segmentation failed", reason=reason, again=again, exc_info=not known)
        else:
            self._flow.segmented()
            log.info(
                "segmented",
                seconds=round(record.seconds, 3),
                peak_probability=record.peak_probability,
                foreground_px=record.foreground_px,
            )

    def _segment(self, image: Image, started: float) -> SegmentationRecord:
        pixels = self._read(image)
        with whole(self._folder.original(image.id)) as temporary, temporary.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
        mask, white = (self._path(image, kind) for kind in ("mask", "white"))
        return self._recipe.apply(pixels, self._folder.root, mask, white, started)

    def _path(self, image: Image, kind: str) -> Path:
        path = self._folder.image(image.plate, image.well, image.name, image.id, kind)
        (self._folder.root / path).parent.mkdir(parents=True, exist_ok=True)
        return path
