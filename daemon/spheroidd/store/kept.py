"""Which recorded files may go by now, and the note that one has gone."""

from dataclasses import dataclass, replace
from typing import Literal

from spheroidd.store.database import Database, timestamp

Kind = Literal["white", "spreadsheets", "outlines", "masks"]
# In this order they go when there are too many: what can be made again most easily first.
KINDS: tuple[Kind, ...] = ("white", "spreadsheets", "outlines", "masks")


@dataclass(frozen=True)
class Recorded:
    """A file, or for spreadsheets a folder; `path` is relative to the state folder, `made_at`
    is UTC, ISO 8601."""

    id: int
    path: str
    made_at: str


# Only what nothing waits for: an image on its way needs its mask, and a batch that is not
# finished its folder.  An image that was set aside needs them too where the next try (at the
# next start, or by hand) goes to CellProfiler at once; where it begins with segmentation, they
# are made again.  CROSS JOIN: from the few segmentations to their images, not the other way.
_OF_MASKS = (
    "SELECT s.id, s.{column} AS path, s.created_at AS made_at"
    " FROM segmentations s CROSS JOIN images i ON i.id = s.image_id"
    " WHERE s.{column} IS NOT NULL AND (i.state IN ('measured', 'superseded') OR"
    " (i.state = 'failed' AND i.next_try_at IS NULL AND i.failed_from <> 'segmented'))"
    " AND s.created_at < :before AND (s.created_at, s.id) > (:made_at, :id)"
    " ORDER BY s.created_at, s.id LIMIT :limit"
)
_OLD: dict[Kind, str] = {
    "masks": _OF_MASKS.format(column="mask_path"),
    "white": _OF_MASKS.format(column="white_path"),
    "outlines": (
        "SELECT id, outline_path AS path, measured_at AS made_at FROM measurements"
        " WHERE outline_path IS NOT NULL"
        " AND measured_at < :before AND (measured_at, id) > (:made_at, :id)"
        " ORDER BY measured_at, id LIMIT :limit"
    ),
    "spreadsheets": (
        "SELECT id, folder AS path, finished_at AS made_at FROM batches WHERE folder <> ''"
        " AND finished_at < :before AND (finished_at, id) > (:made_at, :id)"
        " ORDER BY finished_at, id LIMIT :limit"
    ),
}
_GONE: dict[Kind, str] = {
    "masks": "UPDATE segmentations SET mask_path = NULL WHERE id = ?",
    "white": "UPDATE segmentations SET white_path = NULL WHERE id = ?",
    "outlines": "UPDATE measurements SET outline_path = NULL WHERE id = ?",
    "spreadsheets": "UPDATE batches SET folder = '' WHERE id = ?",
}


class Kept:
    """What lies in the state folder, as the database has it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def older(
        self, kind: Kind, before: float, limit: int, after: Recorded | None = None
    ) -> list[Recorded]:
        """Up to `limit` files of one kind made before a time, the oldest first.

        Args:
            after: the last one of the page before; None: from the beginning.
        """
        values = {"before": timestamp(before), "limit": limit}
        values |= {"made_at": after.made_at, "id": after.id} if after else {"made_at": "", "id": 0}
        return [Recorded(**row) for row in self._db.rows(_OLD[kind], values)]

    def may_go(self, kind: Kind, before: float, recorded: Recorded) -> bool:
        """Whether that is still so: its image may have been brought back since `older`, and be
        about to get a new file under the same name."""
        just_before = replace(recorded, id=recorded.id - 1)
        return self.older(kind, before, 1, just_before) == [recorded]

    def gone(self, kind: Kind, recorded: list[Recorded]) -> None:
        """Note that these files are no longer there; the results stay."""
        with self._db.write() as sql:
            for one in recorded:
                sql.execute(_GONE[kind], (one.id,))
