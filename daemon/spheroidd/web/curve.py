"""One well's growth curves: as numbers in memory, and as the part of an answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.store.viewing import EXCLUDED, FLAGGED, SETTLED
from spheroidd.web.encoding import encoded
from spheroidd.web.reduction import LEAST, Numbers, reduced

_POINT = np.dtype(
    [("captured", "f8"), ("px", "f8"), ("um2", "f8"), ("image", "i8"), ("marks", "u1")]
)
Points = NDArray[np.void]
_IN_ORDER = itemgetter(3, 4)  # time_key, image_id
_OBJECTS = 1500  # bytes that a well and a curve take beside their points


@dataclass(frozen=True)
class Shown:
    """How curves are shown.

    Attributes:
        unit: of areas, `µm²` or `px`.
        start: when hours begin, as a Julian day.
        points: of each curve; None: all.
    """

    unit: str
    start: float
    points: int | None

    def hours(self, captured: Any) -> Any:
        """Since the plate's first image, to four digits as in the view `growth`."""
        return _rounded((captured - self.start) * 24, 4)


@dataclass
class Series:
    """The curve of one field and channel, by time: points of `_POINT`, um2 NaN where unknown."""

    field: str | None
    channel: str | None
    points: Points


@dataclass
class Well:
    """Every measured image of a well; empty where none is measured yet.

    Attributes:
        end: what is said in words of the last image.
    """

    series: list[Series] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    _kept: tuple[Shown, bytes] | None = None

    @property
    def images(self) -> int:
        return sum(len(one.points) for one in self.series)

    @property
    def um2_known(self) -> bool:
        return not any(np.isnan(one.points["um2"]).any() for one in self.series)

    @property
    def first(self) -> float:
        """When the first image was captured; only where there is one."""
        return min(float(one.points["captured"].min()) for one in self.series)

    @property
    def last(self) -> float:
        """When the last one was."""
        return float(self._last()[1]["captured"])

    @property
    def last_image(self) -> int:
        """Its number."""
        return int(self._last()[1]["image"])

    def _last(self) -> tuple[Series, Any]:
        ends = [(one, one.points[int(one.points["captured"].argmax())]) for one in self.series]
        return max(ends, key=lambda end: (end[1]["captured"], end[1]["image"]))

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        kept = len(self._kept[1]) if self._kept else 0
        return _OBJECTS + kept + sum(_OBJECTS + one.points.nbytes for one in self.series)

    def json(self, shown: Shown, *, keep: bool) -> bytes:
        """The well's part of an answer, without its name and place.

        Args:
            keep: it will be asked for again in the same way.
        """
        if self._kept is not None and self._kept[0] == shown:
            return self._kept[1]
        text = encoded(self._said(shown))
        if keep:
            self._kept = (shown, text)
        return text

    def _said(self, shown: Shown) -> dict[str, Any]:
        marks = [one.points["marks"] for one in self.series]
        seen = [(of & (FLAGGED | EXCLUDED)) == FLAGGED for of in marks]
        waiting = [(of & (FLAGGED | EXCLUDED | SETTLED)) == FLAGGED for of in marks]
        return {
            "flags": sum(int(of.sum()) for of in seen),
            "to_review": sum(int(of.sum()) for of in waiting),
            "images": self.images,
            "series": [_series(one, shown) for one in self.series],
            "last": self._end(shown) if self.series else None,
        }

    def _end(self, shown: Shown) -> dict[str, Any]:
        series, point = self._last()
        relative = relative_of(series.points)[series.points["image"] == point["image"]]
        return {
            "image": int(point["image"]),
            "hours": float(shown.hours(point["captured"])),
            "area": float(point[_COLUMN[shown.unit]]),
            "relative": _plain(relative)[0],
            "excluded": bool(point["marks"] & EXCLUDED),
            **self.end,
        }


_COLUMN = {"µm²": "um2", "px": "px"}


def wells_of(rows: Iterable[tuple[Any, ...]]) -> dict[str, Well]:
    """Wells from points as `store.viewing.points` gives them."""
    curves: dict[tuple[str, str | None, str | None], list[tuple[Any, ...]]] = {}
    for row in rows:
        curves.setdefault(row[:3], []).append(row)
    wells: dict[str, Well] = {}
    for well, of_field, channel in sorted(curves, key=_by_name):
        found = sorted(curves[well, of_field, channel], key=_IN_ORDER)
        points = np.array([(r[5], r[6], r[7], r[4], r[8]) for r in found], _POINT)
        wells.setdefault(well, Well()).series.append(Series(of_field, channel, points))
    return wells


def _by_name(key: tuple[str | None, ...]) -> list[tuple[bool, str]]:
    """What has no field or channel comes first."""
    return [(part is not None, part or "") for part in key]


def relative_of(points: Points) -> Numbers:
    """Per cent of the curve's first area that is not excluded, as the view `growth` has it; NaN
    where that is unknown or 0.

    In µm², for the magnification may change; in pixels only where neither size is known.
    """
    first = first_of(points)
    if first is None:
        return np.full(len(points), np.nan)
    px, um2 = first["px"] or np.nan, first["um2"] or np.nan  # nothing is a multiple of 0
    if np.isnan(first["um2"]):
        share = np.where(np.isnan(points["um2"]), points["px"] / px, np.nan)
    else:
        share = points["um2"] / um2
    relative: Numbers = _rounded(100 * share, 3)
    return relative


def first_of(points: Points) -> Any:
    """A curve's first point that is not excluded; None: all are."""
    counted = np.flatnonzero((points["marks"] & EXCLUDED) == 0)
    return points[counted[0]] if len(counted) else None


def _series(one: Series, shown: Shown) -> dict[str, Any]:
    points, area = one.points, one.points[_COLUMN[shown.unit]]
    hours, relative = shown.hours(points["captured"]), relative_of(one.points)
    flagged, excluded = points["marks"] & FLAGGED != 0, points["marks"] & EXCLUDED != 0
    limit = len(points) if shown.points is None else max(LEAST, shown.points)
    at, thinned = reduced(hours, area, flagged, excluded, limit)
    first = first_of(points)
    return {
        "field": one.field,
        "channel": one.channel,
        "hours": hours[at].tolist(),
        "area": area[at].tolist(),
        "relative": _plain(relative[at]),
        "image": points["image"][at].tolist(),
        "flagged": np.flatnonzero(flagged[at]).tolist(),
        "excluded": np.flatnonzero(excluded[at]).tolist(),
        "first_area": None if first is None else float(first[_COLUMN[shown.unit]]),
        **({"thinned": True} if thinned else {}),
    }


def _rounded(numbers: Any, digits: int) -> Any:
    """Half up, as SQLite rounds."""
    return np.floor(numbers * 10**digits + 0.5) / 10**digits


def _plain(numbers: Numbers) -> list[float | None]:
    """NaN, which JSON does not have, as None."""
    return [None if number != number else number for number in numbers.tolist()]  # noqa: PLR0124
