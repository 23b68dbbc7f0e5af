"""Seeded random fields: the grain that every drawn thing is made of."""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def stream(seed: int, *labels: str | int) -> np.random.Generator:
    """The random stream of one named thing.

    Each thing has its own stream, so adding one thing to a scene leaves all others as they were.
    """
    words = [zlib.crc32(str(label).encode()) for label in labels]
    return np.random.default_rng([abs(seed), *words])


def cloud(rng: np.random.Generator, shape: tuple[int, int], lumps: int) -> Field:
    """Smooth noise of zero mean and about unit spread.

    Args:
        rng: where the numbers come from.
        shape: height and width in pixels.
        lumps: how many lumps lie across the longer side; the pattern keeps its place in the
            picture when the size changes.

    Returns:
        float32, height × width.
    """
    height, width = shape
    longest = max(shape)
    across = longest / lumps
    # Whole-number arithmetic: a rounding error here would reshuffle the pattern between frames.
    rows, columns = (-(-n * lumps // longest) + 3 for n in shape)
    knots = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.5)
    box = (1.0, 1.0, 1.0 + width / across, 1.0 + height / across)
    picture = Image.fromarray(knots).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(picture, dtype=np.float32)


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], lumps: int, octaves: int = 3
) -> Field:
    """`cloud` upon finer `cloud`, each octave half as strong; about unit spread."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += cloud(rng, shape, lumps * 2**octave) * np.float32(0.5**octave)
    return total / np.float32(np.sqrt(sum(0.25**octave for octave in range(octaves))))


def turning(draw: Callable[[int], Field], angle: float) -> Field:
    """A field that changes slowly with `angle` (radians) and never repeats its start soon.

    Args:
        draw: gives one of two independent fields, 0 or 1.
        angle: 0 shows field 0, π/2 shows field 1, between them a mixture of equal spread.
    """
    return np.float32(np.cos(angle)) * draw(0) + np.float32(np.sin(angle)) * draw(1)


def soft(field: Field, sigma: float, step: int = 1) -> Field:
    """`field` blurred by `sigma` pixels; `step` > 1 blurs a reduced picture, for wide blurs."""
    if step == 1:
        blurred: Field = ndimage.gaussian_filter(field, sigma, truncate=3.0)
        return blurred
    height, width = field.shape
    small = np.asarray(Image.fromarray(field).reduce(step))
    small = ndimage.gaussian_filter(small, sigma / step, truncate=3.0)
    back = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(back, dtype=np.float32)


def spread(field: Field, radius: float) -> Field:
    """`field` out of focus: every point becomes an even disc, as through a round aperture.

    Args:
        field: what a sharp picture would show.
        radius: of the disc in pixels.
    """
    reach = int(np.ceil(radius)) + 1
    span = np.arange(-reach, reach + 1)
    disc = np.clip(radius + 0.5 - np.hypot(span[:, None], span[None, :]), 0, 1)
    disc = (disc / disc.sum()).astype(np.float32)
    wide = np.pad(field, reach, mode="reflect")
    return np.asarray(signal.oaconvolve(wide, disc, mode="valid"), dtype=np.float32)
