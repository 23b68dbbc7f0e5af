"""Is the database whole?  What to say, and what to do next, where it is not."""

import contextlib
import os
import shlex
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from spheroidd.errors import StoreError
from spheroidd.store.backups import Backup, backups_in
from spheroidd.store.folder import StateFolder

# Up to this size the check takes a second or two, and is made at every start.
_ALWAYS_BYTES = 500_000_000
_TELL_SECONDS = 5.0
_STEPS = 200_000  # of SQLite's machine between two looks at the clock


class DamagedError(StoreError, sqlite3.DatabaseError):
    """The database is damaged. Also an error of SQLite's, so that no image is blamed for it."""

    fatal = True


class LockedError(StoreError, sqlite3.OperationalError):
    """Another program has kept the database locked for longer than anybody should wait."""


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says that the file is not what it was."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_locked(error: BaseException) -> bool:
    """Whether SQLite says that somebody else has been writing all the time."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def damaged(path: Path, why: object, backups: Path | None = None) -> DamagedError:
    """The error that says so, with the newest backup and the command that restores it.

    Args:
        backups: the folder they lie in; None: the usual one.
    """
    with contextlib.suppress(OSError):
        if found := backups_in(StateFolder(path.parent).backups(backups)):
            newest = shlex.quote(str(found[-1].path))
            return DamagedError(
                f"The database {path} is damaged: {why}.",
                f"Stop the daemon and restore the newest backup: `spheroidd restore {newest} "
                "-c FILE`. What was measured since is measured again; the damaged file is kept.",
            )
    return DamagedError(
        f"The database {path} is damaged: {why}.",
        "Stop the daemon; `spheroidd restore -c FILE` shows which backups there are. Without "
        "one, move the file aside, and `images` and `batches` with it: everything is measured "
        "again, but reviews are lost.",
    )


def locked(path: Path, seconds: float) -> LockedError:
    """The error that says so."""
    return LockedError(
        f"Another program has kept the database {path} locked for {seconds:g} s.",
        f"Nothing is lost, and it is tried again. `fuser {shlex.quote(str(path))}` tells who has "
        "it open.",
    )


def require_sound(
    path: Path, backups: Path | None = None, tell: Callable[[], object] = lambda: None
) -> None:
    """Check a database before it is used (`PRAGMA quick_check`).

    One that is not there is sound where nothing tells that it ever was: a new one would give
    the numbers of old images, whose pictures still lie there, to others, and its backups would
    push out the good ones.  A large one whose last daemon ended well is taken as it is: its
    check takes as long as reading it, and every backup is checked the same way.  One that can't
    be opened for other reasons is let pass: whoever opens it next says why.

    Args:
        backups: the folder they lie in, for the advice.
        tell: called every few seconds while a long check goes on.

    Raises:
        DamagedError: says which backup to restore, and how.
        StoreError: it is missing; says so, too, and how to begin afresh.
    """
    if not path.exists():
        if traces := _traces(path, backups):
            raise _missing(path, traces, backups)
        return
    if path.stat().st_size == 0 and _traces(path, backups):  # SQLite would take it for new
        raise damaged(path, "it is empty", backups)
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            if _worth_checking(path, connection):
                _keep_telling(connection, tell)
                if problems := quick_check(connection):
                    raise damaged(path, problems, backups)
    except sqlite3.Error as error:
        if isinstance(error, DamagedError):
            raise
        if is_damaged(error):
            raise damaged(path, error, backups) from error


def _traces(path: Path, backups: Path | None) -> list[Path]:
    """What tells that there has been a database with something in it."""
    folders = [path.parent / "images", path.parent / "batches"]
    # Files, for a disk of its own has `lost+found`.
    found = [folder for folder in folders if any(names for _, _, names in os.walk(folder))]
    found += dict.fromkeys(backup.path.parent for backup in _all_backups(path, backups))
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        found.append(log)
    return found


def _all_backups(path: Path, backups: Path | None) -> list[Backup]:
    """Those in the configured folder, and those in the usual one, which may have been in use
    before; the oldest first."""
    state = StateFolder(path.parent)
    found: list[Backup] = []
    for folder in {state.backups(), state.backups(backups)}:
        with contextlib.suppress(OSError):
            found += backups_in(folder)
    return sorted(found)


def _missing(path: Path, traces: list[Path], backups: Path | None) -> StoreError:
    names = ", ".join(str(one) for one in traces)
    found = _all_backups(path, backups)
    backup = shlex.quote(str(found[-1].path)) if found else "BACKUP"
    return StoreError(
        f"The database {path} is missing, but there has been one, for there is {names}.",
        f"Bring it back, with its `-wal` file, or restore a backup: `spheroidd restore {backup} "
        f"-c FILE`. To begin afresh on purpose, move aside {names}.",
    )


def quick_check(connection: sqlite3.Connection) -> str:
    """The first thing that is wrong with a database; empty: nothing."""
    [first] = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if first == "ok" else " ".join(str(first).split())


def _worth_checking(path: Path, connection: sqlite3.Connection) -> bool:
    if path.stat().st_size <= _ALWAYS_BYTES:
        return True
    last = connection.execute("SELECT stopped_at FROM service").fetchone()
    return last is None or last[0] is None


def _keep_telling(connection: sqlite3.Connection, tell: Callable[[], object]) -> None:
    told = time.monotonic()

    def look() -> int:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            tell()
        return 0

    connection.set_progress_handler(look, _STEPS)
