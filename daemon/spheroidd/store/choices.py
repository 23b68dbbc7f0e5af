"""Which object of a measurement is the spheroid, and all that hangs together with it."""

import json
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database as SqliteUtils

from spheroidd.errors import SpheroiddError
from spheroidd.store.paths import printable
from spheroidd.store.reader import Row

NO_SPHEROID = 0  # the number to choose where no object is the spheroid
FLAG = "no_spheroid"
_SHOWN = 12  # objects that a message lists


class ReviewError(SpheroiddError):
    """An event that can't be recorded; nothing of it was."""


def choice_of(sql: SqliteUtils, row: Row) -> dict[str, Any]:
    """Everything that choosing changes, as it is; several spheroids may be marked."""
    names = ("decision", "object_number", "area_px", "area_um2", "flags")
    marked = sql.query(
        "SELECT number FROM objects WHERE measurement_id = ? AND is_spheroid ORDER BY number",
        (row["measurement_id"],),
    )
    return {name: row[name] for name in names} | {"spheroids": [one["number"] for one in marked]}


def put(sql: SqliteUtils, measurement_id: int, choice: Mapping[str, Any]) -> None:
    """Make a measurement say what a choice (see `choice_of`) says."""
    n = len(choice["spheroids"])
    check = {"value": n, "limit": 1, "raised": FLAG in choice["flags"].split(",")}
    sql.execute(
        "UPDATE measurements SET decision = :decision, object_number = :object_number,"
        " area_px = :area_px, area_um2 = :area_um2, flags = :flags,"
        " checks = json_set(checks, :at, json(:check)) WHERE id = :id",
        {**choice, "id": measurement_id, "at": f"$.{FLAG}", "check": json.dumps(check)},
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


def area_of(sql: SqliteUtils, row: Row, number: int) -> float:
    """The area of one of a measurement's objects, in pixels.

    Raises:
        ReviewError: it has none of that number; it says which there are.
    """
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
