"""Fewer points for the same curve: largest triangle, three buckets.

Sveinn Steinarsson, Downsampling Time Series for Visual Representation (University of Iceland,
2013), section 4.2: of each bucket the point stays that makes the largest triangle with the one
chosen before and the mean of the next bucket.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Marks = NDArray[np.bool_]

LEAST = 3  # points: the two ends and one between
MOST_KEPT = 500  # points of a curve that stay whatever they look like


def largest_triangles(x: Numbers, y: Numbers, points: int) -> Indices:
    """Indices of the points that stay, in rising order, the first and the last among them.

    Args:
        x, y: of equal length, finite.
        points: how many, at least `LEAST`; where there are no more than that, all stay.
    """
    n = len(x)
    if n <= points:
        return np.arange(n)
    edges = np.floor(np.linspace(1, n - 1, points - 1)).astype(np.int64)
    starts, sizes = edges[:-1], np.diff(edges)
    mean_x = [*(np.add.reduceat(x[: n - 1], starts) / sizes).tolist(), float(x[-1])]
    mean_y = [*(np.add.reduceat(y[: n - 1], starts) / sizes).tolist(), float(y[-1])]
    xs, ys, bounds = x.tolist(), y.tolist(), edges.tolist()
    chosen, last_x, last_y = [0], xs[0], ys[0]
    # Plain numbers: a bucket has few points, and numpy is four times slower with so few.
    for bucket in range(points - 2):
        run, rise = last_x - mean_x[bucket + 1], mean_y[bucket + 1] - last_y
        largest, best = -1.0, bounds[bucket]
        for index in range(bounds[bucket], bounds[bucket + 1]):
            area = abs(run * (ys[index] - last_y) - (last_x - xs[index]) * rise)
            if area > largest:
                largest, best = area, index
        chosen.append(best)
        last_x, last_y = xs[best], ys[best]
    return np.array([*chosen, n - 1], np.int64)


def reduced(
    x: Numbers, y: Numbers, flagged: Marks, excluded: Marks, points: int
) -> tuple[Indices, bool]:
    """Indices of the points of a growth curve that are drawn, in rising order.

    The first, the last, every flagged and every excluded point stay; at least half of `points`
    go to the curve of those that are not excluded, so that it keeps its shape.

    Args:
        points: how many, where not more than that must stay; at least `LEAST`.

    Returns:
        the indices, and whether even flagged and excluded ones had to be thinned, evenly:
        there are more than `MOST_KEPT` of them.
    """
    n, points = len(x), max(LEAST, points)
    if n <= points:
        return np.arange(n), False
    must = np.flatnonzero(flagged | excluded)
    thinned = len(must) > MOST_KEPT
    if thinned:
        must = must[np.linspace(0, len(must) - 1, MOST_KEPT).astype(np.int64)]
    drawn = np.flatnonzero(~excluded)
    for_shape = max(LEAST, points // 2, points - len(must))
    shape = drawn[largest_triangles(x[drawn], y[drawn], for_shape)]
    return np.unique(np.concatenate([shape, must, [0, n - 1]]).astype(np.int64)), thinned
