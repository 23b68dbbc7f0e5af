"""An image's pixels as every later stage sees them: 8 bit, scaled alike on a whole plate."""

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ImageError
from spheroidd.intake.imagefile import read_image, scale_to_8bit
from spheroidd.intake.raster import Pixels
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_real


def read_original(ledger: Ledger, image: Image) -> NDArray[np.uint8]:
    """Read an admitted image again and give its pixels, uint8, H × W or H × W × 3.

    Raises:
        ImageError: it is gone, or its content is no longer the one that was taken in
            (the new content is then a new version, which the scan finds).
    """
    file = read_image(to_real(image.path), accept_zeros=True)
    if file.sha256 != image.sha256:
        raise ImageError(
            "Its content has changed since it was taken in.",
            "The new content is measured as a new version.",
        )
    return in_8_bits(ledger, image.plate, file.pixels)


def in_8_bits(ledger: Ledger, plate: str, pixels: Pixels) -> NDArray[np.uint8]:
    """Pixels of one of a plate's images, the plate's 16-bit scale being settled."""
    if pixels.dtype == np.uint16:
        scale = ledger.plate(plate)
        return scale_to_8bit(pixels, scale["scale_low"], scale["scale_high"])
    return pixels.astype(np.uint8, copy=False)
