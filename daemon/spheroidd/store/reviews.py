"""What people settle about measurements: events that nothing erases.

Each event and what it changes are one transaction.  Excluding concerns an image, whatever
measured it; confirming and choosing concern one measurement of it.  An event is undone by a
later one, never taken back, and every well it touches is judged anew.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import SpheroiddError
from spheroidd.store.database import Database, timestamp
from spheroidd.store.paths import printable
from spheroidd.store.reader import Row

Action = Literal["confirm", "exclude", "restore", "choose"]
Change = Callable[[SqliteUtils, Row], Mapping[str, Any]]  # returns what it changed, as it was

NO_SPHEROID = 0  # the number to choose where no object is the spheroid
_SHOWN = 12  # objects that a message lists
_FLAG = "no_spheroid"


@dataclass(frozen=True)
class Subject:
    """One image as a person saw it: with the measurement that was current then."""

    image_id: int
    measurement_id: int


class ReviewError(SpheroiddError):
    """An event that can't be recorded; nothing of it was."""


class Reviews:
    """The one place where people's decisions are written.

    Every method takes the images concerned, when (seconds since the epoch), who, and why,
    and returns the event's number.

    Raises (every method):
        ReviewError: no image, nobody's name, or an image that was measured again or
            superseded since it was looked at. Nothing is changed then.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def confirm(
        self, subjects: Sequence[Subject], now: float, *, who: str, reason: str = ""
    ) -> int:
        """The measurement is right as it stands: neither track nor new evidence changes it."""
        return self._record("confirm", subjects, now, who, reason, _confirm)

    def exclude(self, subjects: Sequence[Subject], now: float, *, who: str, reason: str) -> int:
        """Leave the images out of growth and of all that is derived; they stay where they are.

        Raises:
            ReviewError: also when there is no reason.
        """
        if not reason.strip():
            raise ReviewError("Excluding needs a reason.", "Say in a few words what is wrong.")
        return self._record("exclude", subjects, now, who, reason, _exclude)

    def restore(
        self, subjects: Sequence[Subject], now: float, *, who: str, reason: str = ""
    ) -> int:
        """Back to what the program says: neither excluded nor confirmed nor chosen by hand."""
        return self._record("restore", subjects, now, who, reason, _restore)

    def choose(
        self, subjects: Sequence[Subject], number: int, now: float, *, who: str, reason: str = ""
    ) -> int:
        """Another object is the spheroid, and its area the area.

        Flags stay as they are, but `no_spheroid`, which says what the area of 0 means.

        Args:
            number: CellProfiler's number of the object; `NO_SPHEROID` where there is none.

        Raises:
            ReviewError: also when an image has no object of that number.
        """

        def change(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
            return _choose(sql, row, number)

        return self._record("choose", subjects, now, who, reason, change)

    def _record(
        self,
        action: Action,
        subjects: Sequence[Subject],
        now: float,
        who: str,
        reason: str,
        change: Change,
    ) -> int:
        if not subjects:
            raise ReviewError(f"There is no image to {action}.")
        if not who.strip():
            raise ReviewError("A decision needs the name of who made it.")
        with self._db.write() as sql:
            event = {"at": timestamp(now), "who": who, "action": action, "reason": reason}
            review_id = sql.table("reviews").insert(event).last_pk
            assert isinstance(review_id, int)
            for subject in dict.fromkeys(subjects):
                row = _as_seen(sql, subject)
                was = change(sql, row)
                _touch(sql, review_id, action, row, was)
        return review_id


def _touch(
    sql: SqliteUtils, review_id: int, action: Action, row: Row, was: Mapping[str, Any]
) -> None:
    """Enter one image of an event, and have its well judged anew."""
    settled = action in ("confirm", "choose")
    sql.execute(
        "INSERT INTO review_images (review_id, image_id, measurement_id, object_number, was)"
        " SELECT ?, image_id, id, CASE WHEN ? THEN object_number END, ?"
        " FROM measurements WHERE id = ?",
        (review_id, settled, json.dumps(was, allow_nan=False), row["measurement_id"]),
    )
    sql.execute(
        "INSERT OR IGNORE INTO unjudged (plate, well) VALUES (?, ?)", (row["plate"], row["well"])
    )


def _as_seen(sql: SqliteUtils, subject: Subject) -> Row:
    rows = sql.query(
        "SELECT i.id AS image_id, i.plate, i.well, i.path, i.excluded, m.id AS measurement_id,"
        " m.decision, m.object_number, m.area_px, m.area_um2, m.pixel_size_um, m.flags"
        " FROM images i JOIN measurements m ON m.image_id = i.id AND m.current = 1"
        " WHERE i.id = ? AND m.id = ? AND i.state = 'measured'",
        (subject.image_id, subject.measurement_id),
    )
    found = next(iter(rows), None)
    if found is None:
        raise ReviewError(
            f"Image {subject.image_id} was measured again, or replaced, since it was looked at.",
            "Look at it again and decide then; nothing was changed.",
        )
    return found


# -- what each action changes ------------------------------------------------------------


def _confirm(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    sql.execute(
        "UPDATE measurements SET decision = 'confirmed' WHERE id = ?", (row["measurement_id"],)
    )
    return {"decision": row["decision"]}


def _exclude(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    sql.execute("UPDATE images SET excluded = 1 WHERE id = ?", (row["image_id"],))
    return {"excluded": row["excluded"]}


def _restore(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    was = {"excluded": row["excluded"], "decision": row["decision"]}
    sql.execute("UPDATE images SET excluded = 0 WHERE id = ?", (row["image_id"],))
    before = _before_choosing(sql, row["measurement_id"])
    if before is None:
        sql.execute(
            "UPDATE measurements SET decision = NULL WHERE id = ?", (row["measurement_id"],)
        )
        return was
    was |= _choice(sql, row)
    _put(sql, row["measurement_id"], {**before, "decision": None})
    return was


def _choose(sql: SqliteUtils, row: Row, number: int) -> Mapping[str, Any]:
    was = _choice(sql, row)
    flags = [flag for flag in row["flags"].split(",") if flag and flag != _FLAG]
    if number == NO_SPHEROID:
        flags = [_FLAG, *flags]
        area = 0.0
    else:
        area = _area_of(sql, row, number)
    size = row["pixel_size_um"]
    choice = {
        "decision": "chosen",
        "object_number": None if number == NO_SPHEROID else number,
        "area_px": area,
        "area_um2": None if size is None else area * size**2,
        "flags": ",".join(flags),
        "spheroids": [] if number == NO_SPHEROID else [number],
    }
    _put(sql, row["measurement_id"], choice)
    return was


def _choice(sql: SqliteUtils, row: Row) -> dict[str, Any]:
    """Everything that choosing changes, as it is; several spheroids may be marked."""
    names = ("decision", "object_number", "area_px", "area_um2", "flags")
    marked = sql.query(
        "SELECT number FROM objects WHERE measurement_id = ? AND is_spheroid ORDER BY number",
        (row["measurement_id"],),
    )
    return {name: row[name] for name in names} | {"spheroids": [one["number"] for one in marked]}


def _put(sql: SqliteUtils, measurement_id: int, choice: Mapping[str, Any]) -> None:
    """Make a measurement say what a choice (see `_choice`) says."""
    sql.execute(
        "UPDATE measurements SET decision = :decision, object_number = :object_number,"
        " area_px = :area_px, area_um2 = :area_um2, flags = :flags WHERE id = :id",
        {**choice, "id": measurement_id},
    )
    # The kind is found by what is marked, so: mark first, unmark the others after.
    kind = kind_of_spheroid(sql, measurement_id)
    marked = choice["spheroids"]
    for number in marked:
        sql.execute(
            "UPDATE objects SET is_spheroid = 1"
            " WHERE measurement_id = ? AND name = ? AND number = ?",
            (measurement_id, kind, number),
        )
    sql.execute(
        "UPDATE objects SET is_spheroid = 0 WHERE measurement_id = ? AND is_spheroid"
        " AND number NOT IN (SELECT value FROM json_each(?))",
        (measurement_id, json.dumps(marked)),
    )


def _before_choosing(sql: SqliteUtils, measurement_id: int) -> dict[str, Any] | None:
    """What the program said before the first choice since the last restoring, if any."""
    rows = sql.query(
        "SELECT t.was FROM review_images t JOIN reviews r ON r.id = t.review_id"
        " WHERE t.measurement_id = :id AND r.action = 'choose' AND r.id > coalesce(("
        " SELECT max(u.id) FROM review_images v JOIN reviews u ON u.id = v.review_id"
        " WHERE v.measurement_id = :id AND u.action = 'restore'), 0) ORDER BY r.id LIMIT 1",
        {"id": measurement_id},
    )
    found = next(iter(rows), None)
    return None if found is None else dict(json.loads(found["was"]))


# -- objects -----------------------------------------------------------------------------


def kind_of_spheroid(sql: SqliteUtils, measurement_id: int) -> str | None:
    """CellProfiler's name of the objects that the spheroid is one of; None where there is none.

    Where no object is the spheroid, it is the kind that was stored first: results are stored
    with the candidates before all other objects.
    """
    rows = sql.query(
        "SELECT o.name FROM objects o JOIN measurements m ON m.id = o.measurement_id"
        " WHERE m.id = ? AND m.n_objects > 0 ORDER BY o.is_spheroid DESC, o.id LIMIT 1",
        (measurement_id,),
    )
    return next((str(row["name"]) for row in rows), None)


def _area_of(sql: SqliteUtils, row: Row, number: int) -> float:
    candidates = list(
        sql.query(
            "SELECT number, area_px FROM objects WHERE measurement_id = ? AND name = ?"
            " AND area_px IS NOT NULL ORDER BY area_px DESC, number",
            (row["measurement_id"], kind_of_spheroid(sql, row["measurement_id"])),
        )
    )
    for one in candidates:
        if one["number"] == number:
            return float(one["area_px"])
    listed = [f"{one['number']} (area {one['area_px']:g} px)" for one in candidates[:_SHOWN]]
    more = f" and {len(candidates) - _SHOWN} smaller ones" if len(candidates) > _SHOWN else ""
    raise ReviewError(
        f"{printable(row['path'])} has no object {number}; nothing was changed.",
        f"It has {', '.join(listed)}{more}; {NO_SPHEROID} says that there is no spheroid."
        if listed
        else f"It has no object at all; {NO_SPHEROID} says that there is no spheroid.",
    )
