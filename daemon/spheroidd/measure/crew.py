"""Several workers of CellProfiler at once: how many, and what their stages share."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

# A worker takes some 250 MB with ordinary images, and more with large ones.
_MEMORY_EACH = 600_000_000
_CORES_EACH = 4  # the models take most of the machine, and a worker measures faster than they
_MOST = 4
_REMEMBERED = 10_000  # images that failed CellProfiler as a whole


def workers_for(cores: int, memory_bytes: int, wanted: int | Literal["auto"]) -> int:
    """How many workers to have.

    Args:
        cores: that this process may use.
        memory_bytes: what is free for them.
        wanted: so many, whatever the machine is; or by cores and memory.
    """
    if wanted != "auto":
        return wanted
    return max(1, min(cores // _CORES_EACH, memory_bytes // _MEMORY_EACH, _MOST))


def free_memory() -> int:
    """Bytes that processes can have before others must give some up."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass  # not Linux
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Crew:
    """What the stages of several workers know together; from any thread.

    Attributes:
        turn: held while a batch is decided on and claimed, or two would share one batch.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._begun = False
        self._went_well = 0  # batches in which an image went well
        self._failed_at: dict[int, int] = {}  # image → `_went_well` when it failed a worker

    def once(self, work: Callable[[], None]) -> None:
        """Do what is to be done before the first batch of all; the others wait for it."""
        with self._lock:
            if not self._begun:
                self._begun = True
                work()

    def well(self, ids: Sequence[int]) -> int:
        """These images went well; gives the time of it, for `is_to_blame`."""
        with self._lock:
            for image in ids:
                self._failed_at.pop(image, None)
            self._went_well += 1
            return self._went_well

    def failed(self, ids: Sequence[int]) -> None:
        """With these images in its hands a worker failed."""
        with self._lock:
            self._failed_at.update(dict.fromkeys(ids, self._went_well))
            while len(self._failed_at) > _REMEMBERED:  # the forgotten are only tried longer
                del self._failed_at[next(iter(self._failed_at))]

    def is_to_blame(self, image: int, well_at: int) -> bool:
        """Whether it is the image that fails the worker, and not the worker: it has done so
        before, and since then this same worker has measured others well.

        Args:
            well_at: when the worker that it fails now went well the last time; 0: never.
        """
        with self._lock:
            return self._failed_at.get(image, well_at) < well_at
