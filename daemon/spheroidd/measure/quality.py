"""Flags: what a person should know about a measurement. A flag never changes an area.

Behind every flag is a check: a number that the well's frames give, and a limit.  Numbers
depend on the well alone, limits on all numbers of the plate, so that neither depends on the
order in which images arrived.  docs/flags.md explains each.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np

FLAGS = (
    "no_spheroid",
    "low_confidence",
    "several_objects",
    "ambiguous",
    "touches_border",
    "area_jump",
    "position_jump",
    "shape_jump",
    "low_focus",
    "exposure_shift",
    "low_solidity",
    "flip_flop",
    "missing_frame",
    "duplicate_frame",
    "disagreement",
)
Bounds = Mapping[str, tuple[float, float]]  # flag → the least and the highest limit

_ENOUGH = 8  # numbers that a plate's limit can be computed from
_FAR = 5.0  # standard deviations from the plate's median
_SIGMA = 1.4826  # median absolute deviation → standard deviation, of normal numbers
# How a number compares with its limit when the flag is raised.
_BELOW = frozenset({"no_spheroid", "low_confidence", "low_focus", "low_solidity", "disagreement"})
# Bounds in times the plate's median: nobody knows how sharp an image is by itself.
_RELATIVE = frozenset({"low_focus"})


@dataclass(frozen=True)
class Check:
    """The number behind a flag, the limit, and whether the flag is raised."""

    value: float
    limit: float
    raised: bool


def limit_of(flag: str, values: Sequence[float], bounds: tuple[float, float]) -> float:
    """The limit of one flag on one plate.

    Median and 5 standard deviations, estimated robustly (1.4826 × median absolute deviation:
    Rousseeuw and Croux 1993, J Am Stat Assoc 88:1273), held within the bounds; while there
    are too few numbers, the more lenient bound.  Two significant digits, so that it settles.

    Args:
        values: of the plate's frames.
        bounds: the least and the highest limit; for `low_focus` how many times less than the
            plate's median.
    """
    low, high = bounds
    lenient = low if flag in _BELOW and flag not in _RELATIVE else high
    if flag in _RELATIVE:
        return _rounded(_relative_limit(values, low, high))
    if low == high or len(values) < _ENOUGH:
        return lenient
    numbers = np.asarray(values, dtype=np.float64)
    median = float(np.median(numbers))
    spread = _FAR * _SIGMA * float(np.median(np.abs(numbers - median)))
    limit = median - spread if flag in _BELOW else median + spread
    return _rounded(min(max(limit, low), high))


def _relative_limit(values: Sequence[float], low: float, high: float) -> float:
    """0 where nothing is known: no number is below it."""
    positive = [log(value) for value in values if value > 0]
    if not positive:
        return 0.0
    median = float(np.median(positive))
    times = high
    if len(positive) >= _ENOUGH:
        spread = _FAR * _SIGMA * float(np.median(np.abs(np.asarray(positive) - median)))
        times = min(max(exp(min(spread, 50.0)), low), high)
    return exp(median) / times


def limits(values: Sequence[Mapping[str, float]], bounds: Bounds) -> dict[str, float]:
    """The limit of every flag on one plate.

    Args:
        values: of each frame: flag → number, where it could be computed.
        bounds: of every flag but `no_spheroid`, which is a matter of yes and no.
    """
    found = {"no_spheroid": 1.0}
    for flag in FLAGS[1:]:
        numbers = [frame[flag] for frame in values if flag in frame]
        found[flag] = limit_of(flag, numbers, bounds[flag])
    return found


def check(values: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, Check]:
    """One frame's checks, in the flags' order; what could not be computed is left out."""
    return {
        flag: Check(values[flag], limits[flag], _raised(flag, values[flag], limits[flag]))
        for flag in FLAGS
        if flag in values
    }


def _raised(flag: str, value: float, limit: float) -> bool:
    return value < limit if flag in _BELOW else value >= limit


def as_stored(checks: Mapping[str, Check]) -> tuple[str, str]:
    """The columns `flags` (comma-separated) and `checks` (JSON)."""
    raised = ",".join(flag for flag, found in checks.items() if found.raised)
    return raised, json.dumps({flag: vars(found) for flag, found in checks.items()})


def rechecked(stored: str, limits: Mapping[str, float]) -> dict[str, Check]:
    """Checks as they were stored, compared with other limits."""
    found = json.loads(stored)
    return check({flag: found[flag]["value"] for flag in FLAGS if flag in found}, limits)


def _rounded(number: float) -> float:
    return float(f"{number:.2g}")
