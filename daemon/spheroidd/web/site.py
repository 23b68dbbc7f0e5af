"""What every route gets: the state folder, ways to read it, who may look."""

import contextlib
import os
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection
from structlog.typing import FilteringBoundLogger

from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader

if TYPE_CHECKING:
    from spheroidd.web.access import Access
    from spheroidd.web.band import Bands
    from spheroidd.web.curves import Curves
    from spheroidd.web.live import Live
    from spheroidd.web.overview import Glances
    from spheroidd.web.pictures import Pictures

_KEPT = 8  # connections that wait for the next question


class Readers:
    """Read-only connections, lent to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._free: queue.LifoQueue[tuple[int, Reader]] = queue.LifoQueue()

    @contextlib.contextmanager
    def get(self) -> Iterator[Reader]:
        """A connection to the database as it lies there now: it may have been restored since.

        Raises:
            StoreError: it can't be read; says what to do.
        """
        inode, reader = self._take()
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        if self._free.qsize() < _KEPT:
            self._free.put((inode, reader))
        else:
            reader.close()

    def close(self) -> None:
        """Close all that are not lent."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait()[1].close()

    def _take(self) -> tuple[int, Reader]:
        now = self.inode
        with contextlib.suppress(queue.Empty):
            while True:
                inode, reader = self._free.get_nowait()
                if inode == now:
                    return inode, reader
                reader.close()
        return now, Reader(self.path)

    @property
    def inode(self) -> int:
        """Which file the database is; 0 where there is none."""
        try:
            return os.stat(self.path).st_ino  # noqa: PTH116 - one call for each question
        except OSError:
            return 0


@dataclass(frozen=True)
class Site:
    """All that the routes share."""

    folder: StateFolder
    readers: Readers
    curves: "Curves"
    bands: "Bands"
    glances: "Glances"
    live: "Live"
    pictures: "Pictures"
    access: "Access"
    clock: Callable[[], float]
    log: FilteringBoundLogger


def site_of(request: HTTPConnection) -> Site:
    """The site that a request came to; a dependency of every route."""
    return cast("Site", request.app.state.site)


OnSite = Annotated[Site, Depends(site_of)]
