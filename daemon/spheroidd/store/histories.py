"""Whole wells, frame after frame: what was found in each, and what judging makes of it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.frames import (
    MOST_CANDIDATES,
    REAL_SHARE,
    Candidate,
    Checked,
    Frame,
    Verdict,
)
from spheroidd.store.reader import Row
from spheroidd.store.unjudged import FREE, WHOLE_PLATE, Unjudged

_FEATURES = {
    "x": "AreaShape_Center_X",
    "y": "AreaShape_Center_Y",
    "solidity": "AreaShape_Solidity",
    "eccentricity": "AreaShape_Eccentricity",
    "form_factor": "AreaShape_FormFactor",
    "left": "AreaShape_BoundingBoxMinimum_X",
    "top": "AreaShape_BoundingBoxMinimum_Y",
    "right": "AreaShape_BoundingBoxMaximum_X",
    "bottom": "AreaShape_BoundingBoxMaximum_Y",
    "intensity": "Intensity_MeanIntensity_Original",
}
_PATHS = ", ".join(f"'$.\"{name}\"'" for name in _FEATURES.values())

# `state <> 'superseded'` and the bare `m.current` are what lets SQLite use its partial indexes.
_FRAMES = """
SELECT m.id AS measurement_id, i.path, i.field, i.channel, i.timepoint, i.captured_from,
       (julianday(i.captured_at) - 2440587.5) * 24 AS hours, i.width, i.height,
       m.pixel_size_um, s.peak_probability, s.foreground_px, s.evidence, m.n_objects,
       m.decision, i.excluded, m.object_number, m.area_px, m.flags, m.checks
  FROM images i
  JOIN measurements m ON m.image_id = i.id AND m.current
  JOIN segmentations s ON s.id = m.segmentation_id
 WHERE i.plate = :plate AND i.well = :well AND i.state = 'measured' AND i.state <> 'superseded'
 ORDER BY i.field, i.channel, i.time_key, i.path
"""
# Of the kind that the spheroid is of; where none is marked yet, that kind was stored first.
# What a person chose and what is marked is among them, however small.
_CANDIDATES = f"""
SELECT measurement_id, number, area_px, is_spheroid,
       json_extract(features, {_PATHS}) AS features
  FROM objects WHERE id IN (
    SELECT id FROM (
        SELECT o.id, o.is_spheroid OR o.number = m.object_number AS marked,
               o.area_px >= {REAL_SHARE} * max(o.area_px) OVER of_image AS is_real,
               row_number() OVER (of_image ORDER BY o.area_px DESC, o.number) AS place
          FROM json_each(:measurements) wanted
          JOIN measurements m ON m.id = wanted.value
          JOIN objects o ON o.measurement_id = m.id AND o.name = (
                   SELECT name FROM objects WHERE measurement_id = m.id
                    ORDER BY is_spheroid DESC, id LIMIT 1)
         WHERE m.n_objects > 0 AND o.area_px > 0
        WINDOW of_image AS (PARTITION BY o.measurement_id))
     WHERE is_real OR marked OR place <= {MOST_CANDIDATES})
 ORDER BY measurement_id, area_px DESC, number
"""  # noqa: S608
_KIND = """
SELECT name FROM objects WHERE measurement_id = :id ORDER BY is_spheroid DESC, id LIMIT 1
"""
_SIGNATURE = """
SELECT m.id, m.decision, m.object_number, i.excluded
  FROM images i JOIN measurements m ON m.image_id = i.id AND m.current
 WHERE i.plate = :plate AND i.well = :well AND i.state = 'measured' AND i.state <> 'superseded'
