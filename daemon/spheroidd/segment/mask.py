"""From probabilities to the mask and the white-background image. Pure, but for the two writers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spheroidd.segment.files import whole

WHITE = 255


@dataclass(frozen=True)
class Segmentation:
    """One image, segmented.

    Attributes:
        mask: bool, H×W; True where the probability is above the threshold.
        white: uint8, H×W or H×W×3 like the image; the object on a white background.
        peak_probability: the largest probability in the image, 0 to 1. On an empty field it
            stays low, so it tells a real object from a ghost.
        foreground_px: number of True pixels in the mask.
    """

    mask: NDArray[np.bool_]
    white: NDArray[np.uint8]
    peak_probability: float
    foreground_px: int


def segment(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], threshold: float
) -> Segmentation:
    """Threshold the probabilities and lay the image on white.

    The white-background image is the composite p·image + (1−p)·255, rounded, which is what
    the published pipeline (rembg's cut-out laid on white) gives. Where no pixel is above the
    threshold it is white all over: weak probabilities would leave a ghost for CellProfiler.

    Args:
        image: uint8, H×W (grey) or H×W×3.
        probabilities: H×W, 0 to 1, never stretched to the image's own range.
        threshold: 0 ≤ threshold < 1. A pixel belongs to the object when p > threshold.

    Raises:
        ValueError: shapes, type or threshold don't fit. These are mistakes in the calling code.
    """
    if image.dtype != np.uint8 or image.shape[:2] != probabilities.shape or image.ndim > 3:
        raise ValueError(
            f"image {image.dtype} {image.shape} doesn't fit probabilities {probabilities.shape}"
        )
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold {threshold} is not in [0, 1)")
    mask = probabilities > threshold
    foreground = int(np.count_nonzero(mask))
    return Segmentation(
        mask=mask,
        white=_on_white(image, probabilities) if foreground else np.full_like(image, WHITE),
        peak_probability=float(probabilities.max()),
        foreground_px=foreground,
    )


def _on_white(image: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    white = np.full_like(image, WHITE)
    # Elsewhere p·(255 − image) is under a half and rounds to white: most of the image.
    seen = probabilities >= 0.5 / WHITE
    alpha = probabilities[seen] if image.ndim == 2 else probabilities[seen][:, np.newaxis]
    white[seen] = np.rint(WHITE - alpha * (WHITE - image[seen].astype(np.float32)))
    return white


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a bool H×W mask as a 1-bit PNG; the file is whole or not there."""
    _write_png(path, Image.fromarray(mask))


def write_white(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a uint8 H×W or H×W×3 image as a lossless PNG; the file is whole or not there."""
    _write_png(path, Image.fromarray(image))


def _write_png(path: Path, image: Image.Image) -> None:
    with whole(path) as temporary:
        # Level 1 of 9: mostly white, so the harder levels cost time and save little.
        image.save(temporary, format="PNG", compress_level=1)
