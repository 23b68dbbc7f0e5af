"""What the frames around a frame lead one to expect of it.

Robust, so that a wrong neighbour does not make a right frame look wrong; it follows growth
and shrinking, so that these are not mistaken for errors.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REACH = 5  # neighbours on each side
_SCATTER = 0.02  # of log areas around a smooth curve, one standard deviation
_SLOPE = 0.15  # log area per step, one standard deviation of what wells do
_DOUBTFUL = 0.1  # deviation that makes a frame half as believable
_BEND = 0.01  # the same of the curve's second coefficient, per step squared


def clock(hours: Sequence[float | None], timepoints: Sequence[int | None]) -> Floats:
    """The time of each frame of a series, in its typical steps; float64, shape (n,).

    Times are taken where every frame has one, else frame numbers, else the order.
    """
    for given in (hours, timepoints):
        if all(value is not None for value in given):
            times = np.array(given, dtype=np.float64)
            steps = np.diff(np.sort(times))
            steps = steps[steps > 0]
            if len(steps):
                return times / float(np.median(steps))
    return np.arange(len(hours), dtype=np.float64)


def neighbours(times: Floats, usable: Sequence[bool], reach: int = REACH) -> list[list[int]]:
    """For each frame, the indices of the usable frames around it, at other times than its own.

    Up to `reach` on each side; where one side has fewer, so has the whole: an end is
    predicted from what is near it.
    """
    order = [int(index) for index in np.argsort(times, kind="stable") if usable[index]]
    sorted_times = times[order]
    firsts = np.searchsorted(sorted_times, times, side="left")
    ends = np.searchsorted(sorted_times, times, side="right")
    return [
        order[max(0, first - reach) : first] + order[end : end + reach]
        for first, end in zip(firsts, ends, strict=True)
    ]


def deviations(times: Floats, values: Floats, around: Sequence[Sequence[int]]) -> Floats:
    """How far each frame lies from what its neighbours predict for it, without sign.

    Twice: a frame that its own neighbours contradict is hardly believed the second time.

    Args:
        times: in steps, shape (n,).
        values: logarithms of areas, shape (n,); NaN where there is none.
        around: indices of each frame's neighbours.

    Returns:
        float64, shape (n,); NaN where there is no value or too few neighbours.
    """
    trust = np.ones(len(times))
    apart = np.full(len(times), np.nan)
    for _ in range(2):
        apart = np.abs(values - expected(times, values, around, trust))
        trust = 1.0 / (1.0 + (np.nan_to_num(apart) / _DOUBTFUL) ** 4)
    return apart


def expected(
    times: Floats, values: Floats, around: Sequence[Sequence[int]], trust: Floats
) -> Floats:
    """What each frame's neighbours predict for it; NaN where there are too few.

    A parabola through the neighbours, most probable under Cauchy-distributed scatter and
    normal priors for slope and bend; found by iteratively reweighted least squares, from a
    wide scatter down to the real one, so that a minority of wrong neighbours drops out
    (graduated non-convexity: Blake and Zisserman 1987, Visual Reconstruction, ch. 7).

    Args:
        times: in steps, shape (n,).
        values: logarithms of areas, shape (n,); NaN where there is none.
        around: indices of each frame's neighbours.
        trust: weight of each frame as a neighbour, 0 to 1, shape (n,).

    Returns:
        float64, shape (n,).
    """
    width = max((len(near) for near in around), default=0)
    if width < 2:
        return np.full(len(times), np.nan)
    index = np.zeros((len(around), width), dtype=np.intp)
    there = np.zeros((len(around), width))
    for row, near in enumerate(around):
        index[row, : len(near)] = near
        there[row, : len(near)] = 1.0
    x = (times[index] - times[:, None]) * there
    y = np.where(there > 0, values[index], 0.0)
    # Near neighbours count most; far in time says little, whatever the frame numbers say.
    nearness = there * trust[index] / (1.0 + (np.abs(x) / REACH) ** 2)
    middle = np.array([np.median(y[row, : len(near)]) if near else 0.0
                       for row, near in enumerate(around)])  # fmt: skip
    y = (y - middle[:, None]) * there
    terms = np.stack([np.ones_like(x), x, x**2], axis=-1)
    priors = np.diag([1e-6, 1 / _SLOPE**2, 1 / _BEND**2])
    fit = np.zeros((len(around), 3))
    for scatter in (*np.geomspace(1.0, _SCATTER, 10), _SCATTER, _SCATTER):
        residual = y - np.einsum("nwt,nt->nw", terms, fit)
        weight = nearness / (1.0 + (residual / scatter) ** 2) / scatter**2
        normal = np.einsum("nw,nws,nwt->nst", weight, terms, terms) + priors
        right = np.einsum("nw,nws,nw->ns", weight, terms, y)
        fit = np.linalg.solve(normal, right[..., None])[..., 0]
    enough = there.sum(axis=1) >= 2
    return np.where(enough, fit[:, 0] + middle, np.nan)
