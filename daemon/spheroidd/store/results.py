"""What was made of an image: segmentation, batch, objects, measurement.

Each outcome and the image's move to its next state are one transaction, so a kill
at any moment leaves either all of it or nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import Image, move


@dataclass(frozen=True)
class SegmentationRecord:
    """How a mask came to be, and where it lies (paths relative to the state folder)."""

    model: str
    model_md5: str | None
    threshold: float | None
    provider: str | None
    peak_probability: float | None
    foreground_px: int | None
    mask_path: str | None
    white_path: str | None
    seconds: float
    version: str
    refinement: str | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredSegmentation:
    """An image's newest segmentation, as the measuring stage needs it."""

    id: int
    mask_path: str | None
    white_path: str | None
    model: str
    model_md5: str | None
    threshold: float | None
    refinement: str | None


@dataclass(frozen=True)
class ObjectRecord:
    """One object CellProfiler found: `features` maps its names to numbers (None: not a number)."""

    name: str
    number: int
    area_px: float | None
    features: Mapping[str, float | None]


@dataclass(frozen=True)
class MeasurementRecord:
    """One image's result; `spheroid` is the index in `objects` of the chosen object."""

    run_id: int
    segmentation_id: int
    batch_id: int
    area_px: float
    area_um2: float | None
    pixel_size_um: float | None
    n_objects: int
    flags: Sequence[str]
    outline_path: str | None
    version: str
    spheroid: int | None = None
    objects: Sequence[ObjectRecord] = field(default=())


class Results:
    """The one place where results are written."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def segmented(self, image: Image, record: SegmentationRecord, now: float) -> None:
        """Store a segmentation and move its image `ready → segmented`.

        Raises:
            ClaimLostError: the image was moved on meanwhile; nothing is stored.
        """
        with self._db.write() as sql:
            insert_segmentation(sql, image.id, record, now)
            move(
                sql,
                image.id,
                ("ready", "segmented"),
                now,
                f"{record.model} on {record.provider}" if record.provider else "no model",
                segmented_at=timestamp(now),
                attempts=0,
                reason=None,
            )

    def segmentation(self, image_id: int) -> StoredSegmentation:
        """The newest segmentation of an image that has one."""
        rows = self._db.rows(
            "SELECT id, mask_path, white_path, model, model_md5, threshold, refinement"
            " FROM segmentations WHERE image_id = :id ORDER BY id DESC LIMIT 1",
            {"id": image_id},
        )
        return StoredSegmentation(**rows[0])

    def open_batch(
        self, now: float, *, place: Callable[[int], Path] | None = None, **columns: Any
    ) -> int:
        """Enter a batch that is about to run; returns its number.

        Args:
            place: where its spreadsheets lie, by that number, relative to the state folder.
        """
        with self._db.write() as sql:
            table = sql.table("batches").insert({**columns, "started_at": timestamp(now)})
            assert isinstance(table.last_pk, int)
            if place is not None:
                sql.execute(
                    "UPDATE batches SET folder = ? WHERE id = ?",
                    (str(place(table.last_pk)), table.last_pk),
                )
            return table.last_pk

    def close_batch(self, batch_id: int, outcome: str, now: float) -> None:
        """Record how a batch ended."""
        with self._db.write() as sql:
            sql.execute(
                "UPDATE batches SET outcome = ?, finished_at = ? WHERE id = ?",
                (outcome, timestamp(now), batch_id),
            )

    def unrecorded_batches(self) -> list[tuple[str, int]]:
        """Plate and number of open batches that no area was stored of."""
        rows = self._db.rows(
            "SELECT plate, id FROM batches WHERE outcome IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM measurements WHERE batch_id = batches.id)"
        )
        return [(row["plate"], row["id"]) for row in rows]

    def abandon_batches(self, now: float) -> int:
        """At start: batches that a killed daemon left open say so."""
        with self._db.write() as sql:
            return sql.execute(
                "UPDATE batches SET outcome = 'interrupted', finished_at = ? WHERE outcome IS NULL",
                (timestamp(now),),
            ).rowcount

    def measured(self, image: Image, record: MeasurementRecord, now: float) -> None:
        """Store an image's objects and area, and move it `segmented → measured`.

        Raises:
            ClaimLostError: the image was moved on meanwhile; nothing is stored.
        """
        with self._db.write() as sql:
            insert_measurement(sql, image.id, record, now, current=True)
            sql.execute(
                "INSERT OR IGNORE INTO unjudged (plate, well) VALUES (?, ?)",
                (image.plate, image.well),
            )
            move(
                sql,
                image.id,
                ("segmented", "measured"),
                now,
                f"area {record.area_px:g} px",
                measured_at=timestamp(now),
                attempts=0,
                reason=None,
            )


def insert_segmentation(
    sql: SqliteUtils, image_id: int, record: SegmentationRecord, now: float
) -> int:
    """Store a segmentation inside the caller's transaction; returns its number."""
    values = {**vars(record), "evidence": json.dumps(record.evidence, allow_nan=False)}
    table = sql.table("segmentations").insert(
        {"image_id": image_id, **values, "created_at": timestamp(now)}
    )
    assert isinstance(table.last_pk, int)
    return table.last_pk


def insert_measurement(
    sql: SqliteUtils, image_id: int, record: MeasurementRecord, now: float, *, current: bool
) -> int:
    """Store an image's area and objects inside the caller's transaction; returns its number.

    Args:
        current: `growth` shows this one from now on.
    """
    values = {
        name: value
        for name, value in vars(record).items()
        if name not in ("objects", "spheroid", "flags")
    }
    chosen = None if record.spheroid is None else record.objects[record.spheroid].number
    if current:
        sql.execute(
            "UPDATE measurements SET current = 0 WHERE image_id = ? AND current", (image_id,)
        )
    table = sql.table("measurements").insert(
        {
            "image_id": image_id,
            **values,
            "current": int(current),
            "flags": ",".join(record.flags),
            "object_number": chosen,
            "measured_at": timestamp(now),
        }
    )
    sql.table("objects").insert_all(
        {
            "measurement_id": table.last_pk,
            "name": found.name,
            "number": found.number,
            "is_spheroid": int(index == record.spheroid),
            "area_px": found.area_px,
            "features": json.dumps(found.features, allow_nan=False),
        }
        for index, found in enumerate(record.objects)
    )
    assert isinstance(table.last_pk, int)
    return table.last_pk
