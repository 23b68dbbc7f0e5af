"""What pages and API ask about plates and wells, each over a read-only connection.

What they ask about one image is in `picture.py`, long lists are in `listing.py`.  No question
reads more than it shows: a plate of a hundred thousand images lies in an archive of a million.
"""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from spheroidd.store.database import timestamp
from spheroidd.store.pace import Pace, pace_of
from spheroidd.store.reader import Reader, Row, seconds_of
from spheroidd.store.reading import GROWTH_COLUMNS, HOURS, flags_of
from spheroidd.store.sights import PlateTimes, Sights

# What a point's `marks` say, added up.
FLAGGED, SETTLED, EXCLUDED = 1, 2, 4

_POINTS = f"""
SELECT i.well, i.field, i.channel, i.time_key, i.id, julianday(i.captured_at), m.area_px,
       m.area_um2, (m.flags <> '') * {FLAGGED} + (m.decision IS NOT NULL) * {SETTLED}
       + i.excluded * {EXCLUDED}
  FROM images i INDEXED BY {{index}} CROSS JOIN measurements m ON m.image_id = i.id AND m.current
 WHERE i.plate = :plate AND i.state = 'measured' AND i.state <> 'superseded' {{wells}}
"""  # noqa: S608
# In the order in which they came, which is the order in which they lie in the file.
_PLATE_POINTS = _POINTS.format(index="images_plate", wells="")
_WELL_POINTS = _POINTS.format(
    index="images_frame", wells="AND i.well IN (SELECT value FROM json_each(:wells))"
)


def points(
    reader: Reader, plate: str, wells: Sequence[str] | None = None
) -> Iterator[tuple[Any, ...]]:
    """The measured images of a plate (or of some of its wells) as points of growth curves.

    They come in no certain order; a curve (one well, field and channel) is in the order of
    (time_key, image_id).

    Returns:
        plain tuples, read while one goes through them: well, field, channel, time_key,
        image_id, when it was captured (Julian day; hours count from `plate_start`), area_px,
        area_um2 (None: the pixel size is unknown), marks (`FLAGGED` + `SETTLED`, by a person,
        + `EXCLUDED`).
    """
    if wells is None:
        return reader.tuples(_PLATE_POINTS, {"plate": plate})
    return reader.tuples(_WELL_POINTS, {"plate": plate, "wells": json.dumps(wells)})


def latest(reader: Reader, image_ids: Sequence[int]) -> dict[int, Row]:
    """What is said in words of the last image of each curve.

    Returns:
        image_id → captured_at, measured_at, flags (comma-separated).
    """
    rows = reader.rows(
        "SELECT i.id, i.captured_at, m.measured_at, m.flags FROM json_each(:ids) wanted"
        " CROSS JOIN images i ON i.id = wanted.value"
        " CROSS JOIN measurements m ON m.image_id = i.id AND m.current",
        {"ids": json.dumps(image_ids)},
    )
    return {row.pop("id"): row for row in rows}


def plate_start(reader: Reader, plate: str) -> float | None:
    """When a plate's first image was taken, as a Julian day; None: there is none."""
    rows = reader.rows(
        "SELECT julianday(min(captured_at)) AS start FROM images"
        " WHERE plate = :plate AND state <> 'superseded'",
        {"plate": plate},
    )
    return None if rows[0]["start"] is None else float(rows[0]["start"])


def known_plate(reader: Reader, plate: str) -> bool:
    """Whether there is an image of it, measured or not."""
    return bool(
        reader.rows(
            "SELECT 1 FROM tallies WHERE plate = :plate AND plate <> '' AND state <> 'superseded'"
            " LIMIT 1",
            {"plate": plate},
        )
    )


def known_well(reader: Reader, plate: str, well: str) -> bool:
    """Whether there is an image of it on this plate, measured or not."""
    return bool(
        reader.rows(
            "SELECT 1 FROM tallies WHERE plate = :plate AND well = :well AND plate <> ''"
            " AND well <> '' AND state <> 'superseded' LIMIT 1",
            {"plate": plate, "well": well},
        )
    )


