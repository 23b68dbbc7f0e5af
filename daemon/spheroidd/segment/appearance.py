"""What an image shows of itself: brightness, focus, and how unlike the medium an object looks.

All of it is measured on the image reduced to at most 1024 pixels a side, and is meant to be
compared between images of one plate, not between instruments.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

LONGEST = 1024

Mask = NDArray[np.bool_]
Field = NDArray[np.float32]


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 H×W, from H×W or H×W×3 (ITU-R 601 luma)."""
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def reduced(array: NDArray[np.uint8] | Field) -> Field:
    """float32, at most LONGEST pixels a side, by averaging."""
    height, width = array.shape
    shrink = max(height, width) / LONGEST
    plain = array.astype(np.float32)
    if shrink <= 1:
        return plain
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    return np.asarray(Image.fromarray(plain).resize(size, Image.Resampling.BOX))


def resized(array: Field, shape: tuple[int, int]) -> Field:
    """float32, enlarged bilinearly to a height and width."""
    if array.shape == shape:
        return array
    return np.asarray(Image.fromarray(array).resize(shape[::-1], Image.Resampling.BILINEAR))


def focus(picture: Field) -> float:
    """Sharpness: the variance of the Laplacian over the mean grey value squared.

    The Laplacian's variance is LAPV of Pertuz et al. 2013, Pattern Recognit 46:1415-1432;
    dividing by the brightness lets exposures be compared. Noise counts as sharpness.
    """
    smooth = ndimage.gaussian_filter(picture, 1.0)
    level = float(picture.mean()) + 1.0
    return float(ndimage.laplace(smooth).var()) / level**2 * 1e4


@dataclass(frozen=True)
class Unlike:
    """How unlike the medium each object looks, by its number; robust standard deviations.

    Attributes:
        darkness: medium's brightness less the object's.
        texture: logarithm of the local spread of grey values, object less medium.
    """

    darkness: NDArray[np.float64]
    texture: NDArray[np.float64]


def unlike(picture: Field, labels: NDArray[np.int32]) -> Unlike | None:
    """Compare objects with the medium around them.

    Args:
        picture: float32, H×W, reduced.
        labels: int32, H×W; 0 is the medium, 1…n are objects.

    Returns:
        One value for each object, the first one for object 1; None where no medium is left.
    """
    distance = ndimage.distance_transform_edt(labels == 0)
    numbers = np.arange(1, labels.max() + 1)
    radius = float(np.sqrt(np.bincount(labels.ravel())[1:].max() / np.pi))
    medium = (distance > max(3, 0.25 * radius)) & (distance < max(12, 1.5 * radius))
    if medium.sum() < 50:
        return None
    weight = (distance > max(3, 0.25 * radius)).astype(np.float32)
    scale = float(np.clip(radius / 20, 1, 4))
    smooth = ndimage.gaussian_filter(picture, scale)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(picture**2, scale) - smooth**2, 0))
    texture = np.log(spread + 0.3)
    flat = smooth - background(picture, weight, max(4.0, 0.6 * radius))
    return Unlike(
        darkness=-_apart(flat, labels, numbers, medium, floor=0.5),
        texture=_apart(texture, labels, numbers, medium, floor=0.05),
    )


def background(picture: Field, weight: Field, wide: float) -> Field:
    """The light as it would be without the objects (weight 0): a local mean of the rest.

    Normalised convolution (Knutsson & Westin 1993, CVPR) with a Gaussian of `wide` pixels.
    What is so smooth needs no more than a few points for each width: ten times quicker.
    """
    height, width = picture.shape
    coarse = max(1.0, wide / 4)
    size = (max(1, round(width / coarse)), max(1, round(height / coarse)))
    light, known = (
        ndimage.gaussian_filter(
            np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BOX)),
            (wide * size[1] / height, wide * size[0] / width),
            truncate=3,
        )
        for array in (picture * weight, weight)
    )
    return resized(light / np.maximum(known, 1e-6), picture.shape)


def _apart(
    values: Field, labels: NDArray[np.int32], numbers: NDArray[np.intp], medium: Mask, floor: float
) -> NDArray[np.float64]:
    around = values[medium]
    low, middle, high = np.percentile(around, [16, 50, 84])
    objects = labels > 0  # the median sorts all that it is given
    inside = np.asarray(ndimage.median(values[objects], labels[objects], numbers), dtype=np.float64)
    apart: NDArray[np.float64] = (inside - middle) / ((high - low) / 2 + floor)
    return apart
