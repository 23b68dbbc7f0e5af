"""The numbers behind the flags: what each frame of a well shows, beside the frames around it.

No number depends on a limit, on another well, or on the order in which images arrived.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, isfinite, log, pi, sqrt
from statistics import fmean, median, median_low

import numpy as np

from spheroidd.measure.smooth import Floats, clock, deviations, neighbours
from spheroidd.measure.track import Pick, touches
from spheroidd.store.frames import Candidate, Frame

_SIDE = 3  # frames on each side that say whether one flips
_EXCURSION = log(1.25)  # in log area: out and back again is a flip, too
_SCHEDULE = 3  # intervals on each side that say how often the instrument comes
_LATE = 1.6  # intervals without a frame: one is missing
_DIGITS = 5  # significant ones that are stored


def values(
    frames: Sequence[Frame], picks: Sequence[Pick], *, several: bool = False
) -> list[dict[str, float]]:
    """The numbers of each frame of one well, field and channel: flag → number.

    Args:
        frames: in the order of time.
        picks: the spheroid of each.
        several: all objects count, so that further ones are no concern.
    """
    pairs = list(zip(frames, picks, strict=True))
    physical = all(frame.pixel_size_um for frame, found in pairs if found.counted)
    seen = [_see(frame, found, physical=physical) for frame, found in pairs]
    times = clock([frame.hours for frame in frames], [frame.timepoint for frame in frames])
    lived_in = any(seen)
    found: list[dict[str, float | None]] = [{} for _ in frames]
    for one, frame, choice in zip(found, frames, picks, strict=True):
        one["no_spheroid"] = len(choice.counted)
        one.update(_of_mask(frame, choice))
        if lived_in:  # an empty well has nothing sharp in it
            one["low_focus"] = frame.evidence.get("focus")
        one["touches_border"] = _sides(frame, choice)
        if not several and choice.spheroid:
            one["several_objects"] = _largest_other(frame, choice)
            one["ambiguous"] = choice.rivalry
    evident = [not frame.excluded for frame in frames]
    for flag, numbers in (
        *_jumps(seen, times, evident).items(),
        ("exposure_shift", _exposure_shifts(frames)),
        ("flip_flop", _flips(seen, evident)),
        ("missing_frame", _missing(frames)),
        ("duplicate_frame", _copies(frames)),
    ):
        for one, number in zip(found, numbers, strict=True):
            one[flag] = number
    return [
        {
            flag: float(f"{number:.{_DIGITS}g}")
            for flag, number in one.items()
            if number is not None and isfinite(number)
        }
        for one in found
    ]


# -- one frame by itself -----------------------------------------------------------------


def _of_mask(frame: Frame, choice: Pick) -> dict[str, float | None]:
    """What the segmentation says of its own mask."""
    if not choice.counted:
        return {}
    evidence = frame.evidence
    uncertain = evidence.get("uncertain_share")
    confidence = (
        frame.peak_probability,
        evidence.get("mean_probability"),
        None if uncertain is None else max(0.0, 1 - uncertain),
    )
    return {
        "low_confidence": min((one for one in confidence if one is not None), default=None),
        "low_solidity": _mean(choice.counted, lambda one: one.solidity),
        # An object where the mask is empty: the two don't speak of the same image.
        "disagreement": 0.0
        if frame.foreground_px == 0
        else evidence.get("confirmed", evidence.get("agreement")),
    }


def _sides(frame: Frame, choice: Pick) -> float | None:
    sides = [touches(frame, found) for found in choice.counted]
    return max((side for side in sides if side is not None), default=None)


def _largest_other(frame: Frame, choice: Pick) -> float:
    """Area of the largest object that is not the spheroid, in areas of the spheroid."""
    mine = {found.number for found in choice.counted}
    others = [found.area_px for found in frame.candidates if found.number not in mine]
    return max(others, default=0.0) / choice.area_px


def _mean(found: Sequence[Candidate], feature: Callable[[Candidate], float | None]) -> float | None:
    """Of all objects that count, each by its area."""
    numbers = [(feature(one), one.area_px) for one in found]
    total = sum(area for number, area in numbers if number is not None)
    if not total:
        return None
    return sum(number * area for number, area in numbers if number is not None) / total


# -- beside the frames around it -----------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """A frame's spheroid, from the image's middle; in µm where all frames have a pixel size."""

    area: float
    x: float | None
    y: float | None
    shape: tuple[float | None, ...]  # minor by major axis, solidity, form factor


def _see(frame: Frame, choice: Pick, *, physical: bool) -> _Seen | None:
    if not choice.counted:
        return None
    found, size = choice.counted, (frame.pixel_size_um or 1.0) if physical else 1.0
    x, y = _mean(found, lambda one: one.x), _mean(found, lambda one: one.y)
    return _Seen(
        choice.area_px * size**2,
        None if x is None else (x - (frame.width or 0) / 2) * size,
        None if y is None else (y - (frame.height or 0) / 2) * size,
        (
            _mean(found, _roundness),
            _mean(found, lambda one: one.solidity),
            _mean(found, lambda one: one.form_factor),
        ),
    )


def _roundness(one: Candidate) -> float | None:
    if one.eccentricity is None:
        return None
    return sqrt(max(0.0, 1 - one.eccentricity**2))


def _jumps(
    seen: Sequence[_Seen | None], times: Floats, evident: Sequence[bool]
) -> dict[str, list[float | None]]:
    """How far each frame lies from what its neighbours lead one to expect.

    Area: |log of the area by the predicted one|.  Position: distance from the neighbours'
    median place, in radii of a disc of their median area.  Shape: the largest difference of
    roundness, solidity and form factor from the neighbours' medians.
    """
    there = [one is not None and ok for one, ok in zip(seen, evident, strict=True)]
    around = neighbours(times, there)
    logs = np.array([log(one.area) if one else np.nan for one in seen])
    areas = deviations(times, logs, around)
    moves: list[float | None] = []
    shapes: list[float | None] = []
    for one, near in zip(seen, around, strict=True):
        others = [other for other in (seen[index] for index in near) if other]
        enough = one is not None and len(others) >= 2
        moves.append(_moved(one, others) if one and enough else None)
        shapes.append(_reshaped(one, others) if one and enough else None)
    return {"area_jump": areas.tolist(), "position_jump": moves, "shape_jump": shapes}


def _moved(one: _Seen, others: Sequence[_Seen]) -> float | None:
    xs = [other.x for other in others if other.x is not None]
    ys = [other.y for other in others if other.y is not None]
    if one.x is None or one.y is None or not xs or not ys:
        return None
    radius = sqrt(median(other.area for other in others) / pi)
    return hypot(one.x - median(xs), one.y - median(ys)) / radius


def _reshaped(one: _Seen, others: Sequence[_Seen]) -> float | None:
    changes = []
    for feature, value in enumerate(one.shape):
        known = [v for v in (other.shape[feature] for other in others) if v is not None]
        if value is not None and known:
            changes.append(abs(value - median(known)))
    return max(changes, default=None)


def _exposure_shifts(frames: Sequence[Frame]) -> list[float | None]:
    """Difference of the background from the well's median, in grey values of 8 bits."""
    greys = [frame.evidence.get("background") for frame in frames]
    usual = [
        grey
        for grey, frame in zip(greys, frames, strict=True)
        if grey is not None and not frame.excluded
    ]
    if len(usual) < 2:
        return [None] * len(frames)
    middle = median(usual)
    return [None if grey is None else abs(grey - middle) for grey in greys]


