"""TIFF: one gray or RGB image of 8 or 16 bits, with every strip and tile in the file.

tifffile reads the structure, libtiff the pixels.  tifffile's own decoders are not used: its LZW
crashed the whole process on a damaged strip (imagecodecs 2026.3.6), and missing strips
come as zeros, with a line in the log.  Here they are an error, found by holding offsets and
byte counts against the file.
"""

import logging
import math
import reprlib
from datetime import datetime
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from spheroidd.errors import ImageError
from spheroidd.intake.bitmaps import ZEROS_HINT, jpeg_segments
from spheroidd.intake.imagemeta import Size, describe, exif_time, resolution, tag_time
from spheroidd.intake.raster import Pixels, Raster, check_dimensions, without_alpha

# Its messages name neither the file nor what to do; the errors raised here do.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_NONE, _LZW, _JPEG, _DEFLATE, _PACKBITS, _DEFLATE_OLD = 1, 5, 7, 8, 32773, 32946
_COMPRESSIONS = (_NONE, _LZW, _JPEG, _DEFLATE, _PACKBITS, _DEFLATE_OLD)
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_SAMPLES = {_MINISWHITE: (1, 2), _MINISBLACK: (1, 2), _RGB: (3, 4), _PALETTE: (1,), _YCBCR: (3,)}

_DTYPES: dict[int, type[np.generic]] = {1: np.bool_, 8: np.uint8, 16: np.uint16}

_WAIT = "The instrument may still be writing it; otherwise export it again."
# Reading each directory of a stack that is refused anyway takes time; a file may hold millions.
_MOST_DIRECTORIES = 1000
# No encoder ends a strip with this many zero bytes: runs of zeros are what they shorten.
_ENCODED_ZEROS = 16


def decode_tiff(data: bytes, max_megapixels: float, accept_zeros: bool) -> Raster:
    """Decode a TIFF in full.

    Raises:
        ImageError: cut short, damaged, too large, unfinished (runs of zeros), or of a kind
            that is not supported.
    """
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = _only_page(tiff)
        check_dimensions(page.imagewidth, page.imagelength, max_megapixels)
        _check_kind(page)
        _check_segments(page, data)
        if not accept_zeros:
            _check_zeros(page, data)
        pixels = _as_seen(page, _samples(page, data))
        when, size = _said(page)
        when = when or exif_time(data) or tag_time(page.tags.valueof(306))
        return Raster(pixels, page.bitspersample, "TIFF", when, _square(size))


