"""Runs: each a way of measuring a plate, so that measuring again loses nothing of before."""

from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.database import Database, timestamp

Kind = Literal["live", "again"]
_SAME = (
    "model = :model AND model_md5 IS :model_md5 AND threshold IS :threshold"
    " AND refinement IS :refinement AND pipeline = :pipeline"
    " AND pipeline_sha256 = :pipeline_sha256"
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which area an image gets; `None` with `model: none`."""

    model: str
    model_md5: str | None
    threshold: float | None
    refinement: str | None
    pipeline: str
    pipeline_sha256: str


class Runs:
    """The runs of all plates."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def live(self, plate: str, recipe: Recipe, now: float) -> int:
        """The number of a plate's live run with this recipe; begun where there is none."""
        with self._db.write() as sql:
            return _find(sql, plate, "live", recipe) or _begin(sql, plate, "live", recipe, now)


def _find(sql: SqliteUtils, plate: str, kind: Kind, recipe: Recipe) -> int | None:
    rows = sql.query(
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
