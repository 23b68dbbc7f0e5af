"""The stage that takes images in: one per watched folder, each on its own loop.

Hints and scans say what is there; a file that has been quiet for the settling time
is read in full, decoded, hashed and given plate, well and time: `waiting → ready`.
"""

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import ImageError
from spheroidd.intake.facts import learn
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import natural_key
from spheroidd.intake.scan import Found, Unreadable, compare, hinted, storable_ns, walk
from spheroidd.intake.settling import Settling
from spheroidd.intake.watcher import Watcher
from spheroidd.store.health import Health
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable, to_real, to_stored

_POLL_WAITING_SECONDS = 1.0
_SCAN_AGAIN_SECONDS = 5.0  # while the folder is degraded
_MOST_HINTS = 10_000  # beyond that a scan is cheaper than the hints


class Intake:
    """Watches one folder. `degraded` says what is wrong with it; empty: all that lies in it
    was known when the last scan ended."""

    def __init__(
        self,
        folder: Folder,
        ledger: Ledger,
        health: Health,
        log: FilteringBoundLogger,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            wake: called from another thread when there is something to look at.
            monotonic: the clock for settling and scan times.
        """
        self.root = folder.root
        self._folder = folder
        self._root = str(folder.root)
        self._stored_root = to_stored(self._root)
        self._ledger = ledger
        self._health = health
        self._log = log
        self._wake = wake
        self._monotonic = monotonic
        self._settling = Settling(folder.settle_seconds)
        self._watcher = Watcher(
            folder.root, folder.observer, folder.poll_seconds, self._hint, self._no_native_events
        )
        self._hints: queue.Queue[str] = queue.Queue(_MOST_HINTS)
        self._scan_wanted = threading.Event()
        self._quiet: deque[Image] = deque()
        self._next_scan = self._next_poll = -float("inf")
        self._scan_pause = 0.0
        self._asked = 1
        self._done = 0
        self.degraded = ""

    # -- the verbs of a part ----------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to watch; a folder that is not there yet is degraded, not an error."""
        self._scan(now)

    def step(self, now: float) -> bool:
        """Do one unit of work; returns whether to call again at once."""
        if self._quiet:
            self._admit(self._quiet.popleft(), now)
            return True
        clock = self._monotonic()
        if clock >= self._next_poll:  # before any scan: a busy folder must not starve it
            self._next_poll = clock + min(
                _POLL_WAITING_SECONDS, max(0.05, self._folder.settle_seconds)
            )
            self._poll_waiting()
            if self._quiet:
                return True
        if not self._hints.empty():
            self._follow_hints(now)
            return True
        hinted_scan = self._scan_wanted.is_set() and clock >= self._scan_pause
        if hinted_scan or self._asked > self._done or clock >= self._next_scan:
            self._scan(now)
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
        self._wake()
        return self._asked

    def scanned(self, number: int = 1) -> bool:
        """Whether a scan that began after this was asked for has ended, well or not."""
        return self._done >= number

    # -- seeing -----------------------------------------------------------------------

    def _hint(self, path: str, is_folder: bool) -> None:
        try:
            if is_folder:  # what it holds may have come before the watch on it did
                self._scan_wanted.set()
            else:
                self._hints.put_nowait(path)
        except queue.Full:
            self._scan_wanted.set()
        self._wake()

    def _follow_hints(self, now: float) -> None:
        paths = {self._hints.get_nowait() for _ in range(self._hints.qsize())}
        looked = (hinted(self._root, path, self._folder.extensions) for path in sorted(paths))
        try:
            self._take_note([found for found in looked if found is not None], now)
        except Exception:
            self._scan_wanted.set()  # the hints are spent; the scan finds the files again
            raise

    def _scan(self, now: float) -> None:
        """Hold the whole folder against the ledger, and see that it is being watched."""
        asked, began = self._asked, self._monotonic()
        self._scan_wanted.clear()
        self._next_scan = began + _SCAN_AGAIN_SECONDS
        try:
            trouble = self._reconcile(now)
        except OSError as error:
            trouble = error.strerror or str(error)
        except Exception as error:
            self.degraded = f"the scan failed: {error}"
            raise
        finally:
            self._done = asked
        ended = self._monotonic()
        # Hinted scans leave room for other work, however large and lively the folder is.
        self._scan_pause = ended + max(1.0, 5 * (ended - began))
        if not trouble:
            self._next_scan = ended + self._folder.scan_seconds
        self._set_degraded(trouble, now)

    def _reconcile(self, now: float) -> str:
        """Enter what is new or changed; returns what is wrong with the folder, if anything."""
        self._watcher.ensure()
        entries = list(walk(self._root, self._folder.extensions))
        found = [entry for entry in entries if isinstance(entry, Found)]
        self._take_note(found, now, whole=True)
        unreadable = [entry for entry in entries if isinstance(entry, Unreadable)]
        if unreadable:
            first = f"{printable(unreadable[0].path)}: {unreadable[0].reason}"
            return f"{len(unreadable)} places can't be read, first {first}"
        missed = self._ledger.awaited(self._stored_root)
        if missed and not found:
            return f"it is empty, though {missed} images in it are not measured yet"
        gone = self._ledger.gone(self._stored_root, {entry.path for entry in found}, now)
        for path in gone:
            self._log.warning("image gone before it was read", path=printable(path))
        return ""

    def _take_note(self, files: list[Found], now: float, *, whole: bool = False) -> None:
        """Enter what is new or changed; `whole`: the files are all there is in the folder."""
        known = self._ledger.known(self._stored_root) if whole else {}
        new: list[Found] = []
        for found in files:
            row = known.get(found.path) if whole else self._ledger.known_path(found.path)
            action = compare(found, row)
            if action == "new":
                new.append(found)
            elif action == "grown" and row is not None:
                self._ledger.restat(row.id, found.size, found.mtime_ns)
            elif action == "again" and row is not None:
                self._ledger.changed_again(row.id, found.size, found.mtime_ns, now)
        self._next_poll = -float("inf")  # whatever waits is looked at next
        if new:
            # In natural order, so that a backlog is worked in the order of time.
            new.sort(key=lambda found: natural_key(found.path))
            self._ledger.arrive(self._stored_root, [(f.path, f.size, f.mtime_ns) for f in new], now)
            self._log.info("images seen", count=len(new), folder=self._root)

    def _set_degraded(self, reason: str, now: float) -> None:
        if reason and reason != self.degraded:
            self._log.error(
                "folder degraded",
                folder=self._root,
                reason=reason,
                next_step="check the share or the permissions; it heals by itself",
            )
        elif not reason and self.degraded:
            self._log.info("folder is well again", folder=self._root)
        self.degraded = reason
        kind = self._watcher.kind
        self._health.folder(self._stored_root, reason, kind, now, scanned=not reason)

    def _no_native_events(self, message: str) -> None:
        self._log.warning("polling", folder=self._root, reason=message)

    # -- waiting for completeness -----------------------------------------------------------

    def _poll_waiting(self) -> None:
        """Find the waiting files that have been quiet long enough."""
        clock = self._monotonic()
        for image in self._ledger.waiting(self._stored_root):
            try:
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

    # -- taking in ------------------------------------------------------------------------------

    def _admit(self, image: Image, now: float) -> None:
        """Read, decode, hash and name one quiet file."""
        log = self._log.bind(path=printable(image.path))
        self._settling.forget(image.id)
        try:
            relative = image.path[len(self._stored_root) :].lstrip("/")
            parsed = self._folder.pattern.parse(relative)
            log = log.bind(plate=printable(parsed.plate), well=printable(parsed.well))
            facts = learn(self._folder, self._ledger, image, parsed)
        except ImageError as error:
            self._fail(image, error, log, now)
            return
        except (OSError, sqlite3.Error):
            raise  # the state folder's trouble, not the image's
        except Exception as error:  # a decoder's own way to choke: the others go on
            log.exception("an image could not be taken in")
            self._fail(image, ImageError(f"It could not be taken in: {error!r}."), log, now)
            return
        admitted = self._ledger.admit(image.id, facts, now)
        log.info(
            "image complete" if admitted.fresh else "same content again, nothing to do",
            captured_at=facts.captured_at,
            captured_from=facts.captured_from,
        )
        if admitted.twin:
            log.warning(
                "same plate, well and frame as another image", twin=printable(admitted.twin)
            )

    def _fail(self, image: Image, error: ImageError, log: FilteringBoundLogger, now: float) -> None:
        reason = str(error)
        again = self._ledger.fail(
            image, reason, now, permanent=error.permanent, for_ever=error.unreachable
        )
        log.warning(
            "image not usable",
            reason=reason,
            next="tried again later" if again else "set aside; see `spheroidd status`",
        )
