"""What the monitor tells, read from the database at most once a second."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spheroidd.report import status
from spheroidd.store import reading
from spheroidd.store.reader import Reader, Row, seconds_of

_FRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """How the daemon is.

    Attributes:
        daemon: as `status` has it, with `running`.
        conditions: every part and its trouble.
        folders: every watched folder and its health.
        states: images that count, by state.
        steps: how often images were seen, measured, and failed (by stage), ever.
        latency: seconds from seen to measured: `median_seconds`, `p95_seconds`, of `images`.
        since_last_image: seconds since one was seen; None: there is none.
        alerts_open: how many.
        free_bytes: on the disk that holds the state folder; None: it can't be asked.
    """

    daemon: dict[str, Any]
    conditions: list[Row]
    folders: list[Row]
    states: dict[str, int]
    steps: dict[str, int]
    latency: dict[str, Any]
    since_last_image: float | None
    alerts_open: int
    free_bytes: int | None

    def reasons(self) -> list[str]:
        """Why no work is possible now; none: it is."""
        daemon = self.daemon
        if "pid" not in daemon:
            return ["the daemon has never run"]
        if not daemon["running"]:
            return [f"no heartbeat for {abs(daemon['silent_seconds']):.0f} s"]
        if daemon["phase"] != "running":
            return [f"the daemon is {daemon['phase']}"]
        return [
            f"{row['name']}: {row['trouble']}"
            for row in self.conditions
            if row["trouble"] and row["urgent"]
        ]


class Look:
    """Reads it all through a connection of its own; threads share what was read a moment ago.

    However many ask, and however often, the database is read once a second at most.
    """

    def __init__(
        self,
        database: Path,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._last: Seen | None = None
        self._until = -float("inf")

    def __call__(self) -> Seen:
        """How it is now.

        Raises:
            StoreError, sqlite3.Error: the database can't be read.
        """
        with self._turn:
            if self._last is None or self._monotonic() >= self._until:
                with Reader(self._database) as reader:
                    self._last = self._read(reader, self._clock())
                self._until = self._monotonic() + _FRESH_SECONDS
            return self._last

    def _read(self, reader: Reader, now: float) -> Seen:
        last = reading.last_image_at(reader)
        return Seen(
            daemon=status.daemon(reading.service(reader), now),
            conditions=reading.conditions(reader),
            folders=reading.folders(reader),
            states=reading.state_counts(reader),
            steps=reading.steps(reader),
            latency=status.latency(reading.last_measured(reader)),
            since_last_image=None if last is None else max(0.0, now - seconds_of(last)),
            alerts_open=reading.alerts_open(reader),
            free_bytes=_free(self._database.parent),
        )


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
