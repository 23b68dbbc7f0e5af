"""What changes goes to every open page, computed once for all of them.

    the database changes ─▶ which wells? ─▶ `wells` to whoever looks at their plate
                                        └─▶ `status` to everybody, at most once in a while

A viewer who can't keep up is let go; its page comes back by itself and asks for everything.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import SpheroiddError
from spheroidd.store.changes import changes_since, data_version, newest
from spheroidd.store.reader import Reader
from spheroidd.web.curves import Curves
from spheroidd.web.encoding import encoded
from spheroidd.web.site import Readers

LOOK_SECONDS = 0.5
PING_SECONDS = 10.0
# The overview may cost a tenth of this process's time, and no more.
_STATUS_SECONDS, _STATUS_SHARE = 1.0, 10.0
_STATUS_ANYWAY = 10.0  # ages grow though nothing happens
_WAITING = 64  # events that a slow viewer may leave unread
_MOST_VIEWERS = 500

Overview = Callable[[Reader], dict[str, Any]]


@dataclass(eq=False)
class _Viewer:
    plate: str | None
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[bytes | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=_WAITING)
    )

    def put(self, event: bytes | None) -> None:
        """From the event loop."""
        if self.events.full():  # it does not read: the page starts anew when it is back
            while not self.events.empty():
                self.events.get_nowait()
            event = None
        self.events.put_nowait(event)


class Live:
    """One thread that looks, any number of viewers that are told."""

    def __init__(
        self,
        readers: Readers,
        curves: Curves,
        overview: Overview,
        log: FilteringBoundLogger,
    ) -> None:
        """
        Args:
            overview: everything the overview shows, in plain values.
        """
        self._readers = readers
        self._curves = curves
        self._overview = overview
        self._log = log
        self._viewers: set[_Viewer] = set()
        self._turn = threading.RLock()  # signal handlers take it, too, wherever they interrupt
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._inode = 0
        self._version: int | None = None
        self._seq = 0
        self._reader: Reader | None = None
        self._status_at, self._status_took = -_STATUS_ANYWAY, 0.0
        self._status_due = True
        self._ping_at = 0.0
        self._failed = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """End all viewers, and take no more; at once, from any thread."""
        self._stop.set()
        for viewer in self._watching():
            self._send(viewer, None)

    def stop(self) -> None:
        """The same, and end the thread; safe to call twice."""
        self.let_go()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def events(self, plate: str | None) -> AsyncIterator[bytes]:
        """Server-sent events for one viewer, until it goes.

        Args:
            plate: whose wells it wants to be told of; None: the overview alone.
        """
        viewer = _Viewer(plate, asyncio.get_running_loop())
        with self._turn:
            full = len(self._viewers) >= _MOST_VIEWERS or self._stop.is_set()
            if not full:
                self._viewers.add(viewer)
        self._status_due = True
        if full:  # it tries again, in its time
            return
        try:
            yield _HELLO
            while (event := await viewer.events.get()) is not None:
                yield event
        finally:
            with self._turn:
                self._viewers.discard(viewer)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
                self._failed = ""
            except Exception as error:
                self._close()
                if str(error) != self._failed:  # once, not twice a second
                    self._failed = str(error)
                    known = isinstance(error, SpheroiddError | sqlite3.Error | OSError)
                    self._log.warning("live view waits", reason=str(error), exc_info=not known)

    def _look(self) -> None:
        """One look at the database; where nothing has changed hardly anything is read.

        Without viewers, too: who comes must miss nothing from the first moment.
        """
        reader = self._open()
        version = data_version(reader)
        if version != self._version:
            self._version = version
            self._status_due = True
            self._tell_changes(reader)
        if self._viewers:
            self._tell_status(reader)
            self._ping()

    def _tell_changes(self, reader: Reader) -> None:
        changed: dict[str, list[str]] = {}
        for plate, well, seq in changes_since(reader, self._seq):
            changed.setdefault(plate, []).append(well)
            self._seq = max(self._seq, seq)
        for plate, wells in changed.items():
            self._tell_wells(plate, wells)

    def _tell_wells(self, plate: str, wells: Sequence[str]) -> None:
        viewers = [viewer for viewer in self._watching() if viewer.plate == plate]
        if viewers:
            event = _event("wells", self._curves.wells_json(plate, wells))
            for viewer in viewers:
                self._send(viewer, event)

    def _tell_status(self, reader: Reader) -> None:
        waited = time.monotonic() - self._status_at
        least = max(_STATUS_SECONDS, _STATUS_SHARE * self._status_took)
        if waited < least or not (self._status_due or waited > _STATUS_ANYWAY):
            return
        began = time.thread_time()
        event = _event("status", self._overview(reader))
        self._status_took = time.thread_time() - began
        self._status_at, self._status_due = time.monotonic(), False
        for viewer in self._watching():
            self._send(viewer, event)

    def _ping(self) -> None:
        """Only after a look that went well: no page shall call itself live when it is not."""
        if time.monotonic() - self._ping_at >= PING_SECONDS:
            self._ping_at = time.monotonic()
            for viewer in self._watching():
                self._send(viewer, _event("ping", {}))

    def _open(self) -> Reader:
        """The connection of this thread: another file may lie there after `restore`.

        What it holds by now is not told one by one: all ask for everything.
        """
        inode = self._readers.inode
        if self._reader is None or inode != self._inode:
            self._close()
            self._reader, self._inode, self._version = Reader(self._readers.path), inode, None
            self._curves.forget()
            self._seq = newest(self._reader)
            for viewer in self._watching():
                self._send(viewer, _HELLO)
        return self._reader

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(sqlite3.Error):
                reader.close()

    def _watching(self) -> list[_Viewer]:
        with self._turn:
            return list(self._viewers)

    @staticmethod
    def _send(viewer: _Viewer, event: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # its loop has ended
            viewer.loop.call_soon_threadsafe(viewer.put, event)


def _event(name: str, content: Any) -> bytes:
    """One server-sent event (WHATWG HTML, 9.2)."""
    text = content if isinstance(content, bytes) else encoded(content)
    return b"event: " + name.encode() + b"\ndata: " + text + b"\n\n"


_HELLO = _event("hello", {})  # whoever hears it asks for everything
