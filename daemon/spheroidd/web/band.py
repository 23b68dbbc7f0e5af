"""How a plate grows, at a glance: the median well, and the band that most wells lie in."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.web.curves import Curves

_STEPS = 24  # points in time
_POINTS = 24  # of each curve
_FRESH_SECONDS = 10.0  # nobody sees a new image sooner on so small a picture
_WIDTH, _HEIGHT, _EDGE = 240.0, 64.0, 3.0


@dataclass(frozen=True)
class Band:
    """Areas in per cent of each well's first one, over time.

    Attributes:
        hours: float, n; evenly spaced.
        low, median, high: float, n; the tenth, fiftieth and ninetieth percentile of the wells
            that have been imaged by then and later: at both ends, half of them at least.
    """

    hours: NDArray[np.float64]
    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def words(self) -> str:
        """The same for people who can't see it."""
        return (
            f"After {self.hours[-1]:.0f} h the median well has {self.median[-1]:.0f} % of its "
            f"first area; most have {self.low[-1]:.0f} to {self.high[-1]:.0f} %."
        )

    @property
    def line(self) -> str:
        """The median as an SVG path, 240 × 64."""
        return _path(self._placed(self.median))

    @property
    def area(self) -> str:
        """The band as a closed SVG path, 240 × 64."""
        return _path([*self._placed(self.high), *reversed(self._placed(self.low))]) + "Z"

    def _placed(self, values: NDArray[np.float64]) -> list[tuple[float, float]]:
        bottom, top = min(0.0, float(self.low.min())), float(self.high.max()) or 1.0
        x = _EDGE + (self.hours - self.hours[0]) / np.ptp(self.hours) * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (values - bottom) / (top - bottom) * (_HEIGHT - 2 * _EDGE)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def band_of(view: dict[str, Any]) -> Band | None:
    """The band of a plate, as `Curves.view` gives it; None where nothing has grown yet.

    Between two images of a well its area is interpolated; before its first and after its last
    one it does not count.  Excluded images don't either.
    """
    curves = [
        curve
        for well in view["wells"]
        for series in well["series"]
        if (curve := _counted(series)) is not None
    ]
    if not curves:
        return None
    half = len(curves) // 2  # a round takes its time: its first wells are no median
    first = sorted(hours[0] for hours, _ in curves)[-1 - half]
    last = sorted(hours[-1] for hours, _ in curves)[half]
    if last <= first:
        return None
    grid = np.linspace(first, last, _STEPS)
    grown = np.array([np.interp(grid, *curve, left=np.nan, right=np.nan) for curve in curves])
    seen = ~np.isnan(grown).all(axis=0)  # between two series nobody may have been imaged
    low, median, high = np.nanpercentile(grown[:, seen], [10, 50, 90], axis=0)
    return Band(grid[seen], low, median, high)


def _counted(series: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Hours and relative areas of what is not excluded; None where there are no two of them."""
    left_out = set(series["excluded"])
    points = [
        (hour, area)
        for number, (hour, area) in enumerate(zip(series["hours"], series["relative"], strict=True))
        if number not in left_out and area is not None
    ]
    if len(points) < 2:
        return None
    hours, areas = np.array(points, dtype=float).T
    return hours, areas


class Bands:
    """Those of the plates that are running, not drawn more often than anybody can see."""

    def __init__(self, curves: Curves, clock: Callable[[], float] = time.monotonic) -> None:
        self._curves = curves
        self._clock = clock
        self._turn = threading.Lock()
        self._kept: dict[str, tuple[float, Band | None]] = {}

    def of(self, plates: list[str]) -> dict[str, Band]:
        """Plate → its band, where there is one."""
        with self._turn:
            self._kept = {name: kept for name, kept in self._kept.items() if name in plates}
            for plate in plates:
                at, _ = self._kept.get(plate, (-_FRESH_SECONDS, None))
                if self._clock() - at >= _FRESH_SECONDS:
                    band = band_of(self._curves.view(plate, _POINTS))
                    self._kept[plate] = (self._clock(), band)
            return {name: band for name, (_, band) in self._kept.items() if band is not None}


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
