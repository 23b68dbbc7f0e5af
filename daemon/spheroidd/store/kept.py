"""Which recorded files may go by now, and the note that one has gone."""

from dataclasses import dataclass
from typing import Literal

from spheroidd.store.database import Database, timestamp

Kind = Literal["white", "spreadsheets", "outlines", "masks"]
# In this order they go when there are too many: what can be made again most easily first.
KINDS: tuple[Kind, ...] = ("white", "spreadsheets", "outlines", "masks")


@dataclass(frozen=True)
class Recorded:
    """A file, or for spreadsheets a folder; `path` is relative to the state folder."""

    id: int
    path: str


# Only what nothing waits for: an image on its way needs its mask, and a batch that is not
# finished its folder.
_OF_MASKS = (
    "SELECT s.id, s.{column} AS path FROM segmentations s JOIN images i ON i.id = s.image_id"
    " WHERE s.{column} IS NOT NULL AND i.state IN ('measured', 'superseded')"
    " AND s.created_at < :before ORDER BY s.id LIMIT :limit"
)
_OLD: dict[Kind, str] = {
    "masks": _OF_MASKS.format(column="mask_path"),
    "white": _OF_MASKS.format(column="white_path"),
    "outlines": (
        "SELECT id, outline_path AS path FROM measurements WHERE outline_path IS NOT NULL"
        " AND measured_at < :before ORDER BY id LIMIT :limit"
    ),
    "spreadsheets": (
        "SELECT id, folder AS path FROM batches WHERE folder <> ''"
        " AND finished_at < :before ORDER BY id LIMIT :limit"
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

    def older(self, kind: Kind, before: float, limit: int) -> list[Recorded]:
        """Up to `limit` files of one kind made before a time, the oldest first."""
        rows = self._db.rows(_OLD[kind], {"before": timestamp(before), "limit": limit})
        return [Recorded(**row) for row in rows]

    def gone(self, kind: Kind, recorded: list[Recorded]) -> None:
        """Note that these files are no longer there; the results stay."""
        with self._db.write() as sql:
            for one in recorded:
                sql.execute(_GONE[kind], (one.id,))
