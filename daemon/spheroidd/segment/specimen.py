"""A drawn spheroid, to try a model on: the same on every machine and in every version."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SIZE = (480, 640)
_RADIUS = 110.0


@cache
def specimen() -> NDArray[np.uint8]:
    """A dark, rough spheroid with loose cells around it on an uneven, noisy ground.

    Returns:
        uint8, 480×640, not to be written to.  A clear case, yet with an edge on which two
        roundings could differ.
    """
    height, width = _SIZE
    random = np.random.default_rng(20)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - 0.52 * height, x - 0.47 * width
    angle = np.arctan2(y, x)
    edge = _RADIUS * (1 + 0.06 * np.sin(3 * angle + 1) + 0.03 * np.sin(7 * angle))
    within = edge - np.hypot(y, x)
    ground = 185 + 12 * x / width - 9 * y / height
    fine, coarse = (
        ndimage.gaussian_filter(random.standard_normal(_SIZE).astype(np.float32), wide) * wide
        for wide in (1.5, 6.0)
    )
    body = 62 + 26 * np.exp(-np.maximum(within, 0) / 12) + 18 * fine + 14 * coarse
    loose = (within > -22) & (coarse > 0.55)
    share = np.clip(within / 4 + 0.5, 0, 1)
    drawn = share * body + (1 - share) * np.where(loose, ground - 45, ground)
    drawn += 3 * random.standard_normal(_SIZE)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(drawn, 0.8)
    picture = smooth.clip(0, 255).astype(np.uint8)
    picture.flags.writeable = False
    return picture
