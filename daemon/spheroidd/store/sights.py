"""What alerts follow from: how parts, folders, plates and wells are at this moment.

All of it is read over a read-only connection of its own, so that a database that another
program has locked can still be looked at.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spheroidd.store import reading
from spheroidd.store.database import timestamp
from spheroidd.store.reader import Reader, Row, seconds_of

_HOUR = 3600.0
_HORIZON = 30 * 24 * _HOUR  # a plate that had no image for so long is history
_NEWEST = 200  # images of a plate that are looked at
_SERIES = 5  # wells (or fields, channels) whose last frames show the plate's pace
_FRAMES = 10
_REASONS = 3


@dataclass(frozen=True)
class FrameTimes:
    """When a frame was taken and when it was first seen here, in seconds since the epoch."""

    captured: float
    seen: float
    weak: bool  # the capture time is the file's own date


@dataclass(frozen=True)
class PlateTimes:
    """A plate's latest image (`last_seen`, in whatever state it is), and the last frames of
    some of its wells, each oldest first."""

    plate: str
    root: str
    last_seen: float
    series: tuple[tuple[FrameTimes, ...], ...]


@dataclass(frozen=True)
class WellEnd:
    """The last frames of a well (of one field and channel), the newest first: the flags of
    each; None: a person has settled or excluded it."""

    plate: str
    well: str
    flags: tuple[tuple[str, ...] | None, ...]
    pending: bool  # it is still to be judged
    empty: bool  # no spheroid was ever found in it


@dataclass(frozen=True)
class Failures:
    """Images that failed within the last hour and are not measured by now."""

    images: int
    reasons: tuple[tuple[str, int], ...]  # the most frequent ones
    example: str  # a path, as stored


@dataclass(frozen=True)
class PartState:
    """A part of the service; an empty `trouble` means well, `since` when it became so;
    `urgent`: nothing is measured while it is ill."""

    name: str
    trouble: str
    since: float
    next_step: str = ""
    urgent: bool = False


@dataclass(frozen=True)
class FolderState:
    """A watched folder (as stored); `scanned`: when it was last looked through."""

    root: str
    trouble: str
    since: float
    scanned: float | None = None


@dataclass(frozen=True)
class Service:
    """The daemon that runs (or ran last)."""

    phase: str
    started: float
    heartbeat: float


class Sights:
    """Every method may raise sqlite3.Error, OSError or StoreError."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: of the database; it is opened when first needed.
        """
        self._path = path
        self._reader: Reader | None = None

    def rows(self, sql: str, values: Row | None = None) -> list[Row]:
        """A SELECT over the reader, which is opened anew after trouble."""
        if self._reader is None:
            self._reader = Reader(self._path)
        try:
            return self._reader.rows(sql, values)
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        """Give up the connection for reading; the next look opens another."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def service(self) -> Service | None:
        """The daemon that runs; None: it has not said so yet."""
        row = reading.service(self)
        if row is None:
            return None
        return Service(row["phase"], seconds_of(row["started_at"]), seconds_of(row["heartbeat_at"]))

    def parts(self) -> tuple[PartState, ...]:
        """Every part of the service and how it is."""
        return tuple(
            PartState(
                row["name"],
                row["trouble"],
                seconds_of(row["since"]),
                row["next_step"],
                bool(row["urgent"]),
            )
            for row in reading.conditions(self)
        )

    def folders(self) -> tuple[FolderState, ...]:
        """Every folder that is or was watched."""
        return tuple(
            FolderState(
                row["root"],
                (row["reason"] or "can't be read") if row["health"] == "degraded" else "",
                seconds_of(row["since"]),
                seconds_of(row["scanned_at"]) if row["scanned_at"] else None,
            )
            for row in reading.folders(self)
        )

    def failures(self, now: float) -> Failures:
        """Images that failed within the last hour, and are neither measured nor replaced now."""
        rows = self.rows(
            "SELECT i.path, t.reason, max(t.id) FROM transitions t CROSS JOIN images i"
            " ON i.id = t.image_id AND i.attempts > 0"
            " AND i.state IN ('waiting', 'ready', 'segmented', 'failed')"
            " WHERE t.to_state = 'failed' AND t.at >= :since"
            " GROUP BY i.id ORDER BY i.id DESC",
            {"since": timestamp(now - _HOUR)},
        )
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
        most = sorted(counts.items(), key=lambda pair: -pair[1])[:_REASONS]
        return Failures(len(rows), tuple(most), rows[0]["path"] if rows else "")

    def plates(self, now: float) -> tuple[PlateTimes, ...]:
        """Plates that had an image lately; what is not read yet counts for the plates whose
        folder it lies in."""
        unread = self.rows(
            "SELECT path, seen_at FROM images INDEXED BY images_unread WHERE sha256 IS NULL"
            " AND state IN ('waiting', 'failed') AND seen_at >= :since ORDER BY id DESC LIMIT 1000",
            {"since": timestamp(now - _HORIZON)},
        )
        # Only the index is walked, one step per plate, however many images there are.
        lately = self.rows(
            "WITH RECURSIVE p (plate) AS ("
            " SELECT min(plate) FROM images WHERE state <> 'superseded' UNION ALL"
            " SELECT (SELECT min(plate) FROM images WHERE state <> 'superseded'"
            "          AND plate > p.plate) FROM p WHERE p.plate IS NOT NULL)"
            " SELECT plate FROM p WHERE plate IS NOT NULL AND"
            "  (SELECT max(seen_at) FROM (SELECT seen_at FROM images i"
            "   WHERE i.plate = p.plate AND i.state <> 'superseded'"
            "   ORDER BY captured_at DESC LIMIT :newest)) >= :since",
            {"newest": _NEWEST, "since": timestamp(now - _HORIZON)},
        )
        return tuple(self._times(row["plate"], unread) for row in lately)

    def _times(self, plate: str, unread: Sequence[Row]) -> PlateTimes:
        newest = self.rows(
            "SELECT root, path, well, field, channel, seen_at FROM images"
            " WHERE plate = :plate AND state <> 'superseded'"
            " ORDER BY captured_at DESC LIMIT :newest",
            {"plate": plate, "newest": _NEWEST},
        )
        home = os.path.commonpath([row["path"].rpartition("/")[0] or "/" for row in newest])
        near = [row["seen_at"] for row in unread if row["path"].startswith(f"{home}/")]
        wells = dict.fromkeys((row["well"], row["field"], row["channel"]) for row in newest)
        return PlateTimes(
            plate,
            newest[0]["root"],
            max(map(seconds_of, [*(row["seen_at"] for row in newest), *near])),
            tuple(self._series(plate, *one) for one in list(wells)[:_SERIES]),
        )

    def _series(
        self, plate: str, well: str, field: str | None, channel: str | None
    ) -> tuple[FrameTimes, ...]:
        rows = self.rows(
            "SELECT captured_at, seen_at, captured_from FROM images"
            " WHERE plate = :plate AND well = :well AND field IS :field AND channel IS :channel"
            " AND state <> 'superseded' AND captured_at IS NOT NULL"
            # The plus: all frames of the well are sorted, for the plate's by time are more.
            " ORDER BY +captured_at DESC LIMIT :frames",
            {
                "plate": plate,
                "well": well,
                "field": field,
                "channel": channel,
                "frames": _FRAMES,
            },
        )
        return tuple(
            FrameTimes(
                seconds_of(row["captured_at"]),
                seconds_of(row["seen_at"]),
                row["captured_from"] == "mtime",
            )
            for row in reversed(rows)
        )

    def well_ends(self, plate: str, frames: int) -> list[WellEnd]:
        """The last `frames` frames of every well of a plate, as they are judged now."""
        pending = {
            row["well"]
            for row in self.rows("SELECT well FROM unjudged WHERE plate = :p", {"p": plate})
        }
        ends: dict[tuple[str, str | None, str | None], list[Row]] = {}
        for row in self.rows(
            "SELECT well, field, channel, flags, settled, largest FROM ("
            " SELECT i.well, i.field, i.channel, m.flags, max(m.area_px) OVER series AS largest,"
            "  m.decision IS NOT NULL OR i.excluded AS settled,"
            "  row_number() OVER (series ORDER BY i.time_key DESC, i.path DESC) AS place"
            " FROM images i JOIN measurements m ON m.image_id = i.id AND m.current"
            " WHERE i.plate = :plate AND i.state = 'measured' AND i.state <> 'superseded'"
            " WINDOW series AS (PARTITION BY i.well, i.field, i.channel))"
            " WHERE place <= :frames ORDER BY well, field, channel, place",
            {"plate": plate, "frames": frames},
        ):
            ends.setdefault((row["well"], row["field"], row["channel"]), []).append(row)
        return [
            WellEnd(
                plate,
                well,
                tuple(
                    None if row["settled"] else tuple(reading.flags_of(row["flags"]))
                    for row in rows
                ),
                well in pending,
                not any(row["largest"] for row in rows),
            )
            for (well, _, _), rows in ends.items()
        ]
