"""A whole and consistent copy of a database, made while others write to it."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import StoreError
from spheroidd.store.reader import BUSY_SECONDS, READ_AS_DAEMON, is_forbidden
from spheroidd.store.schema import migrations
from spheroidd.store.soundness import damaged, is_damaged, is_locked, quick_check

_PAGES = 1000  # between two calls of `tell`: 4 MB
_STEPS = 200_000  # of SQLite's machine between two calls of `tell` while a copy is checked
_SPARE_BYTES = 10_000_000
_VERSIONS = 18  # where the header says how the file is written and read (SQLite's file format)
_ROLLBACK_JOURNAL = b"\x01\x01"

_HAS_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"

Tell = Callable[[int, int], object]


@dataclass(frozen=True)
class Contents:
    """What a database holds.

    `schema`: the newest migration; `latest`: UTC, ISO 8601, of the last thing it knows of;
    `last_image` and `last_batch`: the highest numbers in use.
    """

    schema: str
    images: int
    measured: int
    reviews: int
    latest: str
    last_image: int
    last_batch: int


def copy_database(source: Path, target: Path, tell: Tell = lambda _done, _of: None) -> None:
    """Copy a database as it is at this moment; nobody who writes to it has to wait.

    The copy is a single file, on the disk and checked when this returns; `target` is not there
    before, nor after anything has gone wrong.

    Args:
        tell: called with (bytes copied, bytes in all), also while the copy is checked; what it
            raises ends the copying.

    Raises:
        StoreError: the database is damaged or can't be read, or there is no room.
        FileExistsError: `target` is there already.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            _copy(source, target, tell)
        except sqlite3.Error as error:
            raise _in_words(source, target, error) from error
        os.pwrite(descriptor, _ROLLBACK_JOURNAL, _VERSIONS)
        os.fsync(descriptor)
        _check(source, target, tell)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _check(source: Path, target: Path, tell: Tell) -> None:
    """As long as reading it all; so it can be told to end, as the copying can."""
    size = target.stat().st_size
    raised: list[BaseException] = []

    def look() -> int:
        try:
            tell(size, size)
        except BaseException as error:  # SQLite would only say that it was interrupted
            raised.append(error)
        return len(raised)

    with _at_rest(target) as copy:
        copy.set_progress_handler(look, _STEPS)
        try:
            problems = quick_check(copy)
        except sqlite3.OperationalError:
            if raised:
                raise raised[0] from None
            raise
        if problems:
            raise damaged(source, f"in the copy, {problems}")


def work_in(path: Path) -> tuple[int, int]:
    """How many images and reviews a backup holds; none of either if it is no database.

    Raises:
        StoreError: it can't be read just now.
    """
    try:
        with _at_rest(path) as connection:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                if connection.execute(_HAS_TABLE, (table,)).fetchone()
                else 0
                for table in ("images", "reviews")
            ]
    except sqlite3.Error as error:
        if is_damaged(error):
            return 0, 0
        raise StoreError(f"{path} can't be read: {error}.") from error
    return counts[0], counts[1]


def contents_of(path: Path) -> Contents:
    """What a database at rest holds.

    Raises:
        StoreError: it is none of spheroidd's, or a newer spheroidd wrote it.
    """
    ours = [migration.name for migration in migrations.pending(SqliteUtils(memory=True))]
    try:
        with _at_rest(path) as connection:
            applied = [one.name for one in migrations.applied(SqliteUtils(connection))]
            if not applied:
                raise StoreError(f"{path} is no database of spheroidd's.")
            if unknown := sorted(set(applied) - set(ours)):
                raise StoreError(
                    f"{path} was written by a newer spheroidd (it knows {', '.join(unknown)}).",
                    "Upgrade spheroidd, or take an older backup.",
                )
            return _count(connection, max(applied, key=ours.index))
    except sqlite3.Error as error:
        raise StoreError(f"{path} can't be read as a database: {error}.") from error


def is_in_use(path: Path) -> bool:
    """Whether any other connection to a database is open; where not, its log is folded in."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:  # a damaged one can't be asked
        return is_locked(error)
    return False


def _copy(source: Path, target: Path, tell: Tell) -> None:
    address = f"{source.resolve().as_uri()}?mode=ro"
    # Nobody else knows of the copy: it needs no locks, which network shares often lack.
    place = f"{target.resolve().as_uri()}?nolock=1"
    with (
        contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as origin,
        contextlib.closing(sqlite3.connect(place, uri=True, isolation_level=None)) as copy,
    ):
        # One read transaction around all steps: they see one moment, however much is written
        # meanwhile; without it every write by somebody else begins the copy anew.
        origin.execute("BEGIN")
        [pages] = origin.execute("PRAGMA page_count").fetchone()
        [page] = origin.execute("PRAGMA page_size").fetchone()
        require_room(target.parent, pages * page)
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")  # it is flushed once, as a whole
        origin.backup(
            copy,
            pages=_PAGES,
            progress=lambda _, left, of: tell((of - left) * page, of * page),
        )


def require_room(folder: Path, size: int) -> None:
    """
    Raises:
        StoreError: a file of `size` bytes would not fit.
    """
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        raise StoreError(
            f"A copy needs {(size + _SPARE_BYTES) / 1e6:.0f} MB in {folder}, where only "
            f"{free / 1e6:.0f} MB are free.",
            "Make room there, or have it elsewhere.",
        )


def _in_words(source: Path, target: Path, error: sqlite3.Error) -> StoreError:
    if is_damaged(error):
        return damaged(source, error)
    hint = READ_AS_DAEMON if is_forbidden(error) else ""
    return StoreError(f"{source} can't be copied to {target.parent}: {error}.", hint)


@contextlib.contextmanager
def _at_rest(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that nobody writes to: no locks, no files beside it."""
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        yield connection


def _count(connection: sqlite3.Connection, schema: str) -> Contents:
    def one(sql: str) -> int:
        [value] = connection.execute(sql).fetchone()
        return value or 0

    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    latest = "SELECT max(at) FROM (SELECT max(at) AS at FROM transitions"
    latest += " UNION ALL SELECT max(heartbeat_at) FROM service"
    if reviewed := "reviews" in tables:
        latest += " UNION ALL SELECT max(at) FROM reviews"
    return Contents(
        schema=schema,
        images=one("SELECT count(*) FROM images"),
        measured=one("SELECT count(*) FROM images WHERE state = 'measured'"),
        reviews=one("SELECT count(*) FROM reviews") if reviewed else 0,
        latest=connection.execute(f"{latest})").fetchone()[0] or "",
        last_image=one("SELECT max(id) FROM images"),
        last_batch=one("SELECT max(id) FROM batches"),
    )
