"""How long pictures and spreadsheets stay: by age, and by how much room all of them take.

Only what the database has recorded is ever removed, and only below the state folder's own
`images` and `batches`.  Areas, objects, flags and reviews stay for ever.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.store.kept import KINDS, Kept, Kind, Recorded

_EVERY_SECONDS = 3600.0
_AT_ONCE = 200  # per step, and per transaction
_TOLD = 3  # failures, by name
_DAY = 86400.0
_OWN = ("images", "batches")


class RetentionStage:
    """Looks once an hour; `trouble` says what the last look could not remove."""

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
        self._look: Iterator[bool] | None = None  # the one under way
        self._to_free = float("inf")  # bytes; in a look for age alone, all that is old
        self._failures: dict[str, None] = {}  # of that one, each once
        self._ending = False
        self.trouble = ""

    def start(self, now: float) -> None:
        """Nothing: the first look is the first step."""

    def step(self, now: float) -> bool:
        """Remove some of what may go; returns whether there may be more."""
        if self._look is None:
            if 0 < self._next - now <= _EVERY_SECONDS:  # further off: the clock was set back
                return False
            self._next = now + _EVERY_SECONDS
            self._failures = {}
            self._look = self._look_through(now)
        if self._ending:
            return False
        if not next(self._look, True):
            return True
        self._look = None
        self._tell()
        return False

    def hand_back(self) -> None:
        """A look that was broken off is over; the next one finds what it left."""
        self._look = None

    def stop(self) -> None:
        """From any thread: what is under way ends after the file in hand."""
        self._ending = True

    def _look_through(self, now: float) -> Iterator[bool]:
        """All that is to be done now; yields False after every page of files."""
        self._to_free = float("inf")
        for kind in KINDS:
            days = self._days.get(kind)
            if days is not None:
                yield from self._remove(kind, now - days * _DAY)
        if self._budget is not None:
            yield from self._by_size(self._budget, now)

    def _by_size(self, budget: float, now: float) -> Iterator[bool]:
        """While they take more than they may: the least needed kind first, of it the oldest."""
        self._to_free = self._measure() - budget
        for kind in KINDS:
            yield from self._remove(kind, now)
        if self._to_free > 0 and not self._ending:
            left = (budget + self._to_free) / 1e9
            self._fail(
                f"pictures and spreadsheets take {left:.2f} GB, more than keep.budget_gb, and "
                "none of them may go now"
            )

    def _measure(self) -> int:
        """Bytes of all that lies there; once per look, for it reads every folder."""
        return sum(_size(self._root / folder, lambda: self._ending) for folder in _OWN)

    def _remove(self, kind: Kind, before: float) -> Iterator[bool]:
        """Files made before a time, the oldest first, as long as there is something to free;
        those that can't be removed are passed over."""
        last: Recorded | None = None
        while self._to_free > 0 and not self._ending:
            page = self._kept.older(kind, before, _AT_ONCE, last)
            if not page:
                return
            last = page[-1]
            self._remove_page(kind, before, page)
            yield False

    def _remove_page(self, kind: Kind, before: float, page: list[Recorded]) -> None:
        gone: list[Recorded] = []
        freed = 0
        for recorded in page:
            if self._ending or freed >= self._to_free:
                break
            if not self._kept.may_go(kind, before, recorded):
                continue
            try:
                freed += self._unlink(recorded)
            except OSError as error:
                self._fail(f"{recorded.path} can't be removed: {error.strerror or error}")
                continue
            gone.append(recorded)
        self._to_free -= freed
        if gone:
            self._kept.gone(kind, gone)
            self._log.info("removed", kind=kind, count=len(gone), megabytes=round(freed / 1e6, 1))

    def _unlink(self, recorded: Recorded) -> int:
        """Returns how many bytes it took."""
        path = self._root / recorded.path
        real = Path(os.path.realpath(path.parent), path.name)
        own = [Path(os.path.realpath(self._root), folder) for folder in _OWN]
        if not any(folder in real.parent.parents for folder in own):
            raise OSError("it does not lie where spheroidd puts its own files")
        if path.is_dir() and not path.is_symlink():
            size = _size(path)
            shutil.rmtree(path)
            return size
        try:
            size = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def _fail(self, why: str) -> None:
        self._failures[why] = None

    def _tell(self) -> None:
        """Only now, so that nobody is told each hour that it is well again."""
        failures = list(self._failures)
        more = f"; and {len(failures) - _TOLD} more" if len(failures) > _TOLD else ""
        self.trouble = "; ".join(failures[:_TOLD]) + more


def _size(folder: Path, ending: Callable[[], bool] = lambda: False) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        if ending():
            break
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                total += Path(parent, name).lstat().st_size
    return total