"""
_FREE = f"{FREE} AND i.plate = :plate"


class Histories(Unjudged):
    """The one place where the spheroids and the flags of whole wells are read and written."""

    # -- a well ----------------------------------------------------------------------------

    def frames(self, plate: str, well: str) -> list[Frame]:
        """A well's current measurements with their objects, by field, channel and time."""
        rows = self._db.rows(_FRAMES, {"plate": plate, "well": well})
        candidates = self._candidates([row["measurement_id"] for row in rows])
        return [_frame(row, candidates[row["measurement_id"]]) for row in rows]

    def _candidates(self, measurements: Sequence[int]) -> Mapping[int, list[Candidate]]:
        rows = self._db.rows(_CANDIDATES, {"measurements": json.dumps(measurements)})
        found: defaultdict[int, list[Candidate]] = defaultdict(list)
        for row in rows:
            features = dict(zip(_FEATURES, json.loads(row["features"]), strict=True))
            found[row["measurement_id"]].append(
                Candidate(
                    row["number"],
                    row["area_px"],
                    is_spheroid=bool(row["is_spheroid"]),
                    **features,
                )
            )
        return found

    def store(
        self, plate: str, well: str, frames: Sequence[Frame], verdicts: Sequence[Verdict]
    ) -> bool:
        """Write what judging made of a well, in one transaction.

        Settled frames stay as they are.  The plate's limits are to be computed anew then.

        Args:
            frames: as `frames` gave them.
            verdicts: one for each of them.

        Returns:
            False where the well's frames have changed since they were read: nothing is
            written then, and the well is still to be judged.
        """
        with self._db.write() as sql:
            now = {tuple(row.values()) for row in _query(sql, _SIGNATURE, plate=plate, well=well)}
            if now != {
                (frame.measurement_id, frame.decision, frame.object_number, int(frame.excluded))
                for frame in frames
            }:
                return False
            for frame, verdict in zip(frames, verdicts, strict=True):
                if not frame.settled:
                    _write(sql, frame, verdict)
            sql.execute("DELETE FROM unjudged WHERE plate = ? AND well = ?", (plate, well))
            sql.execute("INSERT OR IGNORE INTO unjudged VALUES (?, ?)", (plate, WHOLE_PLATE))
        return True

    # -- a plate ---------------------------------------------------------------------------

    def numbers(self, plate: str, flags: Sequence[str]) -> tuple[list[Row], list[Row]]:
        """The values and the limits of a plate's checks, of all frames that are not settled.

        Returns:
            two lists of the same length, one mapping per frame: flag → value, flag → limit;
            flags that were not checked are left out.
        """
        paths = ", ".join(f"'$.{flag}.{number}'" for number in ("value", "limit") for flag in flags)
        rows = self._db.rows(
            f"SELECT json_extract(m.checks, {paths}) AS numbers {_FREE}",
            {"plate": plate},
        )
        values, limits = [], []
        for row in rows:
            numbers = json.loads(row["numbers"])
            values.append(_given(flags, numbers[: len(flags)]))
            limits.append(_given(flags, numbers[len(flags) :]))
        return values, limits

    def wells(self, plate: str) -> list[str]:
        """The wells of a plate that have images."""
        rows = self._db.rows(
            "SELECT DISTINCT well FROM images WHERE plate = :plate AND state <> 'superseded'"
            " AND well IS NOT NULL",
            {"plate": plate},
        )
        return [row["well"] for row in rows]

    def checked(self, plate: str, well: str) -> list[Checked]:
        """The stored checks of a well's frames that are not settled."""
        rows = self._db.rows(
            f"SELECT m.id AS measurement_id, m.flags, m.checks {_FREE} AND i.well = :well",
            {"plate": plate, "well": well},
        )
        return [Checked(**row) for row in rows]

    def recheck(self, changed: Iterable[Checked]) -> None:
        """Write flags and checks that other limits gave; what was settled meanwhile stays."""
        with self._db.write() as sql:
            for checked in changed:
                sql.execute(
                    "UPDATE measurements SET flags = ?, checks = ? WHERE id = ?"
                    " AND decision IS NULL"
                    " AND NOT (SELECT excluded FROM images WHERE id = image_id)",
                    (checked.flags, checked.checks, checked.measurement_id),
                )

    def settled(self, plate: str) -> None:
        """The plate's flags agree with its limits."""
        with self._db.write() as sql:
            sql.execute("DELETE FROM unjudged WHERE plate = ? AND well = ?", (plate, WHOLE_PLATE))


def _query(sql: SqliteUtils, statement: str, **parameters: Any) -> Iterable[Row]:
    return sql.query(statement, parameters)


def _given(flags: Sequence[str], numbers: Sequence[float | None]) -> Row:
    return {flag: number for flag, number in zip(flags, numbers, strict=True) if number is not None}


def _frame(row: Row, candidates: Sequence[Candidate]) -> Frame:
    """`hours` as the column `time_key` was made: a file's own date is weak evidence."""
    weak = row.pop("captured_from") == "mtime" and row["timepoint"] is not None
    evidence = json.loads(row["evidence"])
    numbers = {
        name: float(value)
        for name, value in evidence.items()
        if isinstance(value, (int, float)) and isfinite(value)
    }
    return Frame(
        **{
            **row,
            "hours": None if weak else row["hours"],
            "evidence": numbers,
            "excluded": bool(row["excluded"]),
            "candidates": candidates,
        }
    )


def _write(sql: SqliteUtils, frame: Frame, verdict: Verdict) -> None:
    """One frame's outcome; nothing is touched that stays the same."""
    if (verdict.spheroid, verdict.area_px) != (frame.object_number, frame.area_px):
        size = frame.pixel_size_um
        sql.execute(
            "UPDATE measurements SET area_px = ?, area_um2 = ?, object_number = ? WHERE id = ?",
            (
                verdict.area_px,
                None if size is None else verdict.area_px * size**2,
                verdict.spheroid,
                frame.measurement_id,
            ),
        )
        _mark(sql, frame.measurement_id, verdict.counted)
    if (verdict.flags, verdict.checks) != (frame.flags, frame.checks):
        sql.execute(
            "UPDATE measurements SET flags = ?, checks = ? WHERE id = ?",
            (verdict.flags, verdict.checks, frame.measurement_id),
        )


def _mark(sql: SqliteUtils, measurement_id: int, counted: Sequence[int]) -> None:
    """Say which objects are spheroids; the kind is looked up before the marks change."""
    for row in list(_query(sql, _KIND, id=measurement_id)):
        sql.execute(
            "UPDATE objects SET is_spheroid = number IN (SELECT value FROM json_each(?))"
            " WHERE measurement_id = ? AND name = ?",
            (json.dumps(counted), measurement_id, row["name"]),
        )
