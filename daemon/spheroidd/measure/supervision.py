"""One worker after another: started when needed, replaced when it fails, recycled when worn.

ready ── failure ──▶ tried again after 1, 2, 4, 8 s ── failure ──▶ down: one try a minute
  ▲                              │                                        │
  └──────────────────────────────┴──────── a request went well ◀──────────┘
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spheroidd.errors import EngineError
from spheroidd.measure.process import Child, Log, Message, WorkerFailedError

PROTOCOL = 1
LONGEST_BACK_OFF = 60.0
# In a row, nothing going well between: half a minute with a worker that can't start. One
# poisonous image makes a row of two, in its batch and alone, while others are measured.
FAILURES_UNTIL_DOWN = 5
_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced by a fresh one, between two batches; None: never.

    Attributes:
        memory_bytes: resident memory.
        images: how many it has been given to measure.
        hours: since its start.
    """

    memory_bytes: int | None = 4 * 2**30
    images: int | None = 5000
    hours: float | None = 24.0


@dataclass(frozen=True)
class Wear:
    """What a worker has behind it; `memory_bytes` is None where the system does not tell."""

    memory_bytes: int | None
    images: int
    hours: float


def worn_out(wear: Wear, limits: Limits) -> str:
    """What a worker is to be replaced for: `memory`, `images` or `age`; empty: it goes on."""
    reached = {
        "memory": (wear.memory_bytes, limits.memory_bytes),
        "images": (wear.images, limits.images),
        "age": (wear.hours, limits.hours),
    }
    for name, (value, limit) in reached.items():
        if value is not None and limit is not None and value >= limit:
            return name
    return ""


