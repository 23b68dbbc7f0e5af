"""The daemon's connection for writing, and the migrations of the schema."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import StoreError
from spheroidd.store.mounts import refuse_network
from spheroidd.store.reader import BUSY_SECONDS, WRITE_AS_DAEMON, Row, is_forbidden, rows_of
from spheroidd.store.schema import migrations
from spheroidd.store.soundness import damaged, is_damaged, is_locked, locked

# While somebody else keeps it locked: the first who wants to write waits long, whoever comes
# after it only this long, or the daemon's threads would wait one after the other.
_LOCKED_SECONDS = 1.0


def timestamp(now: float) -> str:
    """Seconds since the epoch as UTC, ISO 8601, with milliseconds; sorts as text."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


class Database:
    """The daemon's one connection for writing; its threads take turns on a lock.

    As a context manager it closes itself.
    """

    def __init__(self, path: Path, before_upgrade: Callable[[], object] = lambda: None) -> None:
        """Open (or create) the database and bring its schema up to date.

        Args:
            before_upgrade: called where an older one is to be upgraded, which may take minutes.

        Raises:
            StoreError: it can't be opened or written, is damaged, lies on a network file system
                or where SQLite can't keep a write-ahead log, or a newer spheroidd wrote it.
        """
        _refuse_read_only(path)
        refuse_network(path.parent)
        self.path = path
        self._lock = threading.RLock()
        self._patience = BUSY_SECONDS
        try:
            # isolation_level=None: transactions begin and end where this module says.
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self.sql = SqliteUtils(connection)
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=FULL")  # a power cut loses no commit
            connection.execute("PRAGMA foreign_keys=ON")
            _refuse_newer(self.sql, path)
            if migrations.pending(self.sql):
                if migrations.applied(self.sql):
                    before_upgrade()
                # In one transaction, so that two who upgrade at once take turns, and a kill
                # leaves the schema as it was.
                with self.write() as sql:
                    migrations.apply(sql)
        except sqlite3.Error as error:
            if isinstance(error, StoreError):
                raise
            raise _cannot_open(path, error) from error
        if mode != "wal":
            raise StoreError(
                f"SQLite refuses write-ahead logging for {path} (it offers {mode!r}).",
                "Put `state_dir` on a local disk: network shares can't keep the database safe.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[SqliteUtils]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises:
            LockedError: another program has kept the database locked; nothing was written.
            DamagedError: the file is not what it was.
        """
        with self._lock, self._in_words():
            self._begin()
            try:
                yield self.sql
                self.sql.commit()  # may fail too: on a full disk, for one
            except BaseException:
                self._roll_back()
                raise

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows of a SELECT, as dictionaries."""
        with self._lock, self._in_words():
            return rows_of(self.sql.conn, sql, parameters)

    def _begin(self) -> None:
        self._roll_back()  # what could not be rolled back before
        try:
            self.sql.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            waited = self._patience
            self._wait_at_most(_LOCKED_SECONDS)
            raise locked(self.path, waited) from error
        self._wait_at_most(BUSY_SECONDS)

    def _roll_back(self) -> None:
        """Never hides why: a disk that fails a commit may fail the rollback too."""
        with contextlib.suppress(sqlite3.Error):
            self.sql.rollback()

    def _wait_at_most(self, seconds: float) -> None:
        if seconds != self._patience:
            self._patience = seconds
            self.sql.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damaged(error) and not isinstance(error, StoreError):
                raise damaged(self.path, error) from error
            raise

    def close(self) -> None:
        """Fold the write-ahead log back into the file and close."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                # Waiting for whoever reads just now would hold up every writer meanwhile.
                self.sql.conn.execute("PRAGMA busy_timeout = 0")
                self.sql.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.Error):  # also where somebody keeps it locked
                self.sql.close()


def _refuse_read_only(path: Path) -> None:
    """SQLite would open it all the same, and fail where something is written."""
    for needed in (path.parent, path):
        if os.access(needed, os.F_OK) and not os.access(needed, os.W_OK):
            raise StoreError(
                f"The database {path} can't be opened: you may not write to {needed}.",
                WRITE_AS_DAEMON,
            )


def _cannot_open(path: Path, error: sqlite3.Error) -> StoreError:
    if is_damaged(error):
        return damaged(path, error)
    if is_locked(error):
        return locked(path, BUSY_SECONDS)
    hint = WRITE_AS_DAEMON if is_forbidden(error) else ""
    return StoreError(f"The database {path} can't be opened: {error}.", hint)


def _refuse_newer(sql: SqliteUtils, path: Path) -> None:
    ours = {migration.name for migration in migrations.pending(SqliteUtils(memory=True))}
    unknown = {migration.name for migration in migrations.applied(sql)} - ours
    if unknown:
        raise StoreError(
            f"{path} was written by a newer spheroidd (it knows {', '.join(sorted(unknown))}).",
            "Upgrade spheroidd, restore a backup of before, or use another `state_dir`.",
        )
