"""Drug that fell out of solution: dark, beside the spheroid, and no part of it."""

import numpy as np
from PIL import Image, ImageDraw

from spheroidd.simulator.noise import Field, fractal, soft, stream


def depth(
    seed: int, amount: float, radius: float, centre: tuple[float, float], size: tuple[int, int]
) -> Field:
    """Optical depth of the precipitate over a picture: smoke around the spheroid, and needles.

    Args:
        seed: the well's; smoke and needles keep their places and thicken with `amount`.
        amount: 0 none, 1 as dark as the spheroid in places.
        radius: the spheroid's, in 1/540 of the height; smoke gathers just outside of it.
        centre: the spheroid's, down and right of the picture's middle, in the same unit.
        size: height and width in pixels.

    Returns:
        float32, height × width, 0 where nothing lies.
    """
    unit = size[0] / 540
    y = (np.arange(size[0], dtype=np.float32)[:, None] - size[0] / 2) / unit - np.float32(centre[0])
    x = (np.arange(size[1], dtype=np.float32)[None, :] - size[1] / 2) / unit - np.float32(centre[1])
    smoke = _smoke(seed, amount, radius, y, x)
    needles = _needles(seed, amount, radius, centre, size)
    return np.asarray(amount * (smoke + needles), dtype=np.float32)


def _smoke(seed: int, amount: float, radius: float, y: Field, x: Field) -> Field:
    """A curl of fine grains that winds about part of the spheroid."""
    rng = stream(seed, "smoke")
    shape = (y.shape[0], x.shape[1])
    strength = rng.uniform(0.6, 1.4)
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(1.6, 2.4)
    lumps = fractal(rng, shape, 7, 5)
    away = np.hypot(y, x * 0.85) - radius * 1.55 - 16 * lumps
    along = np.abs((np.arctan2(y, x) - start + np.pi) % (2 * np.pi) - np.pi) / span
    band = np.exp(-((away / (34 + 20 * amount)) ** 2)) * np.clip(1.25 - along, 0, 1)
    wisps = np.clip(0.55 + 0.55 * fractal(rng, shape, 16, 4), 0, 1.8)
    return np.asarray(strength * band * wisps, dtype=np.float32)


def _needles(
    seed: int, amount: float, radius: float, centre: tuple[float, float], size: tuple[int, int]
) -> Field:
    """Crystals: bundles of sharp needles that grow out of a few seeds on the bottom."""
    rng = stream(seed, "needles")
    unit = size[0] / 540
    sheet = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(sheet)
    for _ in range(7):
        angle, away = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.45, 2.6)
        cy = size[0] / 2 + unit * (centre[0] + away * np.sin(angle))
        cx = size[1] / 2 + unit * (centre[1] + away * np.cos(angle))
        lean, big = rng.uniform(0, np.pi), rng.lognormal(2.2, 0.6)
        for _ in range(rng.integers(3, 12)):
            turn = lean + rng.normal(0, 0.5)
            long = unit * big * rng.uniform(0.5, 1.2) * (0.4 + 0.6 * amount)
            dy, dx = long * np.sin(turn), long * np.cos(turn)
            ink, width = int(rng.uniform(90, 230)), max(1, round(unit * rng.uniform(0.8, 2.2)))
            pen.line([(cx - dx * 0.3, cy - dy * 0.3), (cx + dx, cy + dy)], fill=ink, width=width)
    return soft(np.asarray(sheet, dtype=np.float32), 0.8 * unit) * np.float32(1.3 / 255)
