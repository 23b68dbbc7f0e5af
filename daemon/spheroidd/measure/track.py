"""Which object is the spheroid, in every frame of a well at once.

The track through a well's frames is the cheapest path from candidate to candidate: each
candidate costs what speaks against it by itself, each step from frame to frame what speaks
against the two being the same spheroid.  Frames without objects are bridged; a frame whose
objects fit nothing around it can be skipped.  What a person settled is fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spheroidd.measure.smooth import clock
from spheroidd.store.frames import MOST_CANDIDATES, REAL_SHARE, Candidate, Frame

Floats = NDArray[np.float64]

_SPAN = 3  # a step may skip up to two frames
_SKIP = 3.0  # cost of a frame that the track skips
_NEVER = 1000.0  # the same of a frame that a person settled; more than any detour
_FARTHEST = 6.0  # steps: after a longer gap everything is as possible as after this one
# One standard deviation of what a spheroid does from one frame to the next
_GROWS = 0.2  # of log area
_MOVES = 0.3  # of its radius
_RESHAPES = 0.15  # of solidity and roundness
_SHADES = 0.08  # of mean grey value, 0 to 1


@dataclass(frozen=True)
class Pick:
    """The spheroid of one frame.

    Args:
        spheroid: None where there is none.
        counted: all objects whose areas are the frame's area; `spheroid` is among them.
        rivalry: how nearly as good the best other choice is, 0 (not at all, or there is
            none) to 1 (just as good): exp(-d), d being how much more the cheapest track
            through the other object costs.
    """

    spheroid: Candidate | None
    counted: Sequence[Candidate] = ()
    rivalry: float = 0.0

    @property
    def area_px(self) -> float:
        return sum(found.area_px for found in self.counted)


NOTHING = Pick(None)


def pick(frames: Sequence[Frame], objects: Literal["one", "all"] = "one") -> list[Pick]:
    """The spheroid in each frame of one well, field and channel.

    Args:
        frames: in the order of time.
        objects: `all`: every object of at least `REAL_SHARE` of the frame's largest counts.

    Returns:
        one for each frame; those of settled frames say what was settled.
    """
    if objects == "all":
        return [_all_settled(frame) if frame.settled else _all_of(frame) for frame in frames]
    picks = [_settled(frame) if frame.settled else NOTHING for frame in frames]
    offers = [_offer(frame, found) for frame, found in zip(frames, picks, strict=True)]
    used = [index for index, offer in enumerate(offers) if offer]
    if not used:
        return picks
    times = clock([frame.hours for frame in frames], [frame.timepoint for frame in frames])
    table = _table([frames[index] for index in used], [offers[index] for index in used])
    for index, (place, rivalry) in zip(used, _cheapest(table, times[used]), strict=True):
        if not frames[index].settled:
            found = offers[index][place]
            picks[index] = Pick(found, (found,), rivalry)
    return picks


def _settled(frame: Frame) -> Pick:
    chosen = [found for found in frame.candidates if found.number == frame.object_number]
    return Pick(chosen[0], (chosen[0],)) if chosen else NOTHING


def _all_settled(frame: Frame) -> Pick:
    """What was settled where all objects are spheroids: its area is that of all marked ones."""
    found = _settled(frame)
    if not found.spheroid:
        return NOTHING
    marked = [one for one in frame.candidates if one.is_spheroid or one == found.spheroid]
    return Pick(found.spheroid, marked)


def _all_of(frame: Frame) -> Pick:
    if not frame.candidates:
        return NOTHING
    largest = frame.candidates[0]
    real = [one for one in frame.candidates if one.area_px >= REAL_SHARE * largest.area_px]
    return Pick(largest, real)


def _offer(frame: Frame, settled: Pick) -> Sequence[Candidate]:
    """What the track may go through: an excluded frame is no evidence, a decision is all."""
    if frame.excluded:
        return ()
    return settled.counted if frame.decision is not None else frame.candidates[:MOST_CANDIDATES]


# -- the table of all candidates ---------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """All frames' candidates, shape (n, most candidates); NaN: not measured.

    Lengths are in µm where all frames have a pixel size, else in pixels, from the middle of
    the image, so that a magnification that changes does not matter.
    """

    there: NDArray[np.bool_]
    log_area: Floats
    x: Floats
    y: Floats
    solidity: Floats
    roundness: Floats  # minor by major axis
    intensity: Floats
    alone: Floats  # what each candidate costs by itself
    skip: Floats  # what it costs that the track skips each frame, shape (n,)


def _table(frames: Sequence[Frame], offers: Sequence[Sequence[Candidate]]) -> _Table:
    shape = (len(offers), max(len(offer) for offer in offers))

    def filled(name: str) -> Floats:
        values = np.full(shape, np.nan)
        for row, offer in enumerate(offers):
            values[row, : len(offer)] = [
                np.nan if value is None else value
                for value in (getattr(found, name) for found in offer)
            ]
        return values

    sizes = [frame.pixel_size_um for frame in frames]
    scale = np.array([size or 1.0 if all(sizes) else 1.0 for size in sizes])[:, None]
    half_width = np.array([(frame.width or np.nan) / 2 for frame in frames])[:, None]
    half_height = np.array([(frame.height or np.nan) / 2 for frame in frames])[:, None]
    x, y = filled("x") - half_width, filled("y") - half_height
    area = filled("area_px")
    return _Table(
        there=~np.isnan(area),
        log_area=np.log(area * scale**2),
        x=x * scale,
        y=y * scale,
        solidity=filled("solidity"),
        roundness=np.sqrt(np.clip(1 - filled("eccentricity") ** 2, 0, 1)),
        intensity=filled("intensity"),
        alone=_alone(
            np.log(area),
            filled("solidity"),
            filled("intensity"),
            np.hypot(x / half_width, y / half_height),
            _at_border(frames, offers, shape),
        ),
        skip=np.array([_SKIP if frame.decision is None else _NEVER for frame in frames]),
    )


def touches(frame: Frame, found: Candidate) -> int | None:
    """How many of the image's sides an object touches; None where it can't be told."""
    box = (found.left, found.top, found.right, found.bottom)
    if None in box or not frame.width or not frame.height:
        return None
    left, top, right, bottom = (value or 0.0 for value in box)
    return sum((left <= 0, top <= 0, right >= frame.width, bottom >= frame.height))


def _at_border(
    frames: Sequence[Frame], offers: Sequence[Sequence[Candidate]], shape: tuple[int, int]
) -> Floats:
    sides = np.zeros(shape)
    for row, (frame, offer) in enumerate(zip(frames, offers, strict=True)):
        sides[row, : len(offer)] = [touches(frame, found) or 0 for found in offer]
    return sides


def _alone(
    log_area: Floats, solidity: Floats, intensity: Floats, off_centre: Floats, sides: Floats
) -> Floats:
    """What speaks against each candidate by itself, the best of each frame at 0.

    Spheroids are large, compact, dark, whole in the picture and near its middle, in this
    order of weight; debris and precipitate are small, ragged, anywhere.
    """
    largest = np.nanmax(log_area, axis=1, keepdims=True)
    cost: Floats = np.minimum(1.5 * (largest - log_area), 6.0)
    cost += np.minimum(8.0 * _or_zero(np.maximum(0.9 - solidity, 0.0)), 2.5)
    darkest = np.fmin.reduce(intensity, axis=1, keepdims=True)
    cost += np.minimum(3.0 * _or_zero(intensity - darkest), 1.0)
    cost += 0.8 * np.minimum(sides, 2.0)
    cost += 0.5 * np.minimum(_or_zero(off_centre) ** 2, 1.5)
    cost -= np.nanmin(cost, axis=1, keepdims=True)
    return cost


def _or_zero(values: Floats) -> Floats:
    """What was not measured speaks neither for nor against."""
    return np.nan_to_num(values, nan=0.0)


# -- the cheapest track ------------------------------------------------------------------


def _cheapest(table: _Table, times: Floats) -> list[tuple[int, float]]:
    """For each frame, the place of the spheroid among its candidates, and the rivalry.

    Viterbi's algorithm forwards and backwards: their sum is, for each candidate, the cost of
    the cheapest track through it (its min-marginal).
    """
    alone = np.where(table.there, table.alone, np.inf)
    steps = [_step_costs(table, times, span) for span in range(1, _SPAN + 1)]
    there = _forwards(alone, steps, table.skip)
    backwards = [step[::-1].transpose(0, 2, 1) for step in steps]
    back = _forwards(alone[::-1], backwards, table.skip[::-1])[::-1]
    through = there + back - np.where(table.there, table.alone, 0.0)
    path = _path(there, alone, steps, table.skip)
    chosen = []
    for row, costs in enumerate(through):
        place = path.get(row, int(np.argmin(costs)))
        others = np.delete(costs, place)
        lead = float(others.min() - costs[place]) if np.isfinite(others).any() else np.inf
        chosen.append((place, exp(-max(0.0, lead))))
    return chosen


def _step_costs(table: _Table, times: Floats, span: int) -> Floats:
    """What it costs that candidates `span` frames apart are the same; shape (n - span, k, k).

    Every term is bounded: spheroids do jump, and a track must be able to follow.
    """

    def change(values: Floats) -> Floats:
        return values[span:, None, :] - values[:-span, :, None]

    apart = np.clip(times[span:] - times[:-span], 0.5, _FARTHEST)[:, None, None]
    radius = np.exp((table.log_area[span:, None, :] + table.log_area[:-span, :, None]) / 4)
    radius /= np.sqrt(np.pi)
    moved = np.hypot(change(table.x), change(table.y)) / radius
    cost = _bounded(change(table.log_area) / _GROWS, 4.0, apart)
    cost += _bounded(moved / _MOVES, 4.0, apart)
    cost += _bounded(change(table.solidity) / _RESHAPES, 1.0, apart)
    cost += _bounded(change(table.roundness) / _RESHAPES, 1.0, apart)
    cost += _bounded(change(table.intensity) / _SHADES, 1.0, apart)
    passed = np.concatenate([[0.0], np.cumsum(table.skip)])
    between = passed[span:-1] - passed[1 : len(passed) - span]
    cost += between[:, None, None]
    return cost


def _bounded(deviation: Floats, most: float, apart: Floats) -> Floats:
    return np.minimum(_or_zero(deviation) ** 2 / (2 * apart), most)


def _forwards(alone: Floats, steps: Sequence[Floats], skip: Floats) -> Floats:
    """Cost of the cheapest track from the beginning to each candidate."""
    total = alone.copy()
    for row in range(1, len(alone)):
        ways = [
            (total[row - span][:, None] + steps[span - 1][row - span]).min(axis=0)
            for span in range(1, min(_SPAN, row) + 1)
        ]
        if row < _SPAN:  # the first frames may be skipped, too
            ways.append(np.full(alone.shape[1], skip[:row].sum()))
        total[row] += np.min(ways, axis=0)
    return total


def _path(there: Floats, alone: Floats, steps: Sequence[Floats], skip: Floats) -> dict[int, int]:
    """Frame → place on the cheapest track; frames that it skips are left out."""
    ends = range(min(_SPAN, len(there)))
    last = [there[-1 - end].min() + skip[len(skip) - end :].sum() for end in ends]
    row = len(there) - 1 - int(np.argmin(last))
    place = int(np.argmin(there[row]))
    path = {row: place}
    while row > 0:
        came = [
            there[row - span] + steps[span - 1][row - span][:, place]
            for span in range(1, min(_SPAN, row) + 1)
        ]
        best = int(np.argmin([costs.min() for costs in came]))
        begins = there[row][place] - alone[row][place] < came[best].min() - 1e-9
        if begins:  # all before it is skipped
            break
        row, place = row - best - 1, int(np.argmin(came[best]))
        path[row] = place
    return path
