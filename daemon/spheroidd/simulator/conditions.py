"""Under which conditions a well is photographed: its light, its focus, and what lies in it.

All of it belongs to the well and stays the same over its frames.
"""

import numpy as np

from spheroidd.simulator.backdrop import Backdrop
from spheroidd.simulator.noise import stream
from spheroidd.simulator.scene import NOISE
from spheroidd.simulator.well import Well, own

_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def backdrop(well: Well) -> Backdrop:
    """The well without its spheroid."""
    debris = own(well, "debris", 0, 0.35)
    if well.kind in ("debris", "empty-debris"):
        debris = own(well, "debris", 0.9, 1.0)
    rings = own(well, "rings", 0, 0.3)
    if well.kind in ("rings", "empty-rings"):
        rings = own(well, "rings", 0.85, 1.0)
    uneven = own(well, "uneven", 0.6, 1.0) if well.kind in ("gradient", "empty-gradient") else 0.0
    return Backdrop(
        well.seed,
        glow=own(well, "glow", 0.3, 1.0),
        ripple=own(well, "ripple", 0.3, 0.8),
        rings=rings,
        smudges=own(well, "smudges", 0.3, 0.9),
        debris=debris,
        uneven=uneven,
        blank=well.kind == "empty-blank",
    )


def defocus(well: Well) -> float:
    """Radius of the blur disc, in 1/540 of the height: 0 where the autofocus worked."""
    return own(well, "defocus", 6, 16) if well.kind in ("defocus", "empty-defocus") else 0.0


def noise(well: Well) -> float:
    """Of the sensor. A blank field may have none at all, or that of a camera at highest gain."""
    if well.kind != "empty-blank":
        return NOISE
    return float(stream(well.seed, "gain").choice([0.0, 1.0, 2.5, 6.0])) * NOISE


def centre(well: Well, hours: float) -> tuple[float, float]:
    """Spheroids lie near the middle and creep a little."""
    rng = stream(well.seed, "centre")
    home, way = rng.normal(0, 14, 2) * (1.0, 2.0), rng.normal(0, 0.03, 2)
    down, right = home + way * min(hours, 300.0)
    return float(np.clip(down, -45, 45)), float(np.clip(right, -75, 75))


def at_border(well: Well, radius: float) -> tuple[tuple[int, int], tuple[float, float]]:
    """A side of the picture, and where a spheroid of this radius that it cuts has its centre.

    Between about a quarter and nine tenths of the spheroid are to be seen.
    """
    rng = stream(well.seed, "border")
    side = _SIDES[rng.integers(4)]
    inward, along = rng.uniform(-0.4, 0.75) * radius, rng.uniform(-110, 110)
    down = -side[0] * inward if side[0] else along
    right = -side[1] * inward if side[1] else along
    return side, (float(down), float(right))


def neighbours(well: Well, middle: tuple[float, float]) -> list[tuple[float, tuple[float, float]]]:
    """One to three more spheroids: each one's share of the main one's radius, and its place.

    The main one stays the largest, and the nearest to the middle. There is always room between
    them: what touches would be one object to any method.
    """
    rng = stream(well.seed, "neighbours")
    room = 152.0
    places = [middle]
    found: list[tuple[float, tuple[float, float]]] = []
    for _ in range(int(rng.integers(1, 4))):
        share = float(rng.uniform(0.7, 0.95))
        for _ in range(200):
            down, right = rng.uniform(-185, 185), rng.uniform(-330, 330)
            if all(np.hypot(down - y, right - x) > room for y, x in places):
                places.append((float(down), float(right)))
                found.append((share, places[-1]))
                break
    return found
