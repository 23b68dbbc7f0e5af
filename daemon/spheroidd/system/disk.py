"""Is there room to go on?  Work pauses before the disk is full, not after."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LOOK_AGAIN_SECONDS = 5.0
_RESUME_AT = 1.1  # × the reserve, so that it does not pause and resume with every image
GB = 1e9


class Reserve:
    """The free space that is left alone, on the disk that holds a folder."""

    def __init__(
        self,
        folder: Path,
        reserve_gb: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._reserve = reserve_gb * GB
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._next_look = -float("inf")
        self._short = ""
        self.free_bytes = 0

    def short(self) -> str:
        """In words, that too little is free; empty: there is room.

        Looks at the disk every few seconds.  A disk that can't be asked is not short: whoever
        writes to it will hear of it.
        """
        with self._turn:
            now = self._monotonic()
            if now >= self._next_look:
                self._next_look = now + _LOOK_AGAIN_SECONDS
                self._look()
            return self._short

    def _look(self) -> None:
        try:
            self.free_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            return
        limit = self._reserve * (_RESUME_AT if self._short else 1)
        self._short = (
            f"only {self.free_bytes / GB:.2f} GB are free for {self._folder}, "
            f"and disk.reserve_gb is {self._reserve / GB:g}"
            if self.free_bytes < limit
            else ""
        )
