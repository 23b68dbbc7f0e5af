"""The two pictures of a segmentation: the mask, and the image on white."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spheroidd.store.files import whole

WHITE = 255


def on_white(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay an image on white: alpha·image + (1−alpha)·255, rounded.

    With the model's probabilities as alpha it is what the published pipeline (rembg's cut-out
    laid on white) gives.

    Args:
        image: uint8, H×W (grey) or H×W×3.
        alpha: H×W, 0 to 1.

    Raises:
        ValueError: shapes or types don't fit. A mistake in the calling code.
    """
    if image.dtype != np.uint8 or image.shape[:2] != alpha.shape or image.ndim > 3:
        raise ValueError(f"image {image.dtype} {image.shape} doesn't fit alpha {alpha.shape}")
    white = np.full_like(image, WHITE)
    # Elsewhere alpha·(255 − image) is under a half and rounds to white: most of the image.
    seen = alpha >= 0.5 / WHITE
    weight = alpha[seen] if image.ndim == 2 else alpha[seen][:, np.newaxis]
    white[seen] = np.rint(WHITE - weight * (WHITE - image[seen].astype(np.float32)))
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
