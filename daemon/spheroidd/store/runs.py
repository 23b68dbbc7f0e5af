"""Runs: each a way of measuring a plate, so that measuring again loses nothing of before."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import COLUMNS, Image
from spheroidd.store.reader import Row
from spheroidd.store.results import (
    MeasurementRecord,
    SegmentationRecord,
    StoredSegmentation,
    insert_measurement,
    insert_segmentation,
)

Kind = Literal["live", "again"]
_SAME_MASK = (
    "model = :model AND model_md5 IS :model_md5 AND threshold IS :threshold"
    " AND refinement IS :refinement"
)
_SAME = f"{_SAME_MASK} AND pipeline = :pipeline AND pipeline_sha256 = :pipeline_sha256"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which area an image gets; `None` with `model: none`."""

    model: str
    model_md5: str | None
    threshold: float | None
    refinement: str | None
    pipeline: str
    pipeline_sha256: str


@dataclass(frozen=True)
class Shown:
    """What `growth` shows of a plate since another run was chosen.

    Attributes:
        images: measured ones of the plate.
        lacking: of these, the ones that the chosen run does not have; they are shown as they
            were measured live.
        settled: confirmed or chosen by hand in another run, which is not shown any more.
    """

    images: int
    lacking: int
    settled: int


class Runs:
    """The runs of all plates; `now` is always an argument (seconds since the epoch)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def live(self, plate: str, recipe: Recipe, now: float) -> int:
        """The number of a plate's live run with this recipe; begun where there is none."""
        return self._found_or_begun(plate, "live", recipe, now)

    # -- measuring again -------------------------------------------------------------------

    def again(self, plate: str, recipe: Recipe, now: float) -> int:
        """The run that measures a plate again with this recipe; begun where there is none.

        One that was interrupted goes on, and so does a finished one: it may lack images that
        came later or could not be measured.
        """
        return self._found_or_begun(plate, "again", recipe, now)

    def _found_or_begun(self, plate: str, kind: Kind, recipe: Recipe, now: float) -> int:
        known = _find(self._db.rows, plate, kind, recipe)
        if known is not None:
            return known  # the usual case, and it takes no write lock
        with self._db.write() as sql:
            known = _find(sql.query, plate, kind, recipe)  # another process may have begun it
            return known if known is not None else _begin(sql, plate, kind, recipe, now)

    def todo(self, plate: str, run_id: int) -> list[Image]:
        """A plate's measured images that the run does not have; those it failed on come last."""
        rows = self._db.rows(
            f"SELECT {COLUMNS} FROM images WHERE plate = :plate AND state = 'measured'"  # noqa: S608
            " AND state <> 'superseded'"  # as the index says it
            " AND id NOT IN (SELECT image_id FROM measurements WHERE run_id = :run)"
            " ORDER BY id IN (SELECT image_id FROM run_failures WHERE run_id = :run), id",
            {"plate": plate, "run": run_id},
        )
        return [Image(**row) for row in rows]

    def same_masks(self, image_id: int, recipe: Recipe) -> list[StoredSegmentation]:
        """An image's segmentations that the recipe would make again, the newest first."""
        rows = self._db.rows(
            "SELECT id, mask_path, white_path, model, model_md5, threshold, refinement"  # noqa: S608
            f" FROM segmentations WHERE image_id = :image AND {_SAME_MASK} ORDER BY id DESC",
            {"image": image_id, **vars(recipe)},
        )
        return [StoredSegmentation(**row) for row in rows]

    def measured(
        self,
        image: Image,
        segmentation: SegmentationRecord | StoredSegmentation,
        record: MeasurementRecord,
        now: float,
    ) -> bool:
        """Store an image's segmentation (unless it is stored), objects and area.

        `growth` shows them at once if the run is the plate's chosen one, but never in place
        of what a person has settled.

        Args:
            record: its `segmentation_id` is filled in here.

        Returns:
            False where the image was superseded meanwhile; nothing is stored then.
        """
        run_id = record.run_id
        with self._db.write() as sql:
            if not _still_measured(sql, image.id):
                return False
            if isinstance(segmentation, SegmentationRecord):
                number = insert_segmentation(sql, image.id, segmentation, now)
            else:
                number = segmentation.id
            current = _to_be_shown(sql, image, run_id)
            record = replace(record, segmentation_id=number)
            insert_measurement(sql, image.id, record, now, current=current)
            if current:
                _judge_anew(sql, image.plate, image.well)
            sql.execute(
                "DELETE FROM run_failures WHERE run_id = ? AND image_id = ?", (run_id, image.id)
            )
            _reopen(sql, run_id)
        return True

    def failed(self, run_id: int, image_id: int, reason: str, now: float) -> None:
        """Record why the run has no area for an image; measuring again tries once more."""
        with self._db.write() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO run_failures (run_id, image_id, at, reason)"
                " VALUES (?, ?, ?, ?)",
                (run_id, image_id, timestamp(now), reason),
            )
            _reopen(sql, run_id)

    def finish(self, run_id: int, now: float) -> None:
        """The run has been through all images; one that was finished before stays as it is."""
        with self._db.write() as sql:
            sql.execute(
                "UPDATE runs SET finished_at = ? WHERE id = ? AND finished_at IS NULL",
                (timestamp(now), run_id),
            )

    # -- choosing ----------------------------------------------------------------------------

    def use(self, plate: str, run_id: int | None) -> Shown:
        """Have `growth` show this run of a plate; None: everything as it was measured live.

        Nothing is deleted, and what was excluded by hand stays excluded.
        """
        values = {"plate": plate, "run": run_id}
        with self._db.write() as sql:
            settled = _settled(sql, plate)
            sql.execute(
                "INSERT INTO plates (plate, run_id) VALUES (:plate, :run)"
                " ON CONFLICT (plate) DO UPDATE SET run_id = :run",
                values,
            )
            sql.execute(
                f"UPDATE measurements SET current = 0 WHERE current AND {_OF_PLATE}",  # noqa: S608
                values,
            )
            sql.execute(
                "UPDATE measurements SET current = 1 WHERE id IN (SELECT coalesce("  # noqa: S608
                f"({_NEWEST} AND m.run_id = :run), ({_NEWEST} AND r.kind IS NOT 'again'))"
                " FROM images i WHERE i.plate = :plate AND i.state <> 'superseded')",
                values,
            )
            _judge_anew(sql, plate)
            row = next(iter(sql.query(_LACKING, values)))
            lost = settled - _settled(sql, plate)
        return Shown(row["images"], row["lacking"] if run_id is not None else 0, len(lost))