class Supervisor:
    """Sees that there is a worker when one is wanted.  `stop` works from any thread.

    Attributes:
        failures: in a row, up to now.
        down_since: seconds since the epoch of the first of them; None while it is `ready`.
        next_try_at: seconds since the epoch; None while none is waited for.
        last_error: what went wrong the last time; empty while all is well.
        recycled: workers that were replaced because they were worn.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Log,
        limits: Limits,
        start_timeout: float,
        ladder: Sequence[float],
        clock: Callable[[], float],
    ) -> None:
        self.failures = 0
        self.down_since: float | None = None
        self.next_try_at: float | None = None
        self.last_error = ""
        self.recycled = 0
        self._command = command
        self._log = log
        self._limits = limits
        self._start_timeout = start_timeout
        self._ladder = ladder
        self._clock = clock
        self._turn = threading.RLock()
        self._state = threading.Lock()  # guards _child and _stopped, held for moments only
        self._child: Child | None = None
        self._stopped = False
        self._failing_since = 0.0
        self._due = self._born = clock()
        self._images = 0
        self._version: str | None = None

    @property
    def state(self) -> Literal["ready", "down"]:
        """`down`: so many failures in a row that a try a minute is all it gets."""
        return "ready" if self.down_since is None else "down"

    @property
    def version(self) -> str | None:
        """CellProfiler's version, None before the first start."""
        return self._version

    @property
    def pid(self) -> int | None:
        """The running worker's process id, None if there is none."""
        child = self._child
        return child.pid if child and child.alive else None

    @property
    def memory_bytes(self) -> int | None:
        """The running worker's resident memory; None if there is none, or nobody knows."""
        pid = self.pid
        return None if pid is None else _resident(pid)

    @property
    def retry_in(self) -> float:
        """Seconds until a failed worker may be started again; 0 if it may now."""
        return max(0.0, self._due - self._clock())

    def start(self) -> None:
        """See that a worker is running, ready and not worn; at once if one is.

        Raises EngineError.
        """
        with self._turn:
            self._ready_child()

    def stop(self) -> None:
        """End the worker for good, in bounded time; a request under way fails with EngineError."""
        with self._state:
            self._stopped = True
            child, self._child = self._child, None
        if child:
            child.stop()

    # -- for requests, which hold `_turn` ----------------------------------------------------

    def _ready_child(self) -> Child:
        """The running worker, or a new one.  Raises EngineError while it isn't due."""
        if (child := self._child) and child.alive:
            wear = self._wear(child)
            reason = worn_out(wear, self._limits)
            if not reason:
                return child
            self._recycle(child, wear, reason)
        elif child:
            self._log("worker.died_idle", level="warning", pid=child.pid)
            child.stop()
        if self.retry_in > 0:
            raise EngineError(
                "CellProfiler's worker failed and is not started again yet: "
                f"{self.last_error.partition(chr(10))[0]}",
                f"Next try in {self.retry_in:.0f} s.",
            )
        child = self._spawn()
        try:
            self._greet(child.receive(time.monotonic() + self._start_timeout))
        except WorkerFailedError as error:
            self._failed(child, error)
            raise
        self._log("worker.ready", pid=child.pid, cellprofiler=self._version)
        return child

    def _failed(self, child: Child, error: WorkerFailedError) -> None:
        """The worker is no good: stop it, and wait before the next one."""
        child.stop()
        with self._state:
            stopped = self._stopped
            self._child = None
        if not stopped:
            self._back_off(error)

    def _went_well(self) -> None:
        """A request was answered, whatever the answer was."""
        if self.down_since is not None:
            seconds = round(time.time() - self.down_since)
            self._log("engine.up", failures=self.failures, down_seconds=seconds)
        self.failures = 0
        self.down_since = self.next_try_at = None
        self.last_error = ""

    # -- one worker --------------------------------------------------------------------------

    def _spawn(self) -> Child:
        with self._state:
            if self._stopped:
                raise EngineError("CellProfiler's worker has been stopped.")
            try:
                self._child = Child(self._command, self._log, ladder=self._ladder)
            except WorkerFailedError as error:
                self._child = None
                self._back_off(error)
                raise
            self._born, self._images = self._clock(), 0
            return self._child

    def _greet(self, message: Message) -> None:
        if message.get("ready") is not True or message.get("protocol") != PROTOCOL:
            raise WorkerFailedError(f"CellProfiler's worker started with {str(message)[:80]}.")
        self._version = str(message.get("cellprofiler"))

    def _wear(self, child: Child) -> Wear:
        hours = (self._clock() - self._born) / 3600
        return Wear(_resident(child.pid), self._images, hours)

    def _recycle(self, child: Child, wear: Wear, reason: str) -> None:
        """No failure: nothing is in its hands now, and the next one is started at once."""
        self.recycled += 1
        self._log(
            "worker.recycled",
            reason=reason,
            pid=child.pid,
            memory_mib=None if wear.memory_bytes is None else wear.memory_bytes // _MIB,
            images=wear.images,
            hours=round(wear.hours, 2),
        )
        child.stop()
        with self._state:
            if self._child is child:
                self._child = None

    def _back_off(self, error: WorkerFailedError) -> None:
        now = time.time()
        if not self.failures:
            self._failing_since = now
        wait = min(2.0**self.failures, LONGEST_BACK_OFF)
        self.failures += 1
        self.last_error = str(error)
        opened = self.failures >= FAILURES_UNTIL_DOWN
        if opened:
            wait = LONGEST_BACK_OFF
        self._due = self._clock() + wait
        self.next_try_at = now + wait
        self._log(
            "worker.failed",
            level="error",
            error=self.last_error,
            in_a_row=self.failures,
            next_try_in=wait,
        )
        if opened and self.down_since is None:
            self.down_since = self._failing_since
            self._log("engine.down", level="error", failures=self.failures, next_try_in=wait)


def _resident(pid: int) -> int | None:
    """Resident memory of a process in bytes; the second number of its `statm` is in pages."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None  # just gone, or not Linux
    return pages * os.sysconf("SC_PAGE_SIZE")
