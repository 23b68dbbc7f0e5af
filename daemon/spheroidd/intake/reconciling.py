"""Holding what lies in a folder against the ledger: what is new, has changed, or is gone."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from structlog.typing import FilteringBoundLogger

from spheroidd.intake.naming import natural_key
from spheroidd.intake.scan import Found, Unreadable, beside, compare
from spheroidd.store.images import Known
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable, to_stored

_AT_ONCE = 1000  # new files in one transaction


class Reconciling:
    """For one watched folder; `root` is a real path."""

    def __init__(self, root: str, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._root = to_stored(root)
        self._ledger = ledger
        self._log = log

    def reconcile(self, entries: Sequence[Found | Unreadable], now: float, *, whole: bool) -> str:
        """Enter what is new or changed, and close what is gone; returns what is wrong with the
        folder, if anything.

        Args:
            entries: all that is there, each path once.
            whole: whether what is not among the entries is not there.
        """
        found = [entry for entry in entries if isinstance(entry, Found)]
        found.sort(key=attrgetter("path"))
        self._enter(beside(found, self._ledger.known(self._root)), now)
        unreadable = [entry for entry in entries if isinstance(entry, Unreadable)]
        if unreadable:
            first = f"{printable(unreadable[0].path)}: {unreadable[0].reason}"
            return f"{len(unreadable)} places can't be read, first {first}"
        missed = self._ledger.awaited(self._root)
        if missed and not found:
            return f"it is empty, though {missed} images in it are not measured yet"
        if not whole:
            return ""
        gone = self._ledger.gone(self._root, {entry.path for entry in found}, now)
        for path in gone:
            self._log.warning("image gone before it was read", path=printable(path))
        return ""

    def take_note(self, files: Iterable[Found], now: float) -> None:
        """Enter what is new or changed among a few files."""
        self._enter(((found, self._ledger.known_path(found.path)) for found in files), now)

    def _enter(self, files: Iterable[tuple[Found, Known | None]], now: float) -> None:
        """Files, each with what the ledger knows of it."""
        new: list[Found] = []
        for found, row in files:
            action = compare(found, row)
            if action == "new":
                new.append(found)
            elif action == "grown" and row is not None:
                self._ledger.restat(row.id, found.size, found.mtime_ns)
            elif action == "again" and row is not None:
                self._ledger.changed_again(row.id, found.size, found.mtime_ns, now)
        # In natural order, so that a backlog is worked in the order of time.
        new.sort(key=lambda found: natural_key(found.path))
        for first in range(0, len(new), _AT_ONCE):  # so that others can write meanwhile
            page = new[first : first + _AT_ONCE]
            self._ledger.arrive(self._root, [(f.path, f.size, f.mtime_ns) for f in page], now)
            for found in page:
                self._log.info("image seen", path=printable(found.path), bytes=found.size)
