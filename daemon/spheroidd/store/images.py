"""What the ledger says of one image, and the one way to move it from state to state."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.database import timestamp

State = Literal["waiting", "ready", "segmented", "measured", "failed", "superseded"]

# Seconds until the next try after the first, second, … failure; after the last of
# them an image is set aside: its reason stays visible and `spheroidd retry` brings it back.
BACK_OFF = (30.0, 120.0, 480.0, 1800.0)


@dataclass(frozen=True)
class Image:
    """One image in one of its versions, as the ledger has it."""

    id: int
    root: str
    path: str
    version: int
    size: int
    mtime_ns: int
    state: State
    plate: str
    well: str
    name: str
    timepoint: int | None
    captured_at: str | None
    sha256: str | None
    width: int | None
    height: int | None
    pixel_size_um: float | None
    reason: str | None
    attempts: int

    @property
    def last_try(self) -> bool:
        """Whether one more failure sets the image aside."""
        return self.attempts >= len(BACK_OFF)


class Known(NamedTuple):
    """What the scan compares a file with."""

    id: int
    state: State
    size: int
    mtime_ns: int
    hashed: int


@dataclass(frozen=True)
class Admission:
    """Everything intake learned about a complete, decodable image."""

    plate: str
    well: str
    name: str
    timepoint: int | None
    field: str | None
    channel: str | None
    captured_at: str
    captured_from: str
    plate_key: str
    well_key: str
    time_key: str
    sha256: str
    size: int
    mtime_ns: int
    width: int
    height: int
    bit_depth: int
    pixel_size_um: float | None


@dataclass(frozen=True)
class Admitted:
    """What became of an admission: `fresh` unless the content was there already; `twin` is
    another file that claims the same plate, well, field, channel and frame."""

    fresh: bool
    twin: str | None = None


@dataclass(frozen=True)
class Pending:
    """A plate's segmented images that wait for CellProfiler."""

    plate: str
    fresh: int
    suspects: int
    oldest: str | None  # since when the longest waiting fresh image waits


class ClaimLostError(RuntimeError):
    """Somebody else moved the image on; the work in hand must be thrown away."""


COLUMNS = """id, root, path, version, size, mtime_ns, state, coalesce(plate, '') AS plate,
    coalesce(well, '') AS well, coalesce(name, '') AS name, timepoint, captured_at, sha256,
    width, height, pixel_size_um, reason, attempts"""


def move(
    sql: SqliteUtils,
    image_id: int,
    states: tuple[State, State],
    now: float,
    why: str = "",
    **columns: Any,
) -> None:
    """Take one image from one state to the next inside the caller's transaction.

    Raises:
        ClaimLostError: the image is no longer in the first state.
    """
    before, after = states
    values = {"state": after, "claimed_at": None, **columns}
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    changed = sql.execute(
        f"UPDATE images SET {assignments} WHERE id = :_id AND state = :_before",  # noqa: S608
        {**values, "_id": image_id, "_before": before},
    ).rowcount
    if changed != 1:
        raise ClaimLostError(f"image {image_id} is not {before} any more")
    note(sql, image_id, before, after, now, why)


def note(
    sql: SqliteUtils, image_id: int, before: str | None, after: str, now: float, why: str
) -> None:
    """Leave a row that says from where to where, when and why."""
    sql.execute(
        "INSERT INTO transitions (image_id, from_state, to_state, at, reason)"
        " VALUES (?, ?, ?, ?, ?)",
        (image_id, before, after, timestamp(now), why),
    )
