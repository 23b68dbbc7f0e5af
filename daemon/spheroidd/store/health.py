"""How the daemon and its watched folders are, for `status` and everything that looks."""

import contextlib
import sqlite3
from typing import Any

from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import move

# In the reason of every failure that says nothing about the image: see `ImageError.unreachable`.
UNREADABLE = ": It can't be read: "


class Health:
    """Written by the daemon; read through `store.reading`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def started(self, now: float, **columns: Any) -> None:
        """The daemon begins: its process, version and phase."""
        at = timestamp(now)
        with self._db.write() as sql:
            sql.execute("DELETE FROM service")
            sql.table("service").insert(
                {"id": 1, **columns, "started_at": at, "heartbeat_at": at, "phase": "starting"}
            )

    def update(self, now: float, **columns: Any) -> None:
        """A heartbeat, with whatever else has changed."""
        values = {**columns, "heartbeat_at": timestamp(now)}
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        with self._db.write() as sql:
            sql.execute(f"UPDATE service SET {assignments} WHERE id = 1", values)  # noqa: S608

    def ended(self, now: float, phase: str, trouble: str = "") -> None:
        """The end: `stopped`, or `failed` with the reason; a database out of reach is let be."""
        with contextlib.suppress(sqlite3.Error):
            self.update(now, phase=phase, trouble=trouble, stopped_at=timestamp(now))

    def folder(
        self, root: str, reason: str, observer: str | None, now: float, *, scanned: bool
    ) -> None:
        """How a watched folder is: an empty `reason` means well; `since` keeps the first time."""
        health = "degraded" if reason else "ok"
        at = timestamp(now)
        with self._db.write() as sql:
            sql.execute(
                "INSERT INTO folders (root, health, since, reason, observer, scanned_at)"
                " VALUES (:root, :health, :at, :reason, :observer, :scanned)"
                " ON CONFLICT (root) DO UPDATE SET reason = :reason, observer = :observer,"
                " since = CASE WHEN health = :health THEN since ELSE :at END, health = :health,"
                " scanned_at = coalesce(:scanned, scanned_at)",
                {
                    "root": root,
                    "health": health,
                    "at": at,
                    "reason": reason,
                    "observer": observer,
                    "scanned": at if scanned else None,
                },
            )

    def reachable(self, root: str, now: float) -> int:
        """A folder is well again: what could not be read in it is tried at once, however often
        it was tried in vain; returns how many images that are."""
        with self._db.write() as sql:
            rows = list(
                sql.query(
                    "SELECT id, failed_from FROM images WHERE state = 'failed'"
                    " AND next_try_at IS NOT NULL AND failed_from IN ('waiting', 'ready')"
                    " AND reason LIKE :unreadable AND path > :root || '/' AND path < :root || '0'",
                    {"root": root, "unreadable": f"%{UNREADABLE}%"},
                )
            )
            for row in rows:
                move(
                    sql,
                    row["id"],
                    ("failed", row["failed_from"]),
                    now,
                    "its folder is well again",
                    attempts=0,
                    failed_from=None,
                    next_try_at=None,
                )
        return len(rows)
