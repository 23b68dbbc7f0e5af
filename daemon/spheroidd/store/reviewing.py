"""Questions around review: which images are meant, and what was settled.  What waits to be looked
at is in `waiting.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spheroidd.errors import SpheroiddError
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader, Row
from spheroidd.store.reading import HOURS

_LISTED = 100  # names that a message spells out

_HALF_DIGIT = 5e-5  # hours are rounded to four digits, and are asked for as they are shown
# In the words of the indexes: `current`, and `<> 'superseded'` beside what implies it.
CURRENT = (
    "images i JOIN measurements m ON m.image_id = i.id AND m.current"
    " AND i.state = 'measured' AND i.state <> 'superseded'"
)
ORDER = "i.plate_key, i.plate, i.well_key, i.well, i.time_key, i.id"


@dataclass(frozen=True)
class Selection:
    """Which images are meant; what is None does not narrow it.

    Attributes:
        plate, well, path: as the ledger has them (see store/paths.py).
        from_hours, to_hours: since the plate's first image as in `growth`, both ends included.
        timepoint: the frame number in the image's name.
        event: images that this review event touched.
    """

    plate: str | None = None
    well: str | None = None
    from_hours: float | None = None
    to_hours: float | None = None
    timepoint: int | None = None
    path: str | None = None
    event: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == Selection()

    def condition(self) -> tuple[str, dict[str, Any]]:
        """A condition on `images i`, and its parameters."""
        low, high = self.from_hours, self.to_hours
        terms: list[tuple[str, str, Any]] = [
            ("i.plate = :plate", "plate", self.plate),
            ("i.well = :well", "well", self.well),
            (f"{HOURS} >= :low", "low", None if low is None else low - _HALF_DIGIT),
            (f"{HOURS} <= :high", "high", None if high is None else high + _HALF_DIGIT),
            ("i.timepoint = :timepoint", "timepoint", self.timepoint),
            ("i.path = :path", "path", self.path),
            (
                "i.id IN (SELECT e.image_id FROM review_images e WHERE e.review_id = :event)",
                "event",
                self.event,
            ),
        ]
        used = [term for term in terms if term[2] is not None]
        return " AND ".join(["1", *(term[0] for term in used)]), {
            name: value for _, name, value in used
        }


def plates(reader: Reader) -> list[str]:
    """Plates with measured images, in natural order."""
    rows = reader.rows(
        "SELECT t.plate FROM tallies t WHERE t.state = 'measured' GROUP BY t.plate"
        " ORDER BY (SELECT i.plate_key FROM images i"
        "  WHERE i.plate = t.plate AND i.state <> 'superseded' LIMIT 1), t.plate"
    )
    return [row["plate"] for row in rows]


def wells(reader: Reader, plate: str | None = None) -> list[str]:
    """Wells (of one plate) with measured images, in natural order, each name once."""
    rows = reader.rows(
        "SELECT t.well FROM tallies t WHERE t.state = 'measured'"
        " AND (:plate IS NULL OR t.plate = :plate) GROUP BY t.well"
        " ORDER BY (SELECT i.well_key FROM images i WHERE i.plate = t.plate"
        "  AND i.well = t.well AND i.state <> 'superseded' LIMIT 1), t.well",
        {"plate": plate},
    )
    return [row["well"] for row in rows]


def selected(reader: Reader, selection: Selection) -> list[Row]:
    """The measured images that are meant, by plate, well and time.

    Returns:
        Rows of image_id, measurement_id, plate, well, hours, timepoint, image_path, area_px,
        object_number, excluded, decision.

    Raises:
        SpheroiddError: none is; it says what there is.
    """
    condition, values = selection.condition()
    rows = reader.rows(
        f"SELECT i.id AS image_id, m.id AS measurement_id, i.plate, i.well, {HOURS} AS hours,"  # noqa: S608
        " i.timepoint, i.path AS image_path, m.area_px, m.object_number, i.excluded, m.decision"
        f" FROM {CURRENT} WHERE {condition} ORDER BY {ORDER}",
        values,
    )
    if not rows:
        raise _none_there(reader, selection)
    return rows


def refuse_hidden(reader: Reader, event: int) -> None:
    """See that what an event settled is what is shown: nothing else can be restored by it.

    Raises:
        SpheroiddError: another run is shown of some images that the event confirmed or chose.
    """
    rows = reader.rows(
        "SELECT i.plate, CASE WHEN u.kind = 'again' THEN u.id ELSE 'live' END AS run,"
        " count(*) AS n FROM review_images t JOIN reviews r ON r.id = t.review_id"
        " JOIN measurements m ON m.id = t.measurement_id JOIN images i ON i.id = m.image_id"
        " LEFT JOIN runs u ON u.id = m.run_id"
        " WHERE r.id = :event AND r.action IN ('confirm', 'choose') AND NOT m.current"
        " AND m.decision IS NOT NULL AND i.state = 'measured' GROUP BY 1, 2",
        {"event": event},
    )
    if rows:
        number = sum(row["n"] for row in rows)
        shows = [f"spheroidd runs use … --plate {row['plate']!r} {row['run']}" for row in rows]
        raise SpheroiddError(
            f"Another run is shown in place of {number} results that event {event} settled.",
            f"Nothing was changed. Show them first: {printable('; '.join(shows))}.",
        )


def events(reader: Reader, selection: Selection) -> list[Row]:
    """What people settled, oldest first, as far as it concerns the images that are meant.

    Returns:
        Rows of id, at, who, action, reason, images: a list with plate, well, hours, image_path,
        measurement_id, object_number and what the event changed as it `was`.
    """
    condition, values = selection.condition()
    rows = reader.rows(
        "SELECT r.id, r.at, r.who, r.action, r.reason, i.plate, i.well,"  # noqa: S608
        f" {HOURS} AS hours, i.path AS image_path, t.measurement_id, t.object_number, t.was"
        " FROM reviews r JOIN review_images t ON t.review_id = r.id"
        f" JOIN images i ON i.id = t.image_id WHERE {condition} ORDER BY r.id, {ORDER}",
        values,
    )
    found: dict[int, Row] = {}
    for row in rows:
        event = {key: row.pop(key) for key in ("id", "at", "who", "action", "reason")}
        row["was"] = json.loads(row["was"])
        found.setdefault(event["id"], {**event, "images": []})["images"].append(row)
    return list(found.values())


# -- nothing there: say what there is ---------------------------------------------------------


def refuse_unknown(reader: Reader, selection: Selection) -> None:
    """See that plate and well are there.

    Raises:
        SpheroiddError: one is not; it lists those that are.
    """
    there = plates(reader)
    plate, well = selection.plate, selection.well
    if not there:
        raise SpheroiddError("No image has been measured yet.")
    if plate is not None and plate not in there:
        raise SpheroiddError(
            f"There is no measured plate {printable(plate)}.", f"There are: {listed(there)}."
        )
    if well is not None and well not in (known := wells(reader, plate)):
        place = "" if plate is None else f" on plate {printable(plate)}"
        raise SpheroiddError(
            f"There is no measured well {printable(well)}{place}.", f"There are: {listed(known)}."
        )


def listed(names: Sequence[str]) -> str:
    """Names for people, the first hundred spelt out."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(printable(name) for name in names[:_LISTED]) + more


