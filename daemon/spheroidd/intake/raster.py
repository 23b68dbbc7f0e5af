"""Pixels as they come out of a file, and their way from 16 to 8 bit."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ImageError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# A frame whose light parts are darker than this many counts was taken without light.
_DARKEST_BACKGROUND = 16
_HEADROOM = 1.25


@dataclass(frozen=True, eq=False)
class Raster:
    """A decoded image.

    `pixels` is uint8 or uint16, H × W, or H × W × 3 (RGB) where the channels differ.
    `bit_depth` is that of one sample in the file.  `taken_at` is naive, the instrument's local
    time, unless the file names a zone.  `pixel_size_um` is µm per pixel, None if not told.
    """

    pixels: Pixels
    bit_depth: int
    format: str
    taken_at: datetime | None = None
    pixel_size_um: float | None = None


def check_dimensions(width: int, height: int, max_megapixels: float) -> None:
    """Raise `ImageError` (permanent if too large) before any pixel is decoded."""
    if width < 1 or height < 1:
        raise ImageError(f"The image claims to be {width} × {height} pixels.")
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            f"The image is {width} × {height} pixels ({width * height / 1e6:.0f} megapixels); "
            f"the limit is {max_megapixels:g} megapixels.",
            "Export smaller images, or crop to the well.",
            permanent=True,
        )


def without_alpha(samples: NDArray[Any]) -> Pixels:
    """Gray (H × W) or RGB (H × W × 3) from H × W or H × W × 1 to 4; alpha is dropped.

    Colour whose channels are equal everywhere is gray.
    """
    if samples.ndim == 3 and samples.shape[2] in (1, 2):
        samples = samples[:, :, 0]
    elif samples.ndim == 3:
        samples = samples[:, :, :3]
        red = samples[:, :, 0]
        if np.array_equal(red, samples[:, :, 1]) and np.array_equal(red, samples[:, :, 2]):
            samples = red
    pixels: Pixels = np.ascontiguousarray(samples)
    return pixels


def choose_scale(pixels: Pixels) -> tuple[int, int]:
    """The counts that become black and white for every 16-bit image of a plate.

    Chosen once, from the plate's first image, and kept: an image scaled by itself would change
    its background with its spheroid, and with that its outline.

    Black is 0 counts, not the image's darkest part: the first image may be of an empty well,
    whose darkest part is background, and the spheroids that come would all be clipped.
    White is 25 % above the 99.9th percentile, which no hot pixel moves: a lamp that
    brightens by a fifth, or a clearer well, clips nothing that matters.  With 12-bit cameras,
    which fill a fraction of the 16 bits, this puts background at 145 to 205 of 255, as in 8-bit
    exports.

    Args:
        pixels: uint16, H × W or H × W × 3.

    Returns:
        `low` and `high` for `scale_to_8bit`, with low < high.

    Raises:
        ValueError: the pixels are not uint16.
        ImageError: the image is all but black, so it says nothing about the plate's light.
    """
    if pixels.dtype != np.uint16:
        raise ValueError(f"a scale is for uint16 pixels, not {pixels.dtype}")
    white = float(np.percentile(pixels, 99.9, method="higher"))
    if white < _DARKEST_BACKGROUND:
        raise ImageError(
            "The image is black, so the plate's brightness can't be told from it.",
            "It can be used once a brighter image of its plate has been taken in; "
            "check the instrument's light.",
        )
    return 0, min(65535, round(white * _HEADROOM))


def scale_to_8bit(pixels: Pixels, low: int, high: int) -> NDArray[np.uint8]:
    """Linear from `low` → 0 to `high` → 255, clipped, rounded to the nearest (halves up).

    Args:
        pixels: uint16, any shape; the result is uint8 of the same shape.

    Raises:
        ValueError: unless 0 <= low < high <= 65535 and the pixels are uint16.
    """
    if pixels.dtype != np.uint16 or not 0 <= low < high <= 65535:
        raise ValueError(f"can't scale {pixels.dtype} from {low}–{high} counts to 8 bit")
    counts = np.clip(np.arange(65536), low, high) - low
    span = high - low
    table = ((counts * 510 + span) // (2 * span)).astype(np.uint8)
    scaled: NDArray[np.uint8] = table[pixels]
    return scaled
