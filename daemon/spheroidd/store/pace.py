"""How fast a plate is imaged, and whether it is being imaged at all; pure decisions.

An experiment that runs, one that has ended and old images that were copied here all look alike
in the table of images.  They differ in how the times of capture and of arrival go together.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from spheroidd.store.sights import PlateTimes

_DAY = 24 * 3600.0
_INTERVALS = 3  # so many may be missing before somebody is told
_FASTEST = 60.0  # closer file dates are a copy's, not an instrument's
_SHORTEST = 10 * 60.0  # nobody is told sooner, unless the configuration says so


@dataclass(frozen=True)
class Pace:
    """A plate's own rhythm, in seconds.

    `interval` is None where no well has two frames; `live`: its images come as they are taken;
    a silence up to `limit` is usual, and one that is longer by `window` means that the plate is
    finished.
    """

    interval: float | None
    live: bool
    limit: float
    window: float


def pace_of(plate: PlateTimes, no_image_minutes: float | None) -> Pace:
    """How fast a plate is imaged.

    Args:
        no_image_minutes: the silence that is too long; None: three of the plate's intervals,
            or a day while those are not known yet.
    """
    gaps = [
        (later.captured - earlier.captured, later.seen - earlier.seen)
        for series in plate.series
        for earlier, later in pairwise(series)
        if later.captured > earlier.captured
    ]
    interval = median(taken for taken, _ in gaps) if gaps else None
    usual = _DAY if interval is None else max(_SHORTEST, _INTERVALS * interval)
    return Pace(
        interval,
        _live(plate, gaps, interval),
        usual if no_image_minutes is None else 60 * no_image_minutes,
        max(_DAY, _INTERVALS * (interval or 0)),
    )


def _live(plate: PlateTimes, gaps: list[tuple[float, float]], interval: float | None) -> bool:
    """Whether the images come as they are taken: soon after it, or (where the instrument's
    clock is wrong) at the pace at which they were taken.  Copied old images do neither."""
    frames = [frame for series in plate.series for frame in series]
    if not frames:
        return False
    newest = max(frames, key=lambda frame: frame.seen)
    if newest.weak and interval is not None and interval < _FASTEST:
        return False  # a copy that did not keep the files' dates
    soon = newest.seen - newest.captured <= max(_DAY, _INTERVALS * (interval or 0))
    steady = [taken / 2 <= seen <= taken * 2 for taken, seen in gaps]
    return soon or sum(steady) * 2 > len(steady)
