"""The ledger's first half: what lies in the watched folders, until it is taken in."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import COLUMNS, Admission, Admitted, Image, Known, move, note
from spheroidd.store.reader import Row
from spheroidd.store.reading import GONE

# Everything below a folder, whatever folder was watched when it came: '0' follows '/'.
_UNDER = "path > :root || '/' AND path < :root || '0'"
# A file that was written so long before it was seen is of a backlog, which can wait for live ones.
LIVE_SECONDS = 900.0
_UNREAD = "sha256 IS NULL AND state IN ('waiting', 'failed')"  # as the index `images_unread` says
_KNOWN = (
    "path, id, state, size, mtime_ns, sha256 IS NOT NULL AS hashed FROM images"
    " WHERE state <> 'superseded'"
)
_PAGE = 1000


class Arrivals:
    """`waiting → ready`; `now` is always an argument (seconds since the epoch)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- arrival ---------------------------------------------------------------

    def known(self, root: str) -> Iterator[tuple[str, Known]]:
        """The path of every image under a watched folder, with each version that counts, by
        path and version.

        Read a page at a time: neither memory nor the others' turn depends on how many there are.
        """
        after: Row = {"path": f"{root}/", "version": 0}
        while True:
            rows = self._db.rows(
                f"SELECT version, {_KNOWN} AND (path, version) > (:path, :version)"
                " AND path < :root || '0' ORDER BY path, version LIMIT :page",
                {"root": root, "page": _PAGE, **after},
            )
            for row in rows:
                after = {"version": row.pop("version"), "path": row.pop("path")}
                yield after["path"], Known(**row)
            if len(rows) < _PAGE:
                return

    def known_path(self, path: str) -> Known | None:
        """The newest version that counts of one path."""
        rows = self._db.rows(
            f"SELECT {_KNOWN} AND path = :path ORDER BY version DESC LIMIT 1", {"path": path}
        )
        return Known(**{name: rows[0][name] for name in Known._fields}) if rows else None

    def arrive(self, root: str, files: Iterable[tuple[str, int, int]], now: float) -> int:
        """Enter new paths, or new contents of known paths, as `waiting`; returns how many.

        Args:
            files: (path, size in bytes, mtime in ns).
        """
        count = 0
        with self._db.write() as sql:
            for path, size, mtime_ns in files:
                image_id = sql.execute(
                    "INSERT INTO images (root, path, size, mtime_ns, seen_at, backlog, version)"
                    " VALUES (:root, :path, :size, :mtime_ns, :at, :backlog,"
                    "  1 + (SELECT coalesce(max(version), 0) FROM images WHERE path = :path))",
                    {
                        "root": root,
                        "path": path,
                        "size": size,
                        "mtime_ns": mtime_ns,
                        "at": timestamp(now),
                        "backlog": int(now - mtime_ns / 1e9 > LIVE_SECONDS),
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
        return self._images(f"state = 'waiting' AND {_UNDER}", {"root": root})

    def awaited(self, root: str) -> int:
        """How many images below a folder still have to be read from it."""
        rows = self._db.rows(
            "SELECT count(*) AS n FROM images"  # noqa: S608
            f" WHERE (state = 'waiting' OR state = 'ready') AND {_UNDER}",
            {"root": root},
        )
        return int(rows[0]["n"])

    def gone(self, root: str, there: Collection[str], now: float) -> list[str]:
        """Close what was never read and is no longer `there`; returns the paths.

        A file that comes back is a new arrival.
        """
        rows = self._db.rows(
            f"SELECT id, path, state FROM images WHERE {_UNREAD} AND {_UNDER}",  # noqa: S608
            {"root": root},
        )
        lost = [row for row in rows if row["path"] not in there]
        self._close(lost, GONE, now)
        return [row["path"] for row in lost]

    def leave(self, roots: Collection[str], now: float) -> int:
        """At start: close what was never read in folders that are not watched any more."""
        rows = self._db.rows(f"SELECT id, path, state FROM images WHERE {_UNREAD}")  # noqa: S608
        left = [row for row in rows if not any(row["path"].startswith(f"{r}/") for r in roots)]
        self._close(left, "its folder is not watched any more", now)
        return len(left)

    def _close(self, rows: Sequence[Row], why: str, now: float) -> None:
        if not rows:
            return
        with self._db.write() as sql:
            for row in rows:
                move(sql, row["id"], (row["state"], "superseded"), now, why, reason=why)

    def admit(self, image_id: int, facts: Admission, now: float) -> Admitted:
        """`waiting → ready`; an older version of the path becomes `superseded`.

        Where the content equals the version already there, this row is the one that is
        superseded, so that nothing is measured twice.  New content stays excluded by hand if
        the older one was: nobody has taken that back.
        """
        excluded = 0
        with self._db.write() as sql:
            for row in self._older(sql, image_id):
                if row["sha256"] == facts.sha256:
                    sql.execute(
                        "UPDATE images SET size = ?, mtime_ns = ? WHERE id = ?",
                        (facts.size, facts.mtime_ns, row["id"]),
                    )
                    why = f"same content as image {row['id']}"
                    move(sql, image_id, ("waiting", "superseded"), now, why)
                    return Admitted(fresh=False)
                why = f"new content under the same name: image {image_id}"
                move(sql, row["id"], (row["state"], "superseded"), now, why)
                excluded |= row["excluded"]
                if row["state"] == "measured":  # its well has a frame less
                    sql.execute(
                        "INSERT OR IGNORE INTO unjudged (plate, well) VALUES (?, ?)",
                        (row["plate"], row["well"]),
                    )
            twin = _twin(sql, facts)
            why = f"complete; same plate, well and frame as {twin}" if twin else "complete"
            if excluded:
                why += "; excluded as its earlier version was"
            move(
                sql,
                image_id,
                ("waiting", "ready"),
                now,
                why,
                attempts=0,
                excluded=excluded,
                reason=None,
                ready_at=timestamp(now),
                **vars(facts),
            )
        return Admitted(fresh=True, twin=twin)

    def _older(self, sql: SqliteUtils, image_id: int) -> list[Row]:
        return list(
            sql.query(
                "SELECT id, state, sha256, plate, well, excluded FROM images"
                " WHERE state <> 'superseded' AND id <> :id"
                " AND path = (SELECT path FROM images WHERE id = :id)",
                {"id": image_id},
            )
        )

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

    # -- looking ----------------------------------------------------------------------------

    def _images(self, condition: str, values: Row) -> list[Image]:
        rows = self._db.rows(
            f"SELECT {COLUMNS} FROM images WHERE {condition} ORDER BY id",  # noqa: S608
            values,
        )
        return [Image(**row) for row in rows]


def _twin(sql: SqliteUtils, facts: Admission) -> str | None:
    """Another path that is the same frame of the same well: its curve would hold it twice."""
    if facts.timepoint is None:
        return None
    rows = sql.query(
        "SELECT path FROM images WHERE plate = :plate AND well = :well AND timepoint = :timepoint"
        " AND field IS :field AND channel IS :channel AND sha256 IS NOT NULL"
        " AND state <> 'superseded' LIMIT 1",
        {key: getattr(facts, key) for key in ("plate", "well", "timepoint", "field", "channel")},
    )
    return next((row["path"] for row in rows), None)
