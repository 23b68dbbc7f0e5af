"""A well without its spheroid: the light, and what lies in its way.

A well's backdrop belongs to the well and stays the same over its frames, as on a real plate.
Lengths are in units of 1/540 of the picture's height, so that every size shows the same scene.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from spheroidd.simulator.noise import Field, cloud, fractal, soft, stream

MARGIN = 12
"""Pixels (at height 540) drawn beyond each side, so that the stage can drift."""


@dataclass(frozen=True)
class Backdrop:
    """What a well looks like before cells are in it; strengths run from 0 (none) to 1 (much).

    `uneven` light comes from a lamp out of line and from the shadow of the well's wall. A `blank`
    field is one gray all over: a shutter left closed, an objective between two wells.
    """

    seed: int
    glow: float = 0.5
    ripple: float = 0.5
    rings: float = 0.3
    smudges: float = 0.5
    debris: float = 0.3
    uneven: float = 0.0
    blank: bool = False


@lru_cache(maxsize=48)
def draw(backdrop: Backdrop, size: tuple[int, int]) -> Field:
    """The light that reaches the camera through the well.

    Args:
        backdrop: the well.
        size: height and width of the picture in pixels.

    Returns:
        float32 gray levels (0 to 255), `margin(size)` pixels larger on every side. Shared between
        frames, and therefore read-only.
    """
    unit = size[0] / 540
    edge = margin(size)
    shape = (size[0] + 2 * edge, size[1] + 2 * edge)
    if backdrop.blank:
        return _blank(backdrop, shape)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    y, x = (y - shape[0] / 2) / np.float32(unit), (x - shape[1] / 2) / np.float32(unit)

    light = _illumination(backdrop, y, x)
    light += _ripple(backdrop, y, x)
    light += _arcs(backdrop, y, x)
    light += _ghosts(backdrop, y, x)
    light += _bubbles(backdrop, y, x)
    light += _streaks(backdrop, y, x)
    light = _debris(backdrop, light, unit)
    if backdrop.uneven > 0:
        light *= _unevenness(backdrop, y, x)
    light.setflags(write=False)
    return light


def margin(size: tuple[int, int]) -> int:
    """Pixels drawn beyond each side of a picture of this height and width."""
    return round(MARGIN * size[0] / 540)


def _illumination(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Gray that falls off to the corners, a bright glow near the middle, and slow unevenness."""
    rng = stream(backdrop.seed, "light")
    cy, cx = rng.normal(-50, 40), rng.normal(-30, 60)
    wide = ((y - cy) / 330) ** 2 + ((x - cx) / 400) ** 2
    level = 97 + 58 * np.exp(-wide)
    gy, gx = cy + rng.normal(-50, 25), cx + rng.normal(20, 60)
    close = ((y - gy) / 80) ** 2 + ((x - gx) / 140) ** 2
    level += backdrop.glow * 46 / (1 + close)
    tilt = rng.normal(0, 0.02, 2)
    level += tilt[0] * y + tilt[1] * x + 2.2 * fractal(rng, y.shape, 5, 4)
    # Stitched tiles differ by a gray level or so.
    level += rng.normal(0, 1.4) * (x > rng.uniform(-350, 350))
    level += rng.normal(0, 1.4) * (y > rng.uniform(-200, 200))
    return np.asarray(level, dtype=np.float32)


