"""The stage that takes images in: one per watched folder, each on its own loop.

Hints and scans say what is there; a file that has been quiet for the settling time
is read in full, decoded, hashed and given plate, well and time: `waiting → ready`.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import ImageError
from spheroidd.intake.capture import CapturedAt, capture_time
from spheroidd.intake.imagefile import ImageFile, choose_scale, read_image
from spheroidd.intake.naming import NamePattern, ParsedName, natural_key
from spheroidd.intake.scan import Found, Ignored, Unreadable, compare, hinted, walk
from spheroidd.intake.settling import Settling
from spheroidd.intake.watcher import Watcher
from spheroidd.store.health import Health
from spheroidd.store.images import Admission, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable, to_real, to_stored

_POLL_WAITING_SECONDS = 1.0
_MOST_HINTS = 10_000  # beyond that a scan is cheaper than the hints


@dataclass(frozen=True)
class Folder:
    """One watched folder, in plain values."""

    root: Path
    pattern: NamePattern
    extensions: Sequence[str]
    observer: Literal["auto", "native", "polling"]
    settle_seconds: float
    poll_seconds: float
    scan_seconds: float
    interval_minutes: float | None
    timezone: tzinfo | None
    pixel_size_um: float | None


class Intake:
    """Watches one folder.

    `looked` is set when a scan has ended, well or not; `degraded` then says why not (empty:
    everything that lies in the folder is known).
    """

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
        self.degraded = ""
        self.looked = threading.Event()

    # -- the three verbs ------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to watch; a folder that is not there yet is degraded, not an error."""
        self._scan(now)

    def step(self, now: float) -> bool:
        """Do one unit of work; returns whether to call again at once."""
        if self._quiet:
            self._admit(self._quiet.popleft(), now)
            return True
        clock = self._monotonic()
        if self._scan_wanted.is_set() or clock >= self._next_scan:
            self._scan(now)
            return True
        if not self._hints.empty():
            self._follow_hints(now)
            return True
        if clock >= self._next_poll:
            self._next_poll = clock + min(
                _POLL_WAITING_SECONDS, max(0.05, self._folder.settle_seconds)
            )
            self._poll_waiting(now)
        return bool(self._quiet)

    def hand_back(self) -> None:
        """Nothing is claimed here: a waiting file is simply looked at again."""

    def stop(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def rescan(self) -> None:
        """Ask for a scan at the next step; from any thread."""
        self.looked.clear()
        self._scan_wanted.set()
        self._wake()

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
        self._take_note([found for found in looked if found is not None], now)

    def _scan(self, now: float) -> None:
        """Hold the whole folder against the ledger, and see that it is being watched."""
        self._scan_wanted.clear()
        self._next_scan = self._monotonic() + self._folder.scan_seconds
        try:
            self._reconcile(now)
        finally:
            self.looked.set()

    def _reconcile(self, now: float) -> None:
        try:
            self._watcher.ensure()
            entries = list(walk(self._root, self._folder.extensions))
        except OSError as error:
            self._set_degraded(error.strerror or str(error), now)
            return
        unreadable = [entry for entry in entries if isinstance(entry, Unreadable)]
        trouble = ""
        if unreadable:
            first = unreadable[0]
            trouble = f"{len(unreadable)} can't be read, first {printable(first.path)}: "
            trouble += first.reason
        self._set_degraded(trouble, now, scanned=True)
        self._take_note([entry for entry in entries if isinstance(entry, Found)], now, whole=True)
        ignored = sum(isinstance(entry, Ignored) for entry in entries)
        self._log.debug("scanned", folder=self._root, entries=len(entries), ignored=ignored)

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
        if new:
            # In natural order, so that a backlog is worked in the order of time.
            new.sort(key=lambda found: natural_key(found.path))
            self._ledger.arrive(self._stored_root, [(f.path, f.size, f.mtime_ns) for f in new], now)
            self._log.info("images seen", count=len(new), folder=self._root)
            self._next_poll = -float("inf")

    def _set_degraded(self, reason: str, now: float, *, scanned: bool = False) -> None:
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
        self._health.folder(self._stored_root, reason, self._watcher.kind, now, scanned=scanned)

    def _no_native_events(self, message: str) -> None:
        self._log.warning("polling", folder=self._root, reason=message)

    # -- waiting for completeness -----------------------------------------------------------

    def _poll_waiting(self, now: float) -> None:
        """Find the waiting files that have been quiet long enough."""
        clock = self._monotonic()
        for image in self._ledger.waiting(self._stored_root):
            try:
                status = Path(to_real(image.path)).lstat()
            except OSError as error:
                self._gone(image, error, now)
                continue
            size, mtime_ns = status.st_size, status.st_mtime_ns
            if (size, mtime_ns) != (image.size, image.mtime_ns):
                self._ledger.restat(image.id, size, mtime_ns)
            if self._settling.is_quiet(image.id, size, mtime_ns, clock):
                self._quiet.append(replace(image, size=size, mtime_ns=mtime_ns))

    def _gone(self, image: Image, error: OSError, now: float) -> None:
        """A file vanished before it was read; with its whole folder gone, nothing is known."""
        if not os.path.isdir(self._root):  # noqa: PTH112
            self._scan_wanted.set()
            return
        self._fail(image, f"it can't be looked at before it was read: {error.strerror}", now)

    # -- taking in ------------------------------------------------------------------------------

    def _admit(self, image: Image, now: float) -> None:
        """Read, decode, hash and name one quiet file."""
        try:
            facts = self._learn(image)
        except ImageError as error:
            self._fail(image, str(error), now, permanent=error.permanent)
            return
        self._settling.forget(image.id)
        fresh = self._ledger.admit(image.id, facts, now)
        self._log.info(
            "image complete" if fresh else "same content again, nothing to do",
            plate=facts.plate,
            well=facts.well,
            path=printable(image.path),
            captured_at=facts.captured_at,
            captured_from=facts.captured_from,
        )

    def _learn(self, image: Image) -> Admission:
        relative = to_real(image.path)[len(self._root) :].lstrip("/")
        parsed = self._folder.pattern.parse(to_stored(relative))
        file = read_image(to_real(image.path), accept_zero_tail=image.last_try)
        if (file.size, file.mtime_ns) != (image.size, image.mtime_ns):
            raise ImageError("It changed while it was read.", "It will be read again.")
        captured = self._captured(parsed, file)
        if file.bit_depth == 16 and self._ledger.plate(parsed.plate)["scale_high"] is None:
            low, high = choose_scale(file.pixels)
            self._ledger.settle_plate(parsed.plate, scale_low=low, scale_high=high)
        height, width = file.pixels.shape[:2]
        return Admission(
            plate=parsed.plate,
            well=parsed.well,
            name=parsed.name,
            timepoint=parsed.timepoint,
            field=parsed.field,
            channel=parsed.channel,
            captured_at=captured.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            captured_from=captured.source,
            plate_key=natural_key(parsed.plate),
            well_key=natural_key(parsed.well),
            time_key=_time_key(parsed, captured),
            sha256=file.sha256,
            size=file.size,
            mtime_ns=file.mtime_ns,
            width=width,
            height=height,
            bit_depth=file.bit_depth,
            pixel_size_um=self._folder.pixel_size_um or file.pixel_size_um,
        )

    def _captured(self, parsed: ParsedName, file: ImageFile) -> CapturedAt:
        stored = self._ledger.plate(parsed.plate)["origin_at"]
        captured = capture_time(
            parsed,
            mtime=file.mtime_ns / 1e9,
            metadata_time=file.taken_at,
            interval_minutes=self._folder.interval_minutes,
            origin=datetime.fromisoformat(stored) if stored else None,
            zone=self._folder.timezone,
        )
        if captured.origin is not None and not stored:
            self._ledger.settle_plate(parsed.plate, origin_at=captured.origin.isoformat())
        return captured

    def _fail(self, image: Image, reason: str, now: float, *, permanent: bool = False) -> None:
        self._settling.forget(image.id)
        again = self._ledger.fail(image, reason, now, permanent=permanent)
        self._log.warning(
            "image not usable",
            path=printable(image.path),
            reason=reason,
            next="tried again later" if again else "set aside; see `spheroidd status`",
        )


def _time_key(parsed: ParsedName, captured: CapturedAt) -> str:
    """Sorts a well's images by time.

    A file's own date is weak evidence (copying changes it), so where nothing better
    is known the frame number in the name decides the order.
    """
    if captured.source == "mtime" and parsed.timepoint is not None:
        return f"frame {parsed.timepoint:012d}"
    return captured.at.astimezone(UTC).isoformat(timespec="milliseconds")
