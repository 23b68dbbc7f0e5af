"""The stage that takes images in: one per watched folder, each on its own loop.

Hints and scans say what is there; a file that has been quiet for the settling time is
taken in (`admitting`): `waiting → ready`.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.intake.admitting import Admitting
from spheroidd.intake.answers import Answers
from spheroidd.intake.folder import Folder
from spheroidd.intake.fresh import Fresh
from spheroidd.intake.reconciling import Reconciling
from spheroidd.intake.scan import Found, Ignored, Unreadable, hinted, storable_ns, walk
from spheroidd.intake.settling import Settling
from spheroidd.intake.vitals import Vitals
from spheroidd.intake.watcher import STALE, Watcher
from spheroidd.store.health import Health
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_real, to_stored

_POLL_WAITING_SECONDS = 0.2  # while few files wait; looking at many takes its time
_SCAN_AGAIN_SECONDS = 2.0  # while the folder is degraded
_GLANCE_SECONDS = 1.0  # at the folder itself and its observer
_AWAY_SECONDS = 30.0  # then what lies in a folder that is not there is not waited for any more
_MOST_HINTS = 10_000  # beyond that a scan is cheaper than the hints


class Intake:
    """Watches one folder. `degraded` says what is wrong with it; empty: all that lies in it
    was known when the last scan ended.

    Everything that may ask the folder happens in the thread that steps, and is `awaited`.
    """

    def __init__(
        self,
        folder: Folder,
        ledger: Ledger,
        health: Health,
        log: FilteringBoundLogger,
        answers: Answers | None = None,
        fresh: Fresh | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            answers: how the folder answers whoever else asks it.
            fresh: gets the pixels of what is taken in.
            monotonic: the clock for settling and scan times.
        """
        self.root = folder.root
        self.name = f"intake {folder.root}"
        self.wake = threading.Event()  # set, by other threads, when there is something to look at
        self._folder = folder
        self._root = str(folder.root)
        self._stored_root = to_stored(self._root)
        self._ledger = ledger
        self._log = log
        self._monotonic = monotonic
        self._settling = Settling(folder.settle_seconds)
        self._answers = answers or Answers(monotonic)
        self._vitals = Vitals(self._root, health, log, self._answers)
        self._watcher = Watcher(
            folder.root,
            folder.observer,
            folder.poll_seconds,
            self._hint,
            self._no_native_events,
            self._answers,
        )
        self._admitting = Admitting(folder, ledger, log, self._answers, fresh or Fresh())
        self._reconciling = Reconciling(self._root, ledger, log)
        self._hints: queue.Queue[str] = queue.Queue(_MOST_HINTS)
        self._scan_wanted = threading.Event()
        self._quiet: deque[Image] = deque()
        self._next_scan = self._next_poll = self._next_glance = -float("inf")
        self._scan_pause = 0.0
        self._asked = 1
        self._done = 0
        self._away_since: float | None = None

    # -- the verbs of a part ----------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to watch; a folder that is not there yet is degraded, not an error."""
        self._scan(now)

    def step(self, now: float) -> bool:
        """Do one unit of work; returns whether to call again at once."""
        clock = self._monotonic()
        if clock >= self._next_glance and self._is_another():
            self._scan(now)
            return True
        if self._away_since is None and self._take_in(now, clock):
            return True
        hinted_scan = self._scan_wanted.is_set() and clock >= self._scan_pause
        if hinted_scan or self._asked > self._done or clock >= self._next_scan:
            self._scan(now)
            return True
        return False

    def _take_in(self, now: float, clock: float) -> bool:
        """Whatever there is to do in a folder that is there."""
        if self._quiet:
            image = self._quiet.popleft()
            self._settling.forget(image.id)
            self._admitting.admit(image, now)
            return True
        if clock >= self._next_poll:  # before any scan: a busy folder must not starve it
            self._poll_waiting()
            took = self._monotonic() - clock
            self._next_poll = clock + max(_POLL_WAITING_SECONDS, 5 * took)
            if self._quiet:
                return True
        if not self._hints.empty():
            self._follow_hints(now)
            return True
        return False

    def hand_back(self) -> None:
        """Nothing is claimed here: a waiting file is simply looked at again."""

    def stop(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def rescan(self) -> int:
        """Ask for a scan, from any thread; `scanned(number)` says when it has ended."""
        self._asked += 1
        self.wake.set()
        return self._asked

    def scanned(self, number: int = 1) -> bool:
        """Whether a scan that began after this was asked for has ended, well or not."""
        return self._done >= number

    # -- for the thread that looks after all parts --------------------------------------

    @property
    def degraded(self) -> str:
        """What is wrong with the folder, in words; empty: nothing."""
        return self._vitals.reason

    @property
    def silent(self) -> bool:
        """Whether the folder does not answer, and the thread that steps may be caught in it."""
        return self._vitals.silent

    @property
    def silent_seconds(self) -> float:
        """How long somebody has been waiting for the folder's next answer."""
        return self._answers.silent_seconds

    @property
    def stranded(self) -> int:
        """How many images lie in a folder that has been out of reach for a while: nobody can
        say when they will be read."""
        away = self._away_since
        if self.silent or (away is not None and self._monotonic() - away > _AWAY_SECONDS):
            return self._ledger.awaited(self._stored_root)
        return 0

    def look(self, now: float) -> None:
        """See whether the folder answers; never waits for it. To be called every second or so
        from another thread than the one that steps."""
        if self._vitals.look(now):
            self._scan_wanted.set()
            self.wake.set()

    # -- seeing -----------------------------------------------------------------------

    def _hint(self, path: str, is_folder: bool) -> None:
        try:
            if is_folder:  # what it holds may have come before the watch on it did
                self._scan_wanted.set()
            else:
                self._hints.put_nowait(path)
        except queue.Full:
            self._scan_wanted.set()
        self.wake.set()

    def _follow_hints(self, now: float) -> None:
        paths = {self._hints.get_nowait() for _ in range(self._hints.qsize())}
        try:
            with self._answers.awaited():
                looked = [self._answered(path) for path in sorted(paths)]
            self._reconciling.take_note([found for found in looked if found is not None], now)
            self._next_poll = -float("inf")
        except Exception:
            self._scan_wanted.set()  # the hints are spent; the scan finds the files again
            raise

    def _answered(self, path: str) -> Found | None:
        found = hinted(self._root, path, self._folder.extensions)
        self._answers.came()
        return found

    def _is_another(self) -> bool:
        """Whether folder or observer are not what they were; often, for nothing else would
        show it before the next whole scan."""
        with self._answers.awaited():
            why = self._watcher.unsound()
        clock = self._monotonic()
        self._next_glance = clock + _GLANCE_SECONDS
        if why == STALE and clock < self._scan_pause:
            return False  # mounts may come and go all the time where containers run
        if why and not self.degraded:
            self._log.warning("watched anew", folder=self._root, reason=why)
        return bool(why)

    def _scan(self, now: float) -> None:
        """Hold the whole folder against the ledger, and see that it is being watched."""
        asked, began = self._asked, self._monotonic()
        self._scan_wanted.clear()
        self._next_scan = began + _SCAN_AGAIN_SECONDS
        try:
            trouble = self._look_through(now)
        except Exception as error:
            self._vitals.trouble = f"the scan failed: {error}"
            raise
        finally:
            self._done = asked
        ended = self._monotonic()
        # Scans leave room for other work, however large and lively the folder is.
        took = ended - began
        self._scan_pause = ended + max(1.0, 5 * took)
        self._next_glance = ended + _GLANCE_SECONDS
        again = max(_SCAN_AGAIN_SECONDS, 5 * took) if trouble else self._folder.scan_seconds
        self._next_scan = ended + again
        self._vitals.scanned(trouble, self._watcher.kind, now)

    def _look_through(self, now: float) -> str:
        """Watch and list the folder, and hold it against the ledger; returns what is wrong."""
        try:
            with self._answers.awaited():
                anew = self._watcher.ensure()
                entries: list[Found | Unreadable] = []
                for entry in walk(self._root, self._folder.extensions):
                    self._answers.came()
                    if not isinstance(entry, Ignored):
                        entries.append(entry)
                moved = self._watcher.unsound()
        except OSError as error:
            # Nothing in it is what it was: not gone, and not to be taken in.
            if self._away_since is None:
                self._away_since = self._monotonic()
            self._quiet.clear()
            self._settling.restart()
            return error.strerror or str(error)
        self._away_since = None
        trouble = self._reconciling.reconcile(entries, now, whole=not moved)
        self._next_poll = -float("inf")  # whatever waits is looked at next
        if self._vitals.trouble and not (trouble or anew or moved):
            self._watcher.renew()  # what could not be read was not watched either
        return trouble

    def _no_native_events(self, message: str) -> None:
        self._log.warning("polling", folder=self._root, reason=message)

    # -- waiting for completeness -----------------------------------------------------------

    def _poll_waiting(self) -> None:
        """Find the waiting files that have been quiet long enough."""
        clock = self._monotonic()
        waiting = self._ledger.waiting(self._stored_root)
        if not waiting:
            self._settling.restart()  # what is kept there is of files that vanished
        for image in waiting:
            try:
                with self._answers.awaited():
                    status = Path(to_real(image.path)).lstat()
            except OSError:
                # Gone, or out of reach: a whole scan tells the two apart.
                self._scan_wanted.set()
                continue
            size, mtime_ns = status.st_size, storable_ns(status.st_mtime_ns)
            if (size, mtime_ns) != (image.size, image.mtime_ns):
                self._ledger.restat(image.id, size, mtime_ns)
            if self._settling.is_quiet(image.id, size, mtime_ns, clock):
                self._quiet.append(replace(image, size=size, mtime_ns=mtime_ns))