def _unevenness(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Share of the light that arrives: a slope across the field, and a dark crescent at its edge.

    The crescent is the shadow of the well's round wall, whose middle lies to the other side.
    """
    rng = stream(backdrop.seed, "uneven")
    toward = rng.uniform(0, 2 * np.pi)
    slope = (y * np.sin(toward) + x * np.cos(toward)) / 480
    lit = np.exp(backdrop.uneven * rng.uniform(0.45, 0.85) * slope)
    turn = toward + np.pi + rng.normal(0, 0.5)
    squash = 540 / 960  # the well is round, the field is wide: the wall is seen on any side
    across = y * np.sin(turn) + x * squash * np.cos(turn)
    beside = x * squash * np.sin(turn) - y * np.cos(turn)
    wall = across + beside**2 / 900 - rng.uniform(170, 240)
    shadow = 1 / (1 + np.exp(-wall / rng.uniform(18, 40)))
    return np.asarray(lit * (1 - 0.75 * backdrop.uneven * shadow), dtype=np.float32)


def _blank(backdrop: Backdrop, shape: tuple[int, int]) -> Field:
    """One gray all over."""
    level = stream(backdrop.seed, "blank").uniform(15, 240)
    light = np.full(shape, level, np.float32)
    light.setflags(write=False)
    return light


def _ripple(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Fine, nearly horizontal interference lines that come and go over the field."""
    rng = stream(backdrop.seed, "ripple")
    lines = np.zeros_like(y)
    for period, slope, strength in ((7.5, 0.05, 2.6), (6.3, -0.09, 1.7), (17.0, 0.12, 1.1)):
        bend = 9 * cloud(rng, y.shape, 6) + 2.0 * cloud(rng, y.shape, 24)
        wave = np.sin((y + slope * x + bend) * np.float32(2 * np.pi / period))
        lines += strength * wave * np.clip(0.5 + 0.6 * cloud(rng, y.shape, 7), 0.05, 1.6)
    return np.asarray(backdrop.ripple * 1.3 * lines, dtype=np.float32)


def _arcs(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Wide, faint arcs: the meniscus and the well's wall, far out of focus."""
    rng = stream(backdrop.seed, "arcs")
    arcs = np.zeros_like(y)
    for _ in range(3):
        cy, cx = rng.normal(40, 60), rng.normal(0, 80)
        radius, width = rng.uniform(240, 420), rng.uniform(5, 22)
        away = np.hypot((y - cy) * rng.uniform(1.0, 1.25), x - cx) - radius
        angle = np.arctan2(y - cy, x - cx) - rng.uniform(-np.pi, np.pi)
        lit = np.exp(-(away**2) / (2 * width**2)) - 0.6 * np.exp(
            -(((away + 2 * width) / width) ** 2)
        )
        arcs += rng.uniform(3, 7) * lit * np.clip(np.cos(angle), 0, 1)
    return np.asarray((0.4 + 1.2 * backdrop.rings) * arcs, dtype=np.float32)


def _ghosts(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Diffraction rings about as large as a spheroid: the ghosts that get outlined by mistake."""
    rng = stream(backdrop.seed, "ghosts")
    ghosts = np.zeros_like(y)
    for _ in range(round(4 * backdrop.rings)):
        cy, cx = rng.uniform(-200, 200), rng.choice([-1, 1]) * rng.uniform(150, 400)
        away = np.hypot(y - cy, x - cx) - rng.uniform(35, 110)
        fade = np.exp(-np.abs(away) / rng.uniform(10, 20))
        ghosts += (
            rng.uniform(5, 12) * fade * np.cos(away / rng.uniform(2.2, 3.6) + rng.uniform(0, 6))
        )
    return np.asarray(backdrop.rings * ghosts, dtype=np.float32)


def _bubbles(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Dust and droplets off the focal plane: blurred rings with a bright heart, in nests."""
    rng = stream(backdrop.seed, "bubbles")
    spots = np.zeros_like(y)
    nests = rng.uniform((-240, -440), (240, 440), (5, 2))
    for _ in range(round(44 * backdrop.smudges)):
        cy, cx = nests[rng.integers(5)] + rng.normal(0, 42, 2)
        radius, squash = rng.uniform(8, 20), rng.uniform(0.75, 1.35)
        strength, wide = rng.lognormal(1.45, 0.6), rng.uniform(0.25, 0.45)
        # A box around the spot is all it touches.
        rows = slice(*np.searchsorted(y[:, 0], (cy - 70, cy + 70)))
        columns = slice(*np.searchsorted(x[0], (cx - 70, cx + 70)))
        dy, dx = y[rows, columns] - cy, (x[rows, columns] - cx) * squash
        away = np.hypot(dy, dx) / radius
        heart = rng.uniform(0.2, 1.1) * np.exp(-3.0 * away**2)
        side = 1 + 0.7 * np.cos(np.arctan2(dy, dx) - rng.uniform(0, 2 * np.pi))
        ring = side * np.exp(-(((away - 0.95) / wide) ** 2))
        rim = 0.4 * np.exp(-(((away - 1.55) / wide) ** 2))
        spots[rows, columns] += strength * (heart - ring + rim)
    return np.asarray(spots * np.clip(1 + 0.6 * cloud(rng, y.shape, 60), 0.1, 2), dtype=np.float32)


def _streaks(backdrop: Backdrop, y: Field, x: Field) -> Field:
    """Scratches in the plastic, out of focus: parallel strokes, packed in a corner."""
    rng = stream(backdrop.seed, "streaks")
    strokes = np.zeros_like(y)
    lean = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
    home = rng.uniform(-200, 120), rng.choice([-1, 1]) * rng.uniform(260, 420)
    for _ in range(round(24 * backdrop.smudges)):
        cy, cx = home[0] + rng.normal(0, 60), home[1] + rng.normal(0, 75)
        angle, long = lean + rng.normal(0, 0.15), rng.uniform(10, 32)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle) + 3 * np.sin(along / 17)
        thin = rng.uniform(3, 6)
        line = np.exp(-((across / thin) ** 2)) - 0.8 * np.exp(-((across / thin - 1.6) ** 2))
        strokes += rng.normal(0, 6) * np.exp(-((along / long) ** 2)) * line
    return np.asarray(
        strokes * np.clip(1 + 0.6 * cloud(rng, y.shape, 50), 0.1, 2), dtype=np.float32
    )


def _debris(backdrop: Backdrop, light: Field, unit: float) -> Field:
    """Dead cells and crumbs on the bottom, in focus: dark specks with glints."""
    rng = stream(backdrop.seed, "debris")
    height, width = light.shape
    dark, glint = np.zeros_like(light), np.zeros_like(light)
    for _ in range(round(5 + 150 * backdrop.debris**2)):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        count = 1 + int(rng.exponential(5))
        lean, spread = rng.uniform(0, np.pi), 0.85 * count**0.5 * unit
        along, across = 1.5 * spread * rng.normal(size=(2, count)) * [[1], [0.5]]
        ys = np.clip(cy + along * np.sin(lean) + across * np.cos(lean), 0, height - 1).astype(int)
        xs = np.clip(cx + along * np.cos(lean) - across * np.sin(lean), 0, width - 1).astype(int)
        weight = rng.gamma(1.5, 0.5, count) * rng.uniform(0.25, 1.0)
        np.add.at(dark, (ys, xs), weight)
        np.add.at(glint, (ys, xs), weight * (rng.random(count) < 0.4))
    specks = soft(dark, 1.1 * unit) * np.float32(unit**2 * 9)
    shine = soft(np.roll(glint, (-round(unit), round(2 * unit)), (0, 1)), 0.9 * unit) * unit**2
    return np.asarray(light * np.exp(-specks) + np.clip(420 * shine, 0, 70), dtype=np.float32)
