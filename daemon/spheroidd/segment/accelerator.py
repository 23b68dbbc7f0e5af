"""What happens when an accelerator is lost, or its memory is full, in the middle of the work.

    run fails ─▶ the model is loaded again on it ─▶ fails again ─▶ the CPU takes over, loudly;
                                                                   later it is tried again
                                                      `require` ─▶ an error that ends the service

No image is blamed for any of it: what fails on the CPU as well is the image's own failure.
"""

import gc
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import AcceleratorLostError, ModelError

if TYPE_CHECKING:
    from spheroidd.segment.session import Session

# Between two tries to get a failing accelerator back, each of which loads the model.
RETRY_SECONDS = 600.0

_LOOK_AT = dict.fromkeys(("CUDA", "TensorRT"), "Look at `nvidia-smi` and the kernel's log")

# A session on the accelerator, or None and why there is none.
Reopen = Callable[[], tuple["Session | None", str]]
Tell = Callable[[str], None]


class RunFailedError(ModelError):
    """A model failed while it ran, which on an accelerator need not be the image's fault."""


class AcceleratedSession:
    """A session on an accelerator, and what takes its place.  Threads may share it."""

    def __init__(
        self,
        session: "Session",
        reopen: Reopen,
        on_cpu: Callable[[], "Session"],
        alarm: Tell,
        *,
        require: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            session: the one that runs on the accelerator.
            reopen: makes another such session.
            on_cpu: makes the session that takes over.
            alarm: told, in one line, what was lost and what came back.
            require: never run on the CPU.
            clock: seconds since the epoch.
        """
        self.model = session.model
        self.provider = self._name = session.provider
        self.most_at_once = session.most_at_once
        self.trouble = ""
        self._session: Session | None = session
        self._reopen = reopen
        self._on_cpu = on_cpu
        self._alarm = alarm
        self._require = require
        self._clock = clock
        self._reloaded_at = -RETRY_SECONDS
        self._turn = threading.Condition()
        self._users = 0  # threads that run the session now
        self._number = 0  # of the session; another one has another
        self._replacing = False

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Session.probabilities`.

        Raises:
            AcceleratorLostError: the accelerator failed twice, and the CPU may not or can't take
                over.
        """
        while True:
            session, number, on_cpu = self._enter()
            try:
                return session.probabilities(image)
            except RunFailedError as error:
                if on_cpu:  # it is the image, or the model
                    raise
                reason = error.message
            finally:
                del session
                self._leave()
            # Out of the `except`, or the error's traceback would keep the old session.
            self._replace(number, reason)

    def _enter(self) -> tuple["Session", int, bool]:
        """The session to use now, its number, and whether it has taken the accelerator's place."""
        with self._turn:
            self._turn.wait_for(lambda: not self._replacing)
            if self.trouble and self._is_time():
                self._take_back()
            if self._session is None:
                self._session = self._other("it failed before")
            self._users += 1
            return self._session, self._number, bool(self.trouble)

    def _leave(self) -> None:
        with self._turn:
            self._users -= 1
            self._turn.notify_all()

    def _replace(self, number: int, reason: str) -> None:
        """Put another session in the place of one that failed; of several threads that saw it
        fail, the first does it, once the last has let go of it."""
        with self._turn:
            if number != self._number:
                return
            self._number += 1
            self._session, self._replacing = None, True
            try:
                self._turn.wait_for(lambda: self._users == 0)
                gc.collect()
                self._session = self._other(reason)
            finally:
                self._replacing = False
                self._turn.notify_all()

    def _other(self, reason: str) -> "Session":
        """The model loaded again where that was not done lately; else on the CPU."""
        if self._is_time():
            self._alarm(f"{self._name} failed; {self.model.name} is loaded again: {reason}")
            self._reloaded_at = self._clock()
            session, why = self._reopen()
            if session is not None:
                return session
            reason = f"{reason}; loaded again: {why}"
        return self._without(reason)

    def _without(self, reason: str) -> "Session":
        if self._require:
            raise AcceleratorLostError(
                f"{self._name} failed while {self.model.name} ran, and `require: true` forbids "
                f"the CPU: {reason}.",
                f"{_LOOK_AT.get(self._name, 'Set `device: cpu`')}; or set `require: false`.",
            )
        since = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        try:
            session = self._on_cpu()
        except ModelError as error:
            raise AcceleratorLostError(
                f"{self._name} failed ({reason}), and the CPU can't take over: {error.message}",
                error.hint,
            ) from error
        self.provider = session.provider
        self.trouble = f"accelerator lost since {since}: {self.model.name} runs on the CPU, slower"
        self._alarm(f"{self.trouble}. {self._name}: {reason}")
        return session

    def _take_back(self) -> None:
        """A full memory may be free again, a driver restarted; if not, the CPU goes on."""
        self._reloaded_at = self._clock()
        session, _ = self._reopen()
        if session is not None:
            self._number += 1
            self._session, self.provider, self.trouble = session, session.provider, ""
            self._alarm(f"{self._name} is back: {self.model.name} runs on it again")

    def _is_time(self) -> bool:
        return abs(self._clock() - self._reloaded_at) >= RETRY_SECONDS
