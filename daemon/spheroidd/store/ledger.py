"""The queue of work: which image is in which state, and every step it took.

    waiting → ready → segmented → measured      (failed, superseded)

A stage asks what is its to do, claims it by compare-and-set, works, and records the
outcome in one transaction.  Nothing about an image's progress lives only in memory.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import (
    BACK_OFF,
    COLUMNS,
    Admission,
    Image,
    Known,
    Pending,
    State,
    move,
    note,
)
from spheroidd.store.reader import Row


class Ledger:
    """All questions and moves; `now` is always an argument (seconds since the epoch)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- arrival ---------------------------------------------------------------

    def known(self, root: str) -> dict[str, Known]:
        """Path → newest version that counts, for every image under a watched folder."""
        return self._known("root = :root", {"root": root})

    def known_path(self, path: str) -> Known | None:
        """The newest version that counts of one path."""
        return self._known("path = :path", {"path": path}).get(path)

    def arrive(self, root: str, files: Iterable[tuple[str, int, int]], now: float) -> int:
        """Enter new paths, or new contents of known paths, as `waiting`; returns how many.

        Args:
            files: (path, size in bytes, mtime in ns).
        """
        count = 0
        with self._db.write() as sql:
            for path, size, mtime_ns in files:
                image_id = sql.execute(
                    "INSERT INTO images (root, path, size, mtime_ns, seen_at, version) VALUES"
                    " (:root, :path, :size, :mtime_ns, :at,"
                    "  1 + (SELECT coalesce(max(version), 0) FROM images WHERE path = :path))",
                    {
                        "root": root,
                        "path": path,
                        "size": size,
                        "mtime_ns": mtime_ns,
                        "at": timestamp(now),
                    },
                ).lastrowid
                assert image_id is not None
                note(sql, image_id, None, "waiting", now, "seen")
                count += 1
        return count

    def restat(self, image_id: int, size: int, mtime_ns: int) -> None:
        """A file that is still waiting has grown or was touched."""
        with self._db.write() as sql:
            sql.execute(
                "UPDATE images SET size = ?, mtime_ns = ? WHERE id = ? AND state = 'waiting'",
                (size, mtime_ns, image_id),
            )

    def changed_again(self, image_id: int, size: int, mtime_ns: int, now: float) -> None:
        """A file that failed before it was ever hashed has changed: look at it afresh."""
        with self._db.write() as sql:
            move(
                sql,
                image_id,
                ("failed", "waiting"),
                now,
                "the file has changed",
                size=size,
                mtime_ns=mtime_ns,
                attempts=0,
                reason=None,
                failed_from=None,
                next_try_at=None,
            )

    def waiting(self, root: str) -> list[Image]:
        """Everything of one folder that is not known to be complete yet, oldest first."""
        return self._images("state = 'waiting' AND root = :root", {"root": root})

    def admit(self, image_id: int, facts: Admission, now: float) -> bool:
        """`waiting → ready`; an older version of the path becomes `superseded`.

        Returns:
            False where the content equals the version already there: then this row
            is the one that is superseded, so that nothing is measured twice.
        """
        with self._db.write() as sql:
            older = list(
                sql.query(
                    "SELECT id, state, sha256 FROM images WHERE state <> 'superseded' AND id <> :id"
                    " AND path = (SELECT path FROM images WHERE id = :id)",
                    {"id": image_id},
                )
            )
            stat = {"size": facts.size, "mtime_ns": facts.mtime_ns}
            for row in older:
                if row["sha256"] == facts.sha256:
                    sql.execute(
                        "UPDATE images SET size = :size, mtime_ns = :mtime_ns WHERE id = :id",
                        {**stat, "id": row["id"]},
                    )
                    move(
                        sql,
                        image_id,
                        ("waiting", "superseded"),
                        now,
                        f"same content as image {row['id']}",
                    )
                    return False
                move(
                    sql,
                    row["id"],
                    (row["state"], "superseded"),
                    now,
                    f"new content under the same name: image {image_id}",
                )
            move(
                sql,
                image_id,
                ("waiting", "ready"),
                now,
                "complete",
                attempts=0,
                reason=None,
                ready_at=timestamp(now),
                **vars(facts),
            )
        return True

    # -- what all images of a plate share -----------------------------------------

    def plate(self, plate: str) -> Row:
        """The plate's `origin_at` and 16-bit scale; None where not settled yet."""
        rows = self._db.rows("SELECT * FROM plates WHERE plate = :plate", {"plate": plate})
        empty: Row = {"plate": plate, "origin_at": None, "scale_low": None, "scale_high": None}
        return rows[0] if rows else empty

    def settle_plate(self, plate: str, **values: Any) -> None:
        """Fix what the plate's first image decides; what is already fixed stays."""
        with self._db.write() as sql:
            sql.execute("INSERT OR IGNORE INTO plates (plate) VALUES (?)", (plate,))
            for name, value in values.items():
                sql.execute(
                    f"UPDATE plates SET {name} = ? WHERE plate = ? AND {name} IS NULL",  # noqa: S608
                    (value, plate),
                )

    # -- claims ---------------------------------------------------------------------

    def claim(
        self,
        state: State,
        now: float,
        *,
        plate: str | None = None,
        suspects: bool | None = None,
        limit: int = 1,
    ) -> list[Image]:
        """Take up to `limit` images of one state in hand, oldest first.

        Args:
            plate: of this plate only.
            suspects: only images whose last try went wrong (True), or never did (False).
        """
        condition = "state = :state AND claimed_at IS NULL"
        if plate is not None:
            condition += " AND plate = :plate"
        if suspects is not None:
            condition += " AND attempts > 0" if suspects else " AND attempts = 0"
        with self._db.write() as sql:
            rows = sql.query(
                "UPDATE images SET claimed_at = :at WHERE id IN"  # noqa: S608
                f" (SELECT id FROM images WHERE {condition} ORDER BY id LIMIT :limit)"
                f" RETURNING {COLUMNS}",
                {"at": timestamp(now), "state": state, "plate": plate, "limit": limit},
            )
            return sorted((Image(**row) for row in rows), key=lambda image: image.id)

    def release(self, ids: Sequence[int], *, suspect: bool = False) -> None:
        """Hand work back unfinished; `suspect` remembers that the try went wrong."""
        with self._db.write() as sql:
            for image_id in ids:
                sql.execute(
                    "UPDATE images SET claimed_at = NULL, attempts = attempts + ? WHERE id = ?",
                    (int(suspect), image_id),
                )

    def recover(self, state: State | None = None) -> int:
        """Hand back every claim (of one state): whoever held it is gone."""
        with self._db.write() as sql:
            return sql.execute(
                "UPDATE images SET claimed_at = NULL WHERE claimed_at IS NOT NULL"
                " AND (:state IS NULL OR state = :state)",
                {"state": state},
            ).rowcount

    def pending_plates(self) -> list[Pending]:
        """Plates with segmented images in nobody's hand, the longest waiting first."""
        rows = self._db.rows(
            "SELECT plate, sum(attempts = 0) AS fresh, sum(attempts > 0) AS suspects,"
            " min(segmented_at) AS oldest FROM images"
            " WHERE state = 'segmented' AND claimed_at IS NULL GROUP BY plate ORDER BY oldest"
        )
        return [Pending(**row) for row in rows]

    # -- failure ------------------------------------------------------------------------

    def fail(self, image: Image, reason: str, now: float, *, permanent: bool = False) -> bool:
        """Record a failure and when to try again; returns whether it will be tried again."""
        attempts = image.attempts + 1
        again = not permanent and attempts <= len(BACK_OFF)
        due = timestamp(now + BACK_OFF[attempts - 1]) if again else None
        with self._db.write() as sql:
            move(
                sql,
                image.id,
                (image.state, "failed"),
                now,
                reason,
                reason=reason,
                failed_from=image.state,
                attempts=attempts,
                next_try_at=due,
            )
        return again

    def retry_due(self, now: float) -> int:
        """Bring back what failed and whose time has come; returns how many."""
        return self._bring_back("next_try_at <= :at", {"at": timestamp(now)}, now, "due for retry")

    def look_again(self, now: float) -> int:
        """At start: what was set aside unread gets a fresh look, for the configuration, the
        permissions or the file may be mended by now; returns how many."""
        condition = "failed_from = 'waiting' AND next_try_at IS NULL"
        return self._bring_back(condition, {}, now, "looked at again at start", afresh=True)

    def retry(
        self,
        now: float,
        *,
        plate: str | None = None,
        well: str | None = None,
        path: str | None = None,
    ) -> int:
        """Bring failed images back by hand, those set aside too; returns how many."""
        condition = "1"
        for name, value in {"plate": plate, "well": well, "path": path}.items():
            if value is not None:
                condition += f" AND {name} = :{name}"
        values = {"plate": plate, "well": well, "path": path}
        return self._bring_back(condition, values, now, "retried by hand", afresh=True)

    def _bring_back(
        self, condition: str, values: Row, now: float, why: str, *, afresh: bool = False
    ) -> int:
        with self._db.write() as sql:
            rows = list(
                sql.query(
                    "SELECT id, failed_from, attempts FROM images"  # noqa: S608
                    f" WHERE state = 'failed' AND {condition}",
                    values,
                )
            )
            for row in rows:
                move(
                    sql,
                    row["id"],
                    ("failed", row["failed_from"]),
                    now,
                    why,
                    next_try_at=None,
                    failed_from=None,
                    attempts=0 if afresh else row["attempts"],
                )
        return len(rows)

    # -- looking ---------------------------------------------------------------------------

    def in_state(self, state: State) -> list[Image]:
        """All images in one state, oldest first."""
        return self._images("state = :state", {"state": state})

    def handed_over(self) -> list[int]:
        """Images whose 8-bit original waits for CellProfiler, or for another try with it."""
        rows = self._db.rows(
            "SELECT id FROM images WHERE state = 'segmented'"
            " OR (state = 'failed' AND failed_from = 'segmented')"
        )
        return [row["id"] for row in rows]

    def counts(self) -> dict[State, int]:
        """How many images are in each state that counts; states without any have 0."""
        rows = self._db.rows("SELECT state, count(*) AS n FROM images GROUP BY state")
        found = {row["state"]: int(row["n"]) for row in rows}
        states: tuple[State, ...] = ("waiting", "ready", "segmented", "measured", "failed")
        return {state: found.get(state, 0) for state in states}

    def _known(self, condition: str, values: Row) -> dict[str, Known]:
        rows = self._db.rows(
            "SELECT path, id, state, size, mtime_ns, sha256 IS NOT NULL AS hashed FROM images"  # noqa: S608
            f" WHERE {condition} AND state <> 'superseded' ORDER BY version",
            values,
        )
        return {row.pop("path"): Known(**row) for row in rows}

    def _images(self, condition: str, values: Row) -> list[Image]:
        rows = self._db.rows(
            f"SELECT {COLUMNS} FROM images WHERE {condition} ORDER BY id",  # noqa: S608
            values,
        )
        return [Image(**row) for row in rows]