def plate_names(reader: Reader) -> list[str]:
    """All plates that have images, measured or not, in natural order."""
    rows = reader.rows(
        "SELECT t.plate FROM tallies t WHERE t.state <> 'superseded' AND t.plate <> ''"
        " GROUP BY t.plate ORDER BY (SELECT i.plate_key FROM images i"
        "  WHERE i.plate = t.plate AND i.state <> 'superseded' LIMIT 1), t.plate"
    )
    return [row["plate"] for row in rows]


def well_names(reader: Reader, plate: str) -> list[str]:
    """All wells of a plate that have images, measured or not, in natural order."""
    rows = reader.rows(
        "SELECT t.well FROM tallies t"
        " WHERE t.plate = :plate AND t.well <> '' AND t.state <> 'superseded'"
        " GROUP BY t.well ORDER BY (SELECT i.well_key FROM images i WHERE i.plate = t.plate"
        "  AND i.well = t.well AND i.state <> 'superseded' LIMIT 1), t.well",
        {"plate": plate},
    )
    return [row["well"] for row in rows]


def growth(reader: Reader, plate: str, well: str) -> list[Row]:
    """The rows of the view `growth` of one well, by time."""
    columns = ", ".join(GROWTH_COLUMNS)
    return reader.rows(
        f"SELECT {columns} FROM growth WHERE plate = :plate AND well = :well",  # noqa: S608
        {"plate": plate, "well": well},
    )


# -- is it running? -------------------------------------------------------------------------


class _Eyes(Sights):
    """The eyes that alerts follow from, over a connection that is there already."""

    def __init__(self, reader: Reader) -> None:
        self._over = reader

    def rows(self, sql: str, values: Row | None = None) -> list[Row]:
        return self._over.rows(sql, values)

    def pace(self, plate: Row, unread: Sequence[Row], now: float) -> tuple[PlateTimes, Pace] | None:
        """How a plate is imaged; None where its last image is too long ago for its pace, by
        one curve alone, and nothing of it waits: that is enough for most, and costs little."""
        frames = self._series(plate["plate"], plate["well"], plate["field"], plate["channel"])
        gaps = [later.captured - earlier.captured for earlier, later in pairwise(frames)]
        silence = now - seconds_of(plate["seen_at"])
        if silence > max(_DAY, _LONGEST_SILENCE * max(gaps, default=0.0)):
            rows = self.rows(_PATHS, {"plate": plate["plate"]}) if unread else []
            homes = [row["path"].rpartition("/")[0] or "/" for row in rows]
            home = f"{os.path.commonpath(homes)}/" if homes else ""
            if not home or not any(row["path"].startswith(home) for row in unread):
                return None
        times = self._times(plate["plate"], unread)
        return times, pace_of(times, None)


def paces(reader: Reader, now: float) -> dict[str, Row]:
    """Plates whose images still come; all others are finished.

    Returns:
        plate → `running` (the last image came within three of the plate's own intervals, and
        they come as they are taken), `last_seen_at`, `interval_seconds` (None: not known),
        `next_due_at` (None where it is not known, or not running; it may be past).
    """
    eyes, found = _Eyes(reader), {}
    since = {"since": timestamp(now - _HORIZON)}
    unread = reader.rows(_UNREAD, since)
    for row in reader.rows(_NEWEST, since):
        seen = eyes.pace(row, unread, now)
        if seen is None:
            continue
        times, pace = seen
        running = pace.live and now - times.last_seen <= pace.limit
        due = times.last_seen + pace.interval if running and pace.interval else None
        found[times.plate] = {
            "running": running,
            "last_seen_at": timestamp(times.last_seen),
            "interval_seconds": pace.interval,
            "next_due_at": None if due is None else timestamp(due),
        }
    return found


