"""Pictures and probability maps drawn to order, for tests of one decision at a time.

What a segmentation is worth is tested on the simulator's wells and on real images.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def disc(shape: tuple[int, int], radius: float, centre: tuple[float, float] | None = None) -> Mask:
    """A disc's pixels; in the middle if not said otherwise."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    row, column = centre or ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    return np.asarray(np.hypot(y - row, x - column) < radius)


def picture(
    mask: Mask, dark: float = 60, light: float = 180, noise: float = 3, grain: float = 0
) -> NDArray[np.uint8]:
    """Objects of one brightness on a ground of another, with noise; `grain` is the objects' own."""
    rng = np.random.default_rng(0)
    drawn = np.where(mask, dark, light) + rng.normal(0, noise, mask.shape)
    drawn += mask * rng.normal(0, 1, mask.shape) * grain
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def sureness(mask: Mask, soft: float = 0.3, top: float = 0.99) -> NDArray[np.float32]:
    """A model's map of these objects: a half at their edge, within `soft` pixels sure."""
    inside, outside = (ndimage.distance_transform_edt(one) for one in (mask, ~mask))
    depth = np.where(mask, inside - 0.5, 0.5 - outside)
    return (top / (1 + np.exp(-np.clip(depth / soft, -80, 80)))).astype(np.float32)