def _none_there(reader: Reader, selection: Selection) -> SpheroiddError:
    refuse_unknown(reader, selection)
    if selection.path is not None:
        return _no_such_path(reader, selection)
    if selection.event is not None and not reader.rows(
        "SELECT 1 FROM reviews WHERE id = :id", {"id": selection.event}
    ):
        return SpheroiddError(
            f"There is no event {selection.event}.", "See `spheroidd review history`."
        )
    condition, values = Selection(selection.plate, selection.well).condition()
    [there] = reader.rows(
        f"SELECT count(*) AS n, min({HOURS}) AS first, max({HOURS}) AS last,"  # noqa: S608
        " min(i.timepoint) AS low, max(i.timepoint) AS high"
        f" FROM {CURRENT} WHERE {condition}",
        values,
    )
    frames = "without frame numbers in their names"
    if there["low"] is not None:
        frames = f"frames {there['low']} to {there['high']}"
    where = "".join(
        f" of {word} {printable(name)}"
        for word, name in (("well", selection.well), ("plate", selection.plate))
        if name is not None
    )
    return SpheroiddError(
        f"No measured image{where} is in that range.",
        f"There are {there['n']}, from {there['first']:g} to {there['last']:g} hours, {frames}.",
    )


def _no_such_path(reader: Reader, selection: Selection) -> SpheroiddError:
    path = selection.path or ""
    rows = reader.rows(
        f"SELECT i.state, i.reason, i.plate, i.well, {HOURS} AS hours"  # noqa: S608
        " FROM images i WHERE i.path = :path ORDER BY i.version DESC LIMIT 1",
        {"path": path},
    )
    if not rows:
        return SpheroiddError(
            f"{printable(path)} is not in the ledger.",
            "Give the image's path as `spheroidd export` shows it.",
        )
    [row] = rows
    if row["state"] != "measured":
        why = f": {row['reason'].removesuffix('.')}" if row["reason"] else ""
        return SpheroiddError(f"{printable(path)} is {row['state']}, not measured{why}.")
    return SpheroiddError(
        f"{printable(path)} is not in that range.",
        f"It is of plate {printable(row['plate'])}, well {printable(row['well'])}, at"
        f" {row['hours']:g} hours.",
    )
