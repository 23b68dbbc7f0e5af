"""Backups of the database, made while the daemon writes, and again and again by itself."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import StoreError
from spheroidd.store.backups import Backup, backup_name, backups_in
from spheroidd.store.copying import Tell, copy_database, work_in
from spheroidd.store.files import flush

_LOOK_SECONDS = 60.0
_BACK_OFF_SECONDS = (60.0, 300.0, 900.0, 3600.0)
_NO_OWNERS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS)  # VFAT, and many a share
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


def give_to_owner_of(like: Path, path: Path) -> None:
    """What root makes for the service must be the service's; elsewhere than in its own folder,
    only where files have owners and root may change them."""
    if os.geteuid() != 0:
        return
    status = like.stat()
    home = like if like.is_dir() else like.parent
    try:
        os.chown(path, status.st_uid, status.st_gid)
    except OSError as error:
        if error.errno not in _NO_OWNERS or path.resolve().is_relative_to(home.resolve()):
            raise


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
    flush(path.parent)


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
        self._next_look = self._next_try = -float("inf")
        self._failed = 0
        self._ending = False
        self._no_backup = ""
        self._too_many = ""
        self._newest: Path | None = None  # after which the old ones are still to be removed
        self._spared: set[Path] = set()

    @property
    def trouble(self) -> str:
        """In words; empty: all is well."""
        return "; ".join(filter(None, (self._no_backup, self._too_many)))

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
                if self._monotonic() >= self._next_try:
                    self._make(now)
            else:  # a person may have made one
                self._well()
        except (StoreError, OSError) as error:
            self._fail(error)
        except _Ending:
            self._log.info("the backup is made after the next start")
        if self._newest is not None:
            self._rotate(self._newest)
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
        self._well()
        self._newest = path

    def _well(self) -> None:
        self._failed, self._no_backup, self._next_try = 0, "", -float("inf")

    def _go_on(self, _done: int, _of: int) -> None:
        if self._ending:
            raise _Ending

    def _rotate(self, newest: Path) -> None:
        """The new one stays whatever its name says of its age, and of the others the youngest;
        where it fails, it is tried again at the next look."""
        try:
            for old in self._surplus(newest):
                old.path.unlink(missing_ok=True)
                self._log.info("old backup removed", path=str(old.path))
        except (StoreError, OSError) as error:
            if not self._too_many:
                self._log.error("old backups can't be removed", reason=str(error))
            self._too_many = f"old backups can't be removed: {error}"
            return
        self._newest, self._too_many = None, ""

    def _surplus(self, newest: Path) -> list[Backup]:
        """The oldest, but never one that holds more than all that stay: they would be copies of
        a database that was begun afresh, or put back, or is losing what it had."""
        others = [one for one in backups_in(self._folder) if one.path != newest]
        old = others[: max(0, len(others) - (self._copies - 1))]
        if not old or not newest.exists():  # a person may have taken it away
            return []
        holds = {path: work_in(path) for path in (newest, *(one.path for one in others))}
        stay = holds.keys() - {one.path for one in old}
        for of in (0, 1):  # images, reviews
            fullest = max(old, key=lambda one: (holds[one.path][of], one))
            if holds[fullest.path][of] > max(holds[path][of] for path in stay):
                stay.add(fullest.path)
                self._spare(fullest.path, *holds[fullest.path])
        return [one for one in old if one.path not in stay]

    def _spare(self, path: Path, images: int, reviews: int) -> None:
        if path not in self._spared:
            self._spared.add(path)
            self._log.warning(
                "an old backup stays, for it holds more than all newer ones",
                path=str(path), images=images, reviews=reviews,
            )  # fmt: skip

    def _fail(self, error: Exception) -> None:
        if self._monotonic() < self._next_try:
            return
        wait = _BACK_OFF_SECONDS[min(self._failed, len(_BACK_OFF_SECONDS) - 1)]
        self._failed += 1
        self._next_try = self._monotonic() + wait
        self._no_backup = f"no backup of the database: {error}"
        self._log.error("no backup", reason=str(error), tries=self._failed, again_in_seconds=wait)
