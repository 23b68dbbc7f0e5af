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


def colourless(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 H×W where all three channels are the same, as a grey camera's often are in a JPEG;
    else the image as it is."""
    if image.ndim == 2:
        return image
    for step in (31, 1):  # a coloured one shows in a few pixels
        some = image[::step, ::step]
        if not (some == some[:, :, :1]).all():
            return image
    return np.ascontiguousarray(image[:, :, 0])


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


def bounding_box(mask: Mask, edge: int = 0) -> tuple[slice, slice]:
    """What holds all of a mask, and so many pixels around; empty slices where it is empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - edge), int(rows[-1]) + 1 + edge),
        slice(max(0, int(columns[0]) - edge), int(columns[-1]) + 1 + edge),
    )


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
    numbers = np.arange(1, labels.max() + 1)
    radius = float(np.sqrt(np.bincount(labels.ravel())[1:].max() / np.pi))
    near, far = max(3, 0.25 * radius), max(12, 1.5 * radius)
    scale = float(np.clip(radius / 20, 1, 4))
    # All that is compared lies in this box, with what the filters (4 deviations) see of it.
    box = bounding_box(labels > 0, round(far + 4 * scale) + 2)
    own, seen = labels[box], picture[box]
    distance = ndimage.distance_transform_edt(own == 0)
    medium = (distance > near) & (distance < far)
    if medium.sum() < 50:
        return None
    weight = np.ones_like(picture)
    weight[box] = distance > near
    smooth = ndimage.gaussian_filter(seen, scale)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(seen**2, scale) - smooth**2, 0))
    texture = np.log(spread + 0.3)
    flat = smooth - background(picture, weight, max(4.0, 0.6 * radius))[box]
    return Unlike(
        darkness=-_apart(flat, own, numbers, medium, floor=0.5),
        texture=_apart(texture, own, numbers, medium, floor=0.05),
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
