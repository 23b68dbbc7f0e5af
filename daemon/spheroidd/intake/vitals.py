"""How one watched folder is: told once to the log, kept for `status`, and healed."""

import sqlite3
import threading

from structlog.typing import FilteringBoundLogger

from spheroidd.intake.answers import Answers
from spheroidd.store.health import Health
from spheroidd.store.paths import to_stored

_NO_ANSWER = "it does not answer"


class Vitals:
    """Fed by the thread that scans, and by one that only looks at the clock: a thread that
    hangs in the folder can't say so itself."""

    def __init__(
        self, root: str, health: Health, log: FilteringBoundLogger, answers: Answers
    ) -> None:
        """
        Args:
            root: the watched folder, a real path.
        """
        self._root = root
        self._stored_root = to_stored(root)
        self._health = health
        self._log = log
        self._answers = answers
        self._lock = threading.Lock()
        self._observer: str | None = None
        self._told: str | None = None
        self.trouble = ""  # what the last scan found
        self.silent = False

    @property
    def reason(self) -> str:
        """What is wrong with the folder; empty: nothing."""
        return _NO_ANSWER if self.silent else self.trouble

    def scanned(self, trouble: str, observer: str | None, now: float) -> None:
        """A scan has ended, and this is what is wrong."""
        self.trouble, self._observer = trouble, observer
        self._tell(now, scanned=not trouble)

    def look(self, now: float) -> bool:
        """See whether the folder answers, from a thread that never asks it anything; returns
        whether it has just begun to answer again."""
        if self._answers.missing == self.silent:
            return False
        self.silent = not self.silent
        try:
            self._tell(now)
        except sqlite3.Error as error:  # seen again at the next look
            self.silent = not self.silent
            self._log.error("a folder's health can't be written", reason=str(error))
            return False
        return not self.silent

    def _tell(self, now: float, *, scanned: bool = False) -> None:
        with self._lock:
            reason, told = self.reason, self._told
            self._health.folder(self._stored_root, reason, self._observer, now, scanned=scanned)
            self._told = reason
            again = 0
            if not reason and told != "":  # healed; or, at start, maybe since the last daemon
                again = self._health.reachable(self._stored_root, now)
        if reason and reason != told:
            self._log.error(
                "folder degraded",
                folder=self._root,
                reason=reason,
                next_step="check the share or the permissions; it heals by itself",
            )
        elif told and not reason:
            self._log.info("folder is well again", folder=self._root, tried_again=again)
