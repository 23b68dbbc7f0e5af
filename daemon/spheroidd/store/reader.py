"""Read-only connections to `spheroidd.db`; light, for commands that must answer at once."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from spheroidd.errors import StoreError
from spheroidd.store.soundness import damaged, is_damaged

Row = dict[str, Any]
BUSY_SECONDS = 30.0
SCHEMA = "m005_changes"  # the newest migration; their module takes long to import
_AS_DAEMON = "Do it as the user that the daemon runs as (`sudo -u spheroidd …`)"
READ_AS_DAEMON = f"{_AS_DAEMON}, or let yourself read `state_dir` and everything in it."
WRITE_AS_DAEMON = f"{_AS_DAEMON}, or let yourself write to `state_dir` and everything in it."


class Rows(Protocol):
    """Whatever answers a SELECT: a `Reader`, or the daemon's own connection."""

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows, as dictionaries."""
        ...


class Reader:
    """A read-only connection of its own: it can neither disturb nor block the daemon."""

    def __init__(self, path: Path) -> None:
        """Open the database.

        Raises:
            StoreError: it is not there, can't be read, is damaged, or is still as an older
                spheroidd left it.
        """
        self._path = path
        try:
            if not path.is_file():
                raise StoreError(
                    f"There is no database {path} yet.",
                    "Start the daemon with `spheroidd run -c FILE`, or check `state_dir`.",
                )
            self._connection = sqlite3.connect(
                _address(path), uri=True, timeout=BUSY_SECONDS, check_same_thread=False
            )
            self._connection.execute("SELECT 1 FROM images LIMIT 1")
            self._refuse_older(path)
        except (OSError, sqlite3.Error) as error:
            if is_damaged(error):
                raise damaged(path, error) from error
            hint = READ_AS_DAEMON if is_forbidden(error) else ""
            raise StoreError(f"The database {path} can't be read: {error}.", hint) from error

    def _refuse_older(self, path: Path) -> None:
        """Tables would be missing: only the daemon may add them."""
        if not self.rows(
            "SELECT 1 FROM _sqlite_migrations WHERE migration_set = 'spheroidd' AND name = :name",
            {"name": SCHEMA},
        ):
            self.close()
            raise StoreError(
                f"The database {path} is still as an older spheroidd left it.",
                "Start the daemon once (restart it if it runs): that brings the database up to "
                "date, and nothing in it is lost.",
            )

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows of a SELECT, as dictionaries.

        Raises:
            DamagedError: the file is not what it was.
        """
        try:
            return rows_of(self._connection, sql, parameters)
        except sqlite3.Error as error:
            if is_damaged(error):
                raise damaged(self._path, error) from error
            raise

    def tuples(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT one by one as they are found: for very many of them.

        Raises:
            DamagedError: the file is not what it was.
        """
        try:
            yield from self._connection.execute(sql, parameters or {})
        except sqlite3.Error as error:
            if is_damaged(error):
                raise damaged(self._path, error) from error
            raise

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Everything asked within is answered as of one moment, however much is written meanwhile.

        Not for long: the write-ahead log grows until it ends.
        """
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):  # damage ends it by itself
                self._connection.rollback()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def seconds_of(stored: str) -> float:
    """A time as the database has it (UTC, ISO 8601), in seconds since the epoch."""
    return datetime.fromisoformat(stored).timestamp()


def _address(path: Path) -> str:
    """The database's URI, read-only.

    Reading beside a write-ahead log needs a shared-memory file.  Who may not make one can
    still read a database at rest (no log there) as if it never changed.
    """
    at_rest = not path.with_name(path.name + "-wal").exists()
    unchanging = at_rest and not os.access(path.parent, os.W_OK)
    return f"{path.resolve().as_uri()}?mode=ro" + ("&immutable=1" if unchanging else "")


def is_forbidden(error: Exception) -> bool:
    """Whether it says that this user may not."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
    return isinstance(error, PermissionError)


def rows_of(
    connection: sqlite3.Connection, sql: str, parameters: dict[str, Any] | None
) -> list[Row]:
    """All rows of a SELECT, as dictionaries."""
    cursor = connection.execute(sql, parameters or {})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
