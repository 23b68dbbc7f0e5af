"""The daemon's connection for writing, and the migrations of the schema."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import StoreError
from spheroidd.store.reader import BUSY_SECONDS, WRITE_AS_DAEMON, Row, is_forbidden, rows_of
from spheroidd.store.schema import migrations


def timestamp(now: float) -> str:
    """Seconds since the epoch as UTC, ISO 8601, with milliseconds; sorts as text."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


class Database:
    """The daemon's one connection for writing; its threads take turns on a lock.

    As a context manager it closes itself.
    """

    def __init__(self, path: Path) -> None:
        """Open (or create) the database and bring its schema up to date.

        Raises:
            StoreError: it can't be opened or written, WAL is refused (a network file system),
                or a newer spheroidd wrote it.
        """
        _refuse_read_only(path)
        self.path = path
        self._lock = threading.RLock()
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
            migrations.apply(self.sql)
        except sqlite3.Error as error:
            hint = "If it is damaged, move it aside and restore a backup."
            if is_forbidden(error):
                hint = WRITE_AS_DAEMON
            raise StoreError(f"The database {path} can't be opened: {error}.", hint) from error
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
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self._lock:
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield self.sql
            except BaseException:
                self.sql.rollback()
                raise
            self.sql.commit()

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows of a SELECT, as dictionaries."""
        with self._lock:
            return rows_of(self.sql.conn, sql, parameters)

    def close(self) -> None:
        """Fold the write-ahead log back into the file and close."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self.sql.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.sql.close()


def _refuse_read_only(path: Path) -> None:
    """SQLite would open it all the same, and fail where something is written."""
    for needed in (path.parent, path):
        if os.access(needed, os.F_OK) and not os.access(needed, os.W_OK):
            raise StoreError(
                f"The database {path} can't be opened: you may not write to {needed}.",
                WRITE_AS_DAEMON,
            )


def _refuse_newer(sql: SqliteUtils, path: Path) -> None:
    ours = {migration.name for migration in migrations.pending(SqliteUtils(memory=True))}
    unknown = {migration.name for migration in migrations.applied(sql)} - ours
    if unknown:
        raise StoreError(
            f"{path} was written by a newer spheroidd (it knows {', '.join(sorted(unknown))}).",
            "Upgrade spheroidd, or use another `state_dir`.",
        )