def _only_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """The one full-size image; thumbnails and pyramid levels beside it don't count."""
    count, pages = len(tiff.pages), []
    if count <= _MOST_DIRECTORIES:
        pages = [page for page in map(tiff.pages.get, range(count)) if not page.subfiletype]
        count = len(pages)
    if count == 1:
        # ImageJ and tifffile write stacks that have one directory for many planes.
        metadata = [tiff.imagej_metadata or {}, *(tiff.shaped_metadata or ())]
        count = max(int(metadata[0].get("images", 1)), pages[0].imagedepth)
        for shaped in metadata[1:]:
            shape = shaped.get("shape", ())
            count = max(count, math.prod(shape) // math.prod(pages[0].shape) if shape else 1)
    if count == 0:
        raise ImageError("The TIFF holds no image.", _WAIT)
    if count > 1:
        raise ImageError(
            f"The TIFF is a stack of {count} images (time points, planes or channels).",
            "Export one file per time point, and one plane or projection of it.",
            permanent=True,
        )
    return pages[0]


def _check_kind(page: tifffile.TiffPage) -> None:
    kind = ""
    if page.dtype not in _DTYPES.values() or page.bitspersample not in _DTYPES:
        kind = f"{_called(page.bitspersample)}-bit {_number_kind(page)} samples"
    elif page.compression not in _COMPRESSIONS:
        kind = f"the compression {_called(page.compression)}"
    elif page.samplesperpixel not in _SAMPLES.get(page.photometric, ()) or (
        page.photometric == _YCBCR and page.compression != _JPEG
    ):
        kind = f"{_called(page.samplesperpixel)} samples per pixel as {_called(page.photometric)}"
    if kind:
        raise ImageError(
            f"The TIFF has {kind}, which is not supported.",
            "Export gray or RGB with 8 or 16 bits, uncompressed or with LZW, Deflate or JPEG.",
            permanent=True,
        )


def _called(code: object) -> str:
    """A tag's value by name; a damaged one may be anything, thousands of numbers too."""
    name = getattr(code, "name", None)
    return name if isinstance(name, str) else reprlib.repr(code)


def _number_kind(page: tifffile.TiffPage) -> str:
    return {1: "unsigned", 2: "signed", 3: "floating-point"}.get(page.sampleformat, "unknown")


def _check_segments(page: tifffile.TiffPage, data: bytes) -> None:
    """Every strip or tile must be named and lie within the file."""
    expected = math.prod(page.chunked)
    offsets, counts = page.dataoffsets, page.databytecounts
    if not expected == len(offsets) == len(counts):
        raise ImageError(
            f"The TIFF is damaged: {min(len(offsets), len(counts))} of {expected} strips or "
            "tiles are named.",
            _WAIT,
        )
    for offset, count in zip(offsets, counts, strict=True):
        if offset < 8 or count < 1 or offset + count > len(data):
            raise ImageError("The TIFF is cut short: pixels are missing.", _WAIT)
        if page.compression == _JPEG:
            for _ in jpeg_segments(data[offset : offset + count]):
                pass
    if page.compression == _NONE and sum(counts) * 8 < math.prod(page.shape) * page.bitspersample:
        raise ImageError("The TIFF is cut short: its strips are smaller than the image.", _WAIT)


def _check_zeros(page: tifffile.TiffPage, data: bytes) -> None:
    """Long runs of zeros, by their order in the file, are space not filled yet.

    Uncompressed: a hundredth of the rows, at least one, wherever the run lies (a copy that was
    interrupted leaves holes).  Encoded: any tail of a strip that no encoder makes.
    """
    if page.compression == _JPEG:
        return
    segments = sorted(zip(page.dataoffsets, page.databytecounts, strict=True))
    strips = [data[offset : offset + count] for offset, count in segments]
    if page.compression != _NONE:
        for strip in strips:
            if strip.endswith(bytes(min(_ENCODED_ZEROS, len(strip)))):
                raise ImageError("The TIFF is not finished: a strip ends in zeros.", ZEROS_HINT)
        return
    pixels = b"".join(strips)
    row = len(pixels) / page.imagelength
    if bytes(math.ceil(max(row, len(pixels) / 100))) in pixels:
        raise ImageError(
            f"The TIFF is not finished: a hundredth or more of its {page.imagelength} rows, "
            "one after another, are zeros.",
            ZEROS_HINT,
        )


def _samples(page: tifffile.TiffPage, data: bytes) -> NDArray[Any]:
    """bool, uint8 or uint16, H × W or H × W × samples, as stored."""
    shape = [page.imagelength, page.imagewidth]
    planar = page.planarconfig == 2 and page.samplesperpixel > 1 and page.compression != _JPEG
    if page.samplesperpixel > 1:
        shape.insert(0 if planar else 2, page.samplesperpixel)
    if page.compression == _JPEG:  # comes as gray or RGB, whatever the layout in the file
        samples: NDArray[Any] = imagecodecs.tiff_decode(data, page.index)
        if list(samples.shape) != shape:
            raise ImageError("The TIFF is damaged: its JPEG has other dimensions.", _WAIT)
        return samples
    # Memory by the dimensions that were checked: libtiff may read a damaged header otherwise.
    samples = np.zeros(shape, _DTYPES[page.bitspersample])
    imagecodecs.tiff_decode(data, page.index, out=samples)
    return np.moveaxis(samples, 0, -1) if planar else samples


def _as_seen(page: tifffile.TiffPage, samples: NDArray[Any]) -> Pixels:
    """uint8 or uint16 with black at 0, gray or RGB."""
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * np.uint8(255)
    if page.photometric == _MINISWHITE:
        samples = ~samples
    if page.photometric == _PALETTE:
        colours = page.colormap
        # 16 bits by the standard; some writers put 8-bit values there.
        colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
        samples = colours.T[samples]
    return without_alpha(samples)


def _said(page: tifffile.TiffPage) -> tuple[datetime | None, Size | None]:
    """Time and pixel size from the file's tags; XML knows more than the resolution tags."""
    text = page.tags.valueof(270)
    text = text if isinstance(text, str) else ""
    when, size = describe(text, page.imagewidth, page.imagelength)
    return when, size or resolution(text, *(page.tags.valueof(code) for code in (282, 283, 296)))


def _square(size: Size | None) -> float | None:
    """µm per pixel.

    Pixels that are not square have no one size: an area would be wrong, and so would every
    shape, so the image is refused rather than measured in pixels that nobody can compare.
    """
    if size is None:
        return None
    across, down = size
    if not math.isclose(across, down, rel_tol=0.01):
        raise ImageError(
            f"The file says that its pixels are {across:.6g} µm wide and {down:.6g} µm high.",
            "Only square pixels can be measured: export it unscaled, or correct its metadata.",
            permanent=True,
        )
    return math.sqrt(across * down)
