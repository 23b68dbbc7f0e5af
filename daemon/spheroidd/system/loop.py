"""The three-line loop: step until there is nothing to do, then wait to be woken."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import SpheroiddError

_IDLE_SECONDS = 0.5
_AFTER_ERROR_SECONDS = 5.0
_DEADLINE_SECONDS = 300.0


def _open_gate() -> str:
    return ""


class Part(Protocol):
    """Every long-running part starts, steps and stops; a step that raised is handed back."""

    def start(self, now: float) -> None: ...

    def step(self, now: float) -> bool: ...

    def hand_back(self) -> None: ...

    def stop(self) -> None: ...


class Loop:
    """Runs one part on a thread of its own."""

    def __init__(
        self,
        name: str,
        part: Part,
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
        wake: threading.Event | None = None,
        gate: Callable[[], str] = _open_gate,
        deadline: float = _DEADLINE_SECONDS,
        idle: float = _IDLE_SECONDS,
    ) -> None:
        """
        Args:
            wake: set by others when there may be something to do; idle waiting ends at once.
            gate: says why no step may begin now; empty: one may.
            deadline: seconds that no step takes unless something is stuck.
            idle: seconds to rest where there is nothing to do.
        """
        self.name = name
        self.trouble = ""
        self.paused = ""
        self.fatal: SpheroiddError | None = None
        self._part = part
        self._log = log
        self._clock = clock
        self._wake = wake or threading.Event()
        self._gate = gate
        self._deadline = deadline
        self._idle = idle
        self._ending = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it runs, or has been asked to end."""
        return self._thread.is_alive() or self._ending.is_set()

    @property
    def stuck(self) -> str:
        """In words, that a step has taken longer than any should; empty: none has."""
        seconds = time.monotonic() - self._began
        return f"{self.name}: in one step for {seconds:.0f} s" if seconds > self._deadline else ""

    def ask_to_end(self) -> None:
        """End after the present step; from any thread."""
        self._ending.set()
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; returns whether it came in time."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._guard(self._start)
        while not self._ending.is_set() and self.fatal is None:
            self._began = time.monotonic()
            self._pause(self._gate())
            if self.paused or not self._guard(self._step):
                self._wake.wait(self._idle)
                self._wake.clear()
        self._hand_back()  # a part may have more in hand than the last step's

    def _pause(self, reason: str) -> None:
        if bool(reason) != bool(self.paused):
            if reason:
                self._log.error("paused", part=self.name, reason=reason)
            else:
                self._log.info("goes on", part=self.name)
        self.paused = reason

    def _start(self) -> bool:
        self._part.start(self._clock())
        return True

    def _step(self) -> bool:
        return self._part.step(self._clock())

    def _guard(self, work: Callable[[], bool]) -> bool:
        """A full disk or a locked database must not end the service: say so, hand back, wait."""
        try:
            again = work()
        except Exception as error:
            if isinstance(error, SpheroiddError) and error.fatal:
                self.fatal = error
            else:
                self.trouble = f"{self.name}: {error}"
                self._log.exception("a step failed; trying again", part=self.name)
                self._ending.wait(_AFTER_ERROR_SECONDS)
            self._hand_back()
            return False
        self.trouble = ""
        return again

    def _hand_back(self) -> None:
        try:
            self._part.hand_back()
        except Exception:
            self._log.exception("handing back failed", part=self.name)
