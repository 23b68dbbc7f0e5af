"""Backups of the database, made while the daemon writes, and again and again by itself."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import StoreError
from spheroidd.store.backups import Backup, backup_name, backups_in
from spheroidd.store.copying import Tell, copy_database

_LOOK_SECONDS = 60.0
_BACK_OFF_SECONDS = (60.0, 300.0, 900.0, 3600.0)
_LEFT_OVER_SECONDS = 3600.0  # a copy in the making is written to all the time


def make_backup(
    database: Path, folder: Path, now: float, tell: Tell = lambda _done, _of: None
) -> Path:
    """Make a backup named after the time, in a folder that is made if only it is missing.

    Raises:
        StoreError: it can't be made; says why.
    """
    _require(database)
    with _own_words(folder):
        if not folder.is_dir():
            folder.mkdir()
            give_to_owner_of(database.parent, folder)
        number = 1
        while (path := folder / backup_name(now, number)).exists():
            number += 1
        return back_up_to(database, path, tell)


def back_up_to(database: Path, path: Path, tell: Tell = lambda _done, _of: None) -> Path:
    """Make a backup under a name that nobody has; it appears when it is whole and checked.

    Raises:
        StoreError: it can't be made, or there is such a file already.
    """
    _require(database)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _own_words(path.parent):
        copy_database(database, temporary, tell)
        try:
            give_to_owner_of(database, temporary)
            _publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def give_to_owner_of(like: Path, *paths: Path) -> None:
    """What root makes for the service must be the service's."""
    if os.geteuid() == 0:
        status = like.stat()
        for path in paths:
            os.chown(path, status.st_uid, status.st_gid)


def _require(database: Path) -> None:
    if not database.is_file():
        raise StoreError(f"There is no database {database} yet.", "There is nothing to back up.")


@contextlib.contextmanager
def _own_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise StoreError(
            f"{error.filename2 or error.filename} is there already.",
            "Backups overwrite nothing: take another name.",
        ) from error
    except OSError as error:
        raise StoreError(
            f"No backup can be made in {folder}: {error.strerror or error}.",
            "Check the folder, its permissions, and that its disk is there.",
        ) from error


def _publish(temporary: Path, path: Path) -> None:
    """Give the file its name, unless another has it; a share may know no hard links."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(0, "it is there already", str(path)) from None
        temporary.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Ending(Exception):  # noqa: N818
    """The service ends while a copy is being made."""


class BackupStage:
    """Makes a backup whenever the newest is too old; `trouble` says why it could not."""

    def __init__(
        self,
        database: Path,
        folder: Path,
        every_hours: float,
        copies: int,
        log: FilteringBoundLogger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            folder: where backups lie; whatever else lies there is let be.
            copies: how many of them stay.
        """
        self._database = database
        self._folder = folder
        self._every = every_hours * 3600
        self._copies = copies
        self._log = log
        self._monotonic = monotonic
        self._next_look = -float("inf")
        self._failed = 0
        self._ending = False
        self.trouble = ""

    def start(self, now: float) -> None:
        """Remove what a killed process left half made."""
        with contextlib.suppress(OSError):
            for path in self._folder.glob(".spheroidd-*.db.*.part"):
                if abs(now - path.stat().st_mtime) > _LEFT_OVER_SECONDS:
                    path.unlink()

    def step(self, now: float) -> bool:
        """Make a backup if one is due; never anything else to do at once."""
        if self._monotonic() < self._next_look:
            return False
        self._next_look = self._monotonic() + _LOOK_SECONDS
        try:
            if self._is_due(now):
                self._make(now)
        except (StoreError, OSError) as error:
            self._fail(error)
        except _Ending:
            self._log.info("the backup is made after the next start")
        return False

    def hand_back(self) -> None:
        """Nothing is claimed here."""

    def stop(self) -> None:
        """From any thread: a copy in the making is given up."""
        self._ending = True

    def _is_due(self, now: float) -> bool:
        # One from the future says that a clock was set back: it is no reason to make none.
        made = [one.made_at for one in backups_in(self._folder) if one.made_at <= now + 1]
        return not made or now - made[-1] >= self._every

    def _make(self, now: float) -> None:
        started = self._monotonic()
        path = make_backup(self._database, self._folder, now, self._go_on)
        self._log.info(
            "backup made",
            path=str(path),
            megabytes=round(path.stat().st_size / 1e6, 1),
            seconds=round(self._monotonic() - started, 1),
        )
        self._failed, self.trouble = 0, ""
        self._rotate(path)

    def _go_on(self, _done: int, _of: int) -> None:
        if self._ending:
            raise _Ending

    def _rotate(self, newest: Path) -> None:
        """The new one stays whatever its name says of its age, and of the others the youngest."""
        try:
            for old in self._surplus(newest):
                old.path.unlink(missing_ok=True)
                self._log.info("old backup removed", path=str(old.path))
        except OSError as error:
            self.trouble = f"old backups can't be removed: {error}"
            self._log.error("old backups can't be removed", reason=str(error))

    def _surplus(self, newest: Path) -> list[Backup]:
        others = [one for one in backups_in(self._folder) if one.path != newest]
        return others[: max(0, len(others) - (self._copies - 1))]

    def _fail(self, error: Exception) -> None:
        wait = _BACK_OFF_SECONDS[min(self._failed, len(_BACK_OFF_SECONDS) - 1)]
        self._failed += 1
        self._next_look = self._monotonic() + wait
        self.trouble = f"no backup of the database: {error}"
        self._log.error("no backup", reason=str(error), tries=self._failed, again_in_seconds=wait)