_OF_PLATE = "image_id IN (SELECT id FROM images WHERE plate = :plate AND state <> 'superseded')"
_NEWEST = (
    "SELECT max(m.id) FROM measurements m LEFT JOIN runs r ON r.id = m.run_id"
    " WHERE m.image_id = i.id"
)
_LACKING = """
SELECT count(*) AS images, coalesce(sum(NOT EXISTS (
           SELECT 1 FROM measurements m WHERE m.image_id = i.id AND m.run_id = :run)), 0) AS lacking
  FROM images i WHERE i.plate = :plate AND i.state = 'measured'
   AND i.state <> 'superseded'
"""


def _find(
    query: Callable[[str, Row], Iterable[Row]], plate: str, kind: Kind, recipe: Recipe
) -> int | None:
    rows = query(
        f"SELECT id FROM runs WHERE plate = :plate AND kind = :kind AND {_SAME}"  # noqa: S608
        " ORDER BY id DESC LIMIT 1",
        {"plate": plate, "kind": kind, **vars(recipe)},
    )
    return next((int(row["id"]) for row in rows), None)


def _begin(sql: SqliteUtils, plate: str, kind: Kind, recipe: Recipe, now: float) -> int:
    table = sql.table("runs").insert(
        {"plate": plate, "kind": kind, **vars(recipe), "started_at": timestamp(now)}
    )
    assert isinstance(table.last_pk, int)
    return table.last_pk


def _reopen(sql: SqliteUtils, run_id: int) -> None:
    """There is something new in the run, so it is not finished (any more)."""
    sql.execute(
        "UPDATE runs SET finished_at = NULL WHERE id = ? AND finished_at IS NOT NULL", (run_id,)
    )


def _still_measured(sql: SqliteUtils, image_id: int) -> bool:
    rows = sql.query("SELECT 1 FROM images WHERE id = ? AND state = 'measured'", [image_id])
    return any(True for _ in rows)


def _to_be_shown(sql: SqliteUtils, image: Image, run_id: int) -> bool:
    """Whether the run is the chosen one, and no person has settled or excluded what is shown."""
    rows = sql.query(
        "SELECT 1 FROM plates WHERE plate = :plate AND run_id = :run AND NOT EXISTS (SELECT 1"
        " FROM measurements WHERE image_id = :image AND current AND decision IS NOT NULL)"
        " AND NOT (SELECT excluded FROM images WHERE id = :image)",
        {"plate": image.plate, "run": run_id, "image": image.id},
    )
    return any(True for _ in rows)


def _judge_anew(sql: SqliteUtils, plate: str, well: str | None = None) -> None:
    """The flags and the spheroid's track of a well (or of all) rest on other areas now."""
    sql.execute(
        "INSERT OR IGNORE INTO unjudged (plate, well) SELECT DISTINCT plate, well FROM images"
        " WHERE plate = :plate AND state = 'measured' AND state <> 'superseded'"
        " AND (:well IS NULL OR well = :well)",
        {"plate": plate, "well": well},
    )


def _settled(sql: SqliteUtils, plate: str) -> set[int]:
    """Measurements that are shown and that a person has settled."""
    rows = sql.query(
        "SELECT id FROM measurements WHERE current AND decision IS NOT NULL"  # noqa: S608
        f" AND {_OF_PLATE}",
        {"plate": plate},
    )
    return {int(row["id"]) for row in rows}
