"""Pixels of images that were just taken in, so that segmenting them reads no file again."""

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Forty images of three megapixels; what comes faster than it is segmented is read twice.
_MOST_BYTES = 128_000_000
_OLD_SECONDS = 300.0


class Fresh:
    """Keeps a bounded amount, in memory alone: whoever finds nothing here reads the file.

    Threads may share it.  `more` is set whenever there is an image more to segment.
    """

    def __init__(
        self,
        most_bytes: int = _MOST_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most_bytes
        self._monotonic = monotonic
        # image → since when; the oldest first
        self._kept: dict[int, tuple[float, NDArray[np.uint8]]] = {}
        self._turn = threading.Lock()
        self.more = threading.Event()

    def keep(self, image_id: int, pixels: NDArray[np.uint8]) -> None:
        """Keep an image if there is room: those that came first are wanted first."""
        now = self._monotonic()
        with self._turn:
            held = sum(kept.nbytes for _, kept in self._kept.values())
            for known, (since, kept) in list(self._kept.items()):
                if held + pixels.nbytes <= self._most or now - since < _OLD_SECONDS:
                    break
                del self._kept[known]  # superseded, or left behind by a flood
                held -= kept.nbytes
            if held + pixels.nbytes <= self._most:
                self._kept[image_id] = (now, pixels)

    def take(self, image_id: int) -> NDArray[np.uint8] | None:
        """An image's pixels, given once; None where they are not kept."""
        with self._turn:
            _, pixels = self._kept.pop(image_id, (0.0, None))
        return pixels
