"""What people settle about measurements: events that nothing erases.

Each event and what it changes are one transaction.  Excluding concerns an image, whatever
measured it; confirming and choosing concern one measurement of it.  An event is undone by a
later one, never taken back, and every well it touches is judged anew.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.choices import FLAG, NO_SPHEROID, ReviewError, area_of, choice_of, put
from spheroidd.store.database import Database, timestamp
from spheroidd.store.paths import printable
from spheroidd.store.reader import Row
from spheroidd.store.reading import flags_of

Action = Literal["confirm", "exclude", "restore", "choose"]
Change = Callable[[SqliteUtils, Row], Mapping[str, Any]]  # returns what it changed, as it was

_LOOK_AGAIN = "Look at it again and decide then; nothing was changed."
_PARTS = {"excluded": "whether it is excluded", "decision": "what was decided"}


@dataclass(frozen=True)
class Subject:
    """One image as a person saw it: with the measurement that was current then.

    Attributes:
        object_number, area_px: the spheroid and its area as they were shown; with no area
            they were not looked at, and may have changed.
    """

    image_id: int
    measurement_id: int
    object_number: int | None = None
    area_px: float | None = None


@dataclass(frozen=True)
class Undone:
    """What undoing an event came to.

    Attributes:
        event: the number of the event that undoes it.
        images: those of which something was put back.
        left: why something was not, and of how many images.
    """

    event: int
    images: Sequence[int]
    left: Mapping[str, int]


class Reviews:
    """The one place where people's decisions are written.

    Every method takes the images concerned, when (seconds since the epoch), who, and why,
    and returns the event's number.

    Raises (every method):
        ReviewError: no image, nobody's name, or an image that was measured or judged anew or
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

    def undo(
        self, event: int, subjects: Sequence[Subject], now: float, *, who: str, reason: str = ""
    ) -> Undone:
        """Put back what an event changed, exclusion or decision, and nothing else.

        What a later event changed once more stays as that one left it.

        Raises:
            ReviewError: also when there is nothing to put back.
        """
        images: list[int] = []
        left: Counter[str] = Counter()

        def change(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
            was = _undo(sql, row, event, left)
            images.extend([row["image_id"]] if was else [])
            return was

        number = self._record("restore", subjects, now, who, reason, change)
        return Undone(number, images, left)

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
            touched = False
            for subject in dict.fromkeys(subjects):
                row = _as_seen(sql, subject)
                was = change(sql, row)
                if was:
                    _touch(sql, review_id, action, row, was)
                    touched = True
            if not touched:
                raise ReviewError(
                    "Nothing of that event can be put back: later events changed the same, or"
                    " another measurement is shown.",
                    "Nothing was changed; see `spheroidd review history`. `restore` without"
                    " --event takes back everything.",
                )
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
        " FROM images i JOIN measurements m ON m.image_id = i.id AND m.current"
        " WHERE i.id = ? AND m.id = ? AND i.state = 'measured'",
        (subject.image_id, subject.measurement_id),
    )
    found = next(iter(rows), None)
    if found is None:
        raise ReviewError(
            f"Image {subject.image_id} was measured again, or replaced, since it was looked at.",
            _LOOK_AGAIN,
        )
    as_it_is = (found["object_number"], found["area_px"])
    if subject.area_px is not None and (subject.object_number, subject.area_px) != as_it_is:
        raise ReviewError(
            f"{printable(found['path'])} was judged anew since it was looked at: its spheroid or"
            " its area is another.",
            _LOOK_AGAIN,
        )
    return found


# -- what each action changes ------------------------------------------------------------


def _confirm(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    sql.execute(
        "UPDATE measurements SET decision = 'confirmed' WHERE id = ?", (row["measurement_id"],)
    )
    return {"decision": row["decision"]}


def _exclude(sql: SqliteUtils, row: Row, excluded: int = 1) -> Mapping[str, Any]:
    sql.execute("UPDATE images SET excluded = ? WHERE id = ?", (excluded, row["image_id"]))
    return {"excluded": row["excluded"]}


def _restore(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    was = {**_exclude(sql, row, 0), "decision": row["decision"]}
    if row["decision"] is not None:
        was |= choice_of(sql, row)  # the judge may change it all: it must be there to be put back
        before = _before_choosing(sql, row)
        put(sql, row["measurement_id"], {**was, **before, "decision": None})
    return was


def _undo(sql: SqliteUtils, row: Row, event: int, left: Counter[str]) -> Mapping[str, Any]:
    """Put back the parts that no later event changed; the others are counted in `left`."""
    past = _past(sql, row["image_id"])
    measurement, before = past.pop(event, (None, {}))
    was: dict[str, Any] = {}
    for part in before.keys() & _PARTS:
        if part == "decision" and measurement != row["measurement_id"]:
            left["another measurement is shown than the one that was decided on"] += 1
            continue
        again = [
            later
            for later, (other, changed) in past.items()
            if later > event and part in changed and (part == "excluded" or other == measurement)
        ]
        if again:
            left[f"event {again[-1]} changed {_PARTS[part]} after it"] += 1
        elif part == "excluded":
            was |= _exclude(sql, row, before["excluded"])
        else:
            now = choice_of(sql, row)
            put(sql, row["measurement_id"], {**now, **before})
            was |= now
    return was


def _choose(sql: SqliteUtils, row: Row, number: int) -> Mapping[str, Any]:
    was = choice_of(sql, row)
    flags = [flag for flag in flags_of(row["flags"]) if flag != FLAG]
    if number == NO_SPHEROID:
        flags = [FLAG, *flags]
        area = 0.0
    else:
        area = area_of(sql, row, number)
    size = row["pixel_size_um"]
    choice = {
        "decision": "chosen",
        "object_number": None if number == NO_SPHEROID else number,
        "area_px": area,
        "area_um2": None if size is None else area * size**2,
        "flags": ",".join(flags),
        "spheroids": [] if number == NO_SPHEROID else [number],
    }
    put(sql, row["measurement_id"], choice)
    return was


def _before_choosing(sql: SqliteUtils, row: Row) -> Mapping[str, Any]:
    """What the program said before people began to decide; empty where it still says so."""
    past = [
        was
        for measurement, was in _past(sql, row["image_id"]).values()
        if measurement == row["measurement_id"] and "decision" in was
    ]
    since = max((n for n, was in enumerate(past) if was["decision"] is None), default=0)
    return next((was for was in past[since:] if "area_px" in was), {})


def _past(sql: SqliteUtils, image_id: int) -> dict[int, tuple[int, dict[str, Any]]]:
    """Event → which measurement of an image it concerned, and what it changed, as it was."""
    rows = sql.query(
        "SELECT review_id, measurement_id, was FROM review_images"
        " WHERE image_id = ? ORDER BY review_id",
        (image_id,),
    )
    return {row["review_id"]: (row["measurement_id"], json.loads(row["was"])) for row in rows}
