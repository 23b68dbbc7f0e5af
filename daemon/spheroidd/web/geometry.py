"""Where the wells of a plate lie: in rows and columns as on the plate itself.

Formats of ANSI/SLAS 4-2004 (R2012) and of the smaller culture plates that share its outline.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FORMATS = {  # wells → rows, columns
    6: (2, 3),
    12: (3, 4),
    24: (4, 6),
    48: (6, 8),
    96: (8, 12),
    384: (16, 24),
    1536: (32, 48),
}
_NAME = re.compile(r"([A-Za-z]|[Aa][A-Fa-f])0*([1-9][0-9]?)", re.ASCII)


@dataclass(frozen=True)
class Geometry:
    """A plate's shape.

    Attributes:
        kind: `plate`: one of the usual formats; `grid`: names of any form, in their own order.
        wells: how many there is room for.
        places: name → row and column, both from 0.
    """

    kind: Literal["plate", "grid"]
    wells: int
    rows: int
    columns: int
    places: Mapping[str, tuple[int, int]]

    def said(self) -> dict[str, Any]:
        """Without the places, in plain values."""
        return {
            "kind": self.kind,
            "wells": self.wells,
            "rows": self.rows,
            "columns": self.columns,
        }


def place_of(name: str) -> tuple[int, int] | None:
    """Row and column, both from 0, of a well named like A1, a01 or AF48; None: it is not.

    After Z come AA to AF.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    letters = found[1].upper()
    row = ord(letters[-1]) - ord("A") + 26 * (len(letters) - 1)
    return row, int(found[2]) - 1


def geometry_of(names: Sequence[str]) -> Geometry:
    """The smallest usual format that has a well for each name; a plain grid where there is none,
    or where two names (A1 and A01) mean the same well.

    Args:
        names: all different, in natural order.
    """
    places = {name: place for name in names if (place := place_of(name)) is not None}
    if names and len(set(places.values())) == len(names):
        for wells, (rows, columns) in FORMATS.items():
            if all(row < rows and column < columns for row, column in places.values()):
                return Geometry("plate", wells, rows, columns, places)
    columns = math.isqrt(max(0, len(names) - 1)) + 1 if names else 0
    rows = math.ceil(len(names) / columns) if columns else 0
    grid = {name: divmod(index, columns) for index, name in enumerate(names)}
    return Geometry("grid", len(names), rows, columns, grid)