def _flips(seen: Sequence[_Seen | None], evident: Sequence[bool]) -> list[float | None]:
    """Share of the frames around a frame that it differs from in the same way on both sides.

    A spheroid is found here and not there, or the reverse; or it is larger (smaller) by a
    quarter than before, and than after.  What appears, vanishes or grows to stay differs on
    one side only, which does not count.
    """
    found: list[float | None] = []
    there = [index for index, ok in enumerate(evident) if ok]
    for index, one in enumerate(seen):
        place, behind = bisect_left(there, index), bisect_right(there, index)
        before = [seen[i] for i in there[max(0, place - _SIDE) : place]]
        after = [seen[i] for i in there[behind : behind + _SIDE]]
        sides = [side for side in (before, after) if side]
        if len(before) + len(after) < 2:
            found.append(None)
            continue
        presence = 0.0
        if one or len(sides) == 2:  # at an end, `no_spheroid` says it all
            presence = min(
                fmean((one is None) != (other is None) for other in side) for side in sides
            )
        out_and_back = 0.0
        if one and len(sides) == 2:
            out_and_back = max(
                min(fmean(_differs(one, other) == sign for other in side) for side in sides)
                for sign in (-1, 1)
            )
        found.append(max(presence, out_and_back))
    return found


def _differs(one: _Seen, other: _Seen | None) -> int:
    change = log(one.area / other.area) if other else 0.0
    return 0 if abs(change) < _EXCURSION else (1 if change > 0 else -1)


def _missing(frames: Sequence[Frame]) -> list[float | None]:
    """How many frames are missing just before each one.

    By the frames' numbers where all have one, else by their times, beside the usual interval
    around: instruments may be told to come more often, or less.
    """
    numbers = [frame.timepoint for frame in frames]
    if all(number is not None for number in numbers):
        there = sorted({float(number) for number in numbers if number is not None})
        steps = [after - before for before, after in pairwise(there)]
        usual = median_low(steps or [1.0])
        gaps = [round(step / usual) - 1 for step in steps]
        before = dict(zip(there, [0.0, *(float(max(0, gap)) for gap in gaps)], strict=False))
        return [before.get(number or 0.0) for number in numbers]
    hours = [frame.hours for frame in frames]
    if any(hour is None for hour in hours):
        return [None] * len(frames)
    there = sorted({hour for hour in hours if hour is not None})
    late = _lateness([after - before for before, after in pairwise(there)])
    before = dict(zip(there, [0.0, *late], strict=False))
    return [before.get(hour or 0.0) for hour in hours]


def _lateness(waits: Sequence[float]) -> list[float]:
    """How many intervals each wait is too long by, beside the waits around it."""
    found = []
    for index, wait in enumerate(waits):
        usual = median_low(waits[max(0, index - _SCHEDULE) : index + _SCHEDULE + 1])
        late = wait / usual
        found.append(float(max(1, round(late) - 1)) if late > _LATE else 0.0)
    return found


def _copies(frames: Sequence[Frame]) -> list[float | None]:
    """How many other images claim to be the same frame."""
    claims = [frame.hours if frame.timepoint is None else frame.timepoint for frame in frames]
    counts = Counter(claims)
    return [None if claim is None else float(counts[claim] - 1) for claim in claims]
