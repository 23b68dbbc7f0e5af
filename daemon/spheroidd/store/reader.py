"""Read-only connections to `spheroidd.db`; light, for commands that must answer at once."""

import sqlite3
from pathlib import Path
from typing import Any

from spheroidd.errors import StoreError

Row = dict[str, Any]
BUSY_SECONDS = 30.0


class Reader:
    """A read-only connection of its own: it can neither disturb nor block the daemon."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreError(
                f"There is no database {path} yet.",
                "Start the daemon with `spheroidd run -c FILE`, or check `state_dir`.",
            )
        try:
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
            )
            self._connection.execute("SELECT 1 FROM images LIMIT 1")
        except sqlite3.Error as error:
            raise StoreError(f"The database {path} can't be read: {error}.") from error

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows of a SELECT, as dictionaries."""
        return rows_of(self._connection, sql, parameters)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rows_of(
    connection: sqlite3.Connection, sql: str, parameters: dict[str, Any] | None
) -> list[Row]:
    """All rows of a SELECT, as dictionaries."""
    cursor = connection.execute(sql, parameters or {})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
