"""Fewer points, the same curve, and nothing that needs a look is hidden."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.web.reduction import LEAST, MOST_KEPT, largest_triangles, reduced

AREAS = st.lists(st.floats(0, 1e7), min_size=1, max_size=120)
MARKS = st.lists(st.booleans(), min_size=120, max_size=120)


def written_out(x: Sequence[float], y: Sequence[float], points: int) -> list[int]:
    """Steinarsson's pseudocode (2013, algorithm 4.2), word for word: one bucket for each point,
    the first and the last hold one each."""
    n = len(x)
    inner = np.floor(np.linspace(1, n - 1, points - 1)).astype(int)
    buckets = [[0], *(list(range(a, b)) for a, b in pairwise(inner)), [n - 1]]
    chosen = [0]
    for this, following in pairwise(buckets[1:]):
        a = chosen[-1]
        cx = sum(x[i] for i in following) / len(following)
        cy = sum(y[i] for i in following) / len(following)
        areas = [abs((x[a] - cx) * (y[b] - y[a]) - (x[a] - x[b]) * (cy - y[a])) / 2 for b in this]
        chosen.append(this[areas.index(max(areas))])
    return [*chosen, n - 1]


@given(st.integers(4, 200), st.integers(LEAST, 60), st.integers(0, 2**32))
def test_it_is_the_published_algorithm(n: int, points: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.cumsum(rng.integers(1, 9, n)).astype(float), rng.integers(0, 10_000, n).astype(float)
    found = largest_triangles(x, y, points)
    assert found.tolist() == (list(range(n)) if n <= points else written_out(x, y, points))


def test_a_single_peak_stays() -> None:
    y = np.full(3000, 100.0)
    y[1234] = 900.0
    x = np.arange(3000.0)
    assert 1234 in largest_triangles(x, y, 20)
    assert len(largest_triangles(x, y, 20)) == 20


@given(AREAS, MARKS, MARKS, st.integers(0, 130))
def test_what_must_stay_stays(
    areas: list[float], flags: list[bool], excludes: list[bool], points: int
) -> None:
    n = len(areas)
    x, y = np.arange(float(n)), np.array(areas)
    flagged, excluded = np.array(flags[:n]), np.array(excludes[:n])
    found, thinned = reduced(x, y, flagged, excluded, points)
    assert not thinned
    assert found.tolist() == sorted(set(found.tolist()))
    must = set(np.flatnonzero(flagged | excluded).tolist()) | {0, n - 1}
    assert must <= set(found.tolist()) <= set(range(n))
    if n <= points:
        assert len(found) == n
    else:
        assert len(found) <= max(points, len(must) + max(LEAST, points // 2))


def test_the_curve_keeps_its_shape_though_its_end_is_flagged() -> None:
    n = 300
    x, y = np.arange(float(n)), 1000 + 500 * np.sin(np.arange(n) / 20)
    flagged = np.arange(n) >= 240
    found, _ = reduced(x, y, flagged, np.zeros(n, bool), 60)
    drawn = np.interp(x, x[found], y[found])
    assert np.abs(drawn - y).max() < 60  # of 1000


def test_excluded_points_do_not_bend_the_curve() -> None:
    n = 400
    x, y = np.arange(float(n)), 1000 + np.arange(n, dtype=float)
    excluded = np.arange(n) % 40 == 7
    y[excluded] = 90_000
    found, _ = reduced(x, y, np.zeros(n, bool), excluded, 40)
    plain = np.delete(np.arange(n), np.flatnonzero(excluded))
    shape = [index for index in found.tolist() if not excluded[index]]
    assert shape == plain[largest_triangles(x[plain], y[plain], 40 - 10)].tolist()


@pytest.mark.parametrize("n", [MOST_KEPT, MOST_KEPT + 1, 5000])
def test_where_everything_is_flagged_it_is_thinned_evenly_and_said(n: int) -> None:
    x, y = np.arange(float(n)), np.ones(n)
    found, thinned = reduced(x, y, np.ones(n, bool), np.zeros(n, bool), 60)
    assert thinned == (n > MOST_KEPT)
    assert {0, n - 1} <= set(found.tolist())
    assert min(n, MOST_KEPT) <= len(found) <= MOST_KEPT + 60
    assert np.diff(found).max() <= n // MOST_KEPT + 1
