"""How long pictures and spreadsheets stay: by age, and by how much room all of them take.

Only what the database has recorded is ever removed, and only below the state folder's own
`images` and `batches`.  Areas, objects, flags and reviews stay for ever.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.store.kept import KINDS, Kept, Kind, Recorded

_EVERY_SECONDS = 3600.0
_AT_ONCE = 200  # per step, so that the service can end at any time
_DAY = 86400.0
_OWN = ("images", "batches")


class RetentionStage:
    """Looks once an hour; `trouble` says what it could not remove."""

    def __init__(
        self,
        kept: Kept,
        root: Path,
        days: Mapping[Kind, float | None],
        budget_bytes: float | None,
        log: FilteringBoundLogger,
    ) -> None:
        """
        Args:
            root: the state folder.
            days: how long each kind stays after it was made; None: for ever.
            budget_bytes: how much all of them may take together; None: no limit.
        """
        self._kept = kept
        self._root = root
        self._days = days
        self._budget = budget_bytes
        self._log = log
        self._next = -float("inf")
        self._due: list[Kind] = []
        self.trouble = ""

    def start(self, now: float) -> None:
        """Nothing: the first look is the first step."""

    def step(self, now: float) -> bool:
        """Remove some of what may go; returns whether there may be more."""
        if self._due:
            if not self._by_age(self._due[0], now):
                self._due.pop(0)
            return True
        if 0 < self._next - now <= _EVERY_SECONDS:  # further off: the clock was set back
            return False
        self._next = now + _EVERY_SECONDS
        self.trouble = ""
        self._due = [kind for kind in KINDS if self._days.get(kind) is not None]
        self._by_size(now)
        return bool(self._due)

    def hand_back(self) -> None:
        """Nothing is ever in hand."""

    def stop(self) -> None:
        """Nothing runs between steps."""

    def _by_age(self, kind: Kind, now: float) -> bool:
        """Whether something went, and so more may be there."""
        before = now - (self._days[kind] or 0.0) * _DAY
        return self._remove(kind, before) > 0

    def _by_size(self, now: float) -> None:
        """While they take more than they may, the oldest go, the least needed kind first."""
        if self._budget is None:
            return
        size = sum(_size(self._root / folder) for folder in _OWN)
        for kind in KINDS:
            while size > self._budget:
                before = size
                if not self._remove(kind, now):
                    break
                size = sum(_size(self._root / folder) for folder in _OWN)
                self._log.info("over the budget", removed=kind, bytes=before - size)
        if size > self._budget:
            self.trouble = (
                f"pictures and spreadsheets take {size / 1e9:.2f} GB, more than "
                "keep.budget_gb, and none of them may go now"
            )

    def _remove(self, kind: Kind, before: float) -> int:
        """Remove some files made before a time; returns how many are gone."""
        gone: list[Recorded] = []
        for recorded in self._kept.older(kind, before, _AT_ONCE):
            try:
                self._unlink(recorded)
            except OSError as error:
                self.trouble = f"{recorded.path} can't be removed: {error.strerror or error}"
                continue
            gone.append(recorded)
        if gone:
            self._kept.gone(kind, gone)
            self._log.info("removed after their time", kind=kind, count=len(gone))
        return len(gone)

    def _unlink(self, recorded: Recorded) -> None:
        path = self._root / recorded.path
        real = Path(os.path.realpath(path.parent), path.name)
        own = [Path(os.path.realpath(self._root), folder) for folder in _OWN]
        if not any(folder in real.parent.parents for folder in own):
            raise OSError("it does not lie where spheroidd puts its own files")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                total += Path(parent, name).lstat().st_size
    return total
