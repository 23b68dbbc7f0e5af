"""What waits to be looked at, the worst first."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from spheroidd.store.reader import Reader, Row
from spheroidd.store.reading import HOURS, flags_of
from spheroidd.store.reviewing import CURRENT, ORDER, Selection

# From the few that are flagged to their images, not the other way round.
_FLAGGED = (
    "measurements m INDEXED BY measurements_flagged"
    " CROSS JOIN images i ON i.id = m.image_id AND m.current AND i.state = 'measured'"
)
# How far beyond the limit of a flag, as a share of it: the most of all that are raised.
_EXCESS = """
coalesce((SELECT max(abs((json_extract(c.value, '$.value')) - (json_extract(c.value, '$.limit')))
                     / coalesce(nullif(abs(json_extract(c.value, '$.limit')), 0), 1))
            FROM json_each(m.checks) c
           WHERE instr(',' || m.flags || ',', ',' || c.key || ',')), 0.0)
"""


def waiting(
    reader: Reader, selection: Selection, flag: str | None = None, limit: int | None = None
) -> tuple[list[Row], int]:
    """Measurements that wait to be looked at: flagged, not settled, not excluded; worst first.

    Worse is what has more flags; among equals, what is further beyond the limit of a flag, as a
    share of that limit. Wells that are simply empty come last.

    Args:
        flag: only those that carry this flag.
        limit: no more than so many.

    Returns:
        Rows of image_id, measurement_id, plate, well, hours, timepoint, image_path, area_px,
        area_um2, n_objects, object_number, flags (list), checks (flag → value and limit, of
        the flags that are raised), excess, outline_path (relative to the state folder); and
        how many wait in all.
    """
    with reader.at_once():
        ranked = sorted(_ranked(reader, selection, flag), key=_rank)  # stable: equals as they lie
        shown = {number: excess for number, _, excess in ranked[:limit]}
        rows = {row["measurement_id"]: row for row in _details(reader, list(shown))}
    return [{**rows[number], "excess": excess} for number, excess in shown.items()], len(ranked)


def _rank(found: tuple[Any, ...]) -> tuple[bool, int, float]:
    """Sorts the worst first."""
    _, flags, excess = found
    return flags == "no_spheroid", -len(flags_of(flags)), -excess


def _ranked(
    reader: Reader, selection: Selection, flag: str | None
) -> Iterator[tuple[int, str, float]]:
    """Measurement, flags, excess, by plate, well and time.  There may be ten thousands."""
    condition, values = selection.condition()
    return reader.tuples(
        f"SELECT m.id, m.flags, {_EXCESS} FROM {_FLAGGED if selection.everything else CURRENT}"  # noqa: S608
        f" WHERE {condition} AND m.flags <> '' AND m.decision IS NULL AND NOT i.excluded"
        f" AND (:flag IS NULL OR instr(',' || m.flags || ',', :wrapped)) ORDER BY {ORDER}",
        {**values, "flag": flag, "wrapped": f",{flag},"},
    )


def _details(reader: Reader, measurements: Sequence[int]) -> list[Row]:
    rows = reader.rows(
        f"SELECT i.id AS image_id, m.id AS measurement_id, i.plate, i.well, {HOURS} AS hours,"  # noqa: S608
        " i.timepoint, i.path AS image_path, m.area_px, m.area_um2, m.n_objects,"
        " m.object_number, m.flags, m.checks, m.outline_path"
        " FROM json_each(:measurements) wanted CROSS JOIN measurements m ON m.id = wanted.value"
        " CROSS JOIN images i ON i.id = m.image_id",
        {"measurements": json.dumps(measurements)},
    )
    for row in rows:
        row["flags"] = flags_of(row["flags"])
        checks = json.loads(row["checks"])
        row["checks"] = {
            name: {key: check.get(key) for key in ("value", "limit")}
            for name, check in checks.items()
            if name in row["flags"]
        }
    return rows