_DAY = 24 * 3600.0
_HORIZON = 30 * _DAY  # a plate that had no image for so long is history
_LONGEST_SILENCE = 3  # of the longest of the last intervals
_UNREAD = (
    "SELECT path, seen_at FROM images INDEXED BY images_unread WHERE sha256 IS NULL"
    " AND state IN ('waiting', 'failed') AND seen_at >= :since ORDER BY id DESC LIMIT 1000"
)
_PATHS = (
    "SELECT path FROM images WHERE plate = :plate AND state <> 'superseded'"
    " ORDER BY captured_at DESC LIMIT 12"
)
# Only the index is walked, one step per plate; then one image of each that is of late.
_NEWEST = """
WITH RECURSIVE p (plate) AS (
    SELECT min(plate) FROM images WHERE state <> 'superseded' UNION ALL
    SELECT (SELECT min(plate) FROM images WHERE state <> 'superseded' AND plate > p.plate)
      FROM p WHERE p.plate IS NOT NULL)
SELECT i.plate, i.well, i.field, i.channel, i.seen_at
  FROM p CROSS JOIN images i ON i.id = (
       SELECT id FROM images n WHERE n.plate = p.plate AND n.state <> 'superseded'
        ORDER BY n.captured_at DESC, n.seen_at DESC LIMIT 1)
 WHERE i.seen_at >= :since
"""


# -- one well -------------------------------------------------------------------------------


def well_frames(reader: Reader, plate: str, well: str) -> list[Row]:
    """Every image of a well, in whatever state but superseded, by time.

    Returns:
        Rows of image_id, measurement_id, hours, captured_at, timepoint, field, channel, state,
        area_px, area_um2, relative_pct (as in `growth`), n_objects, object_number, flags
        (list), checks (flag → value, limit, raised), excluded, decision, outline, mask (whether
        there is a picture), reason (why it failed), next_try_at. What only measuring gives is
        None elsewhere, flags and checks are empty.
    """
    rows = reader.rows(_FRAMES, {"plate": plate, "well": well})
    for row in rows:
        row["flags"] = flags_of(row["flags"])
        row["checks"] = json.loads(row["checks"] or "{}")
        for name in ("excluded", "outline", "mask"):
            row[name] = bool(row[name])
    return rows


# The window is that of the view: over measured images alone.
_FRAMES = f"""
SELECT i.id AS image_id, m.id AS measurement_id, {HOURS} AS hours, i.captured_at, i.timepoint,
       i.field, i.channel, i.state, m.area_px, m.area_um2,
       round(100.0 * CASE WHEN m.area_um2 IS NULL AND first_value(
                               CASE WHEN i.excluded THEN NULL ELSE m.area_um2 END) OVER first
                               IS NULL
                          THEN m.area_px / nullif(first_value(
                               CASE WHEN i.excluded THEN NULL ELSE m.area_px END) OVER first, 0)
                          ELSE m.area_um2 / nullif(first_value(
                               CASE WHEN i.excluded THEN NULL ELSE m.area_um2 END) OVER first, 0)
             END, 3) AS relative_pct,
       m.n_objects, m.object_number, m.flags, m.checks, i.excluded, m.decision,
       m.outline_path IS NOT NULL AS outline, s.mask_path IS NOT NULL AS mask,
       CASE WHEN i.state = 'failed' THEN i.reason END AS reason, i.next_try_at
  FROM images i
  LEFT JOIN measurements m ON m.image_id = i.id AND m.current AND i.state = 'measured'
  LEFT JOIN segmentations s ON s.id = coalesce(
       m.segmentation_id, (SELECT max(n.id) FROM segmentations n WHERE n.image_id = i.id))
 WHERE i.plate = :plate AND i.well = :well AND i.state <> 'superseded'
WINDOW first AS (PARTITION BY i.field, i.channel
                     ORDER BY m.id IS NULL, i.excluded, i.time_key, i.id)
 ORDER BY i.time_key, i.id
"""  # noqa: S608
