"""JPEG and PNG: whole files only, and nothing but pixels gets to the decoders.

Both formats are walked by their structure first.  That proves them complete (a decoder
accepts a tail of zeros), gives the dimensions before memory is asked for, and leaves out
the segments where rubbish can only do harm: thumbnails, profiles, text.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
from PIL import JpegImagePlugin

from spheroidd.errors import ImageError
from spheroidd.intake.imagemeta import exif_time
from spheroidd.intake.raster import Raster, check_dimensions, without_alpha

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_WAIT = "The instrument may still be writing it; otherwise export it again."
ZEROS_HINT = (
    "An instrument that reserves space first leaves zeros until it has written all, and an "
    "interrupted copy leaves holes. If the picture really is so, it is accepted on the last try."
)
# The longest run seen in coded pixels is 8 bytes; only flat pictures with tables made for them
# have longer ones.
_JPEG_ZEROS = 64
# A marker is FF and a code; FF00 is data, FFD0 to FFD7 are restart points within it.
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A progressive JPEG has about ten scans.  Each costs a walk over all pixels and may be a few
# bytes long, so that a small file could keep the decoder busy for hours.
_MOST_SCANS = 500
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
# APP0 and APP14 say which colours the samples are; the rest of APPn and comments do not.
_JPEG_NEEDLESS = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}
_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True)
class JpegSegment:
    """A marker's code, and where its bytes lie: from the FF to the end of its parameters."""

    code: int
    start: int
    end: int


def jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """Walk a JPEG from SOI to EOI, jumping over thumbnails, which have markers of their own.

    Raises:
        ImageError: the end marker is missing.
    """
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        code = marker[1][0]
        end = marker.end()
        if code not in (_SOI, _EOI, _TEM):
            if end + 2 > len(data):
                break
            end += int.from_bytes(data[end : end + 2], "big")
        yield JpegSegment(code, marker.end() - 2, end)
        if code == _EOI:
            return
        at = end
    raise ImageError("The JPEG is cut short: its end marker is missing.", _WAIT)


def decode_jpeg(data: bytes, max_megapixels: float, accept_zeros: bool = False) -> Raster:
    """Decode a JPEG in full; what follows its end marker is not looked at.

    Raises:
        ImageError: cut short, with a hole of zeros, damaged, too large, or of a kind that is
            not supported.
    """
    needed = [data[:2]]
    exif = b""
    frame = scan = None
    scans = 0
    end = len(data)
    for segment in jpeg_segments(data):
        end = segment.end
        body = data[segment.start + 4 : segment.end]
        if segment.code == 0xE1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body[6:]
        if segment.code in _JPEG_FRAMES:  # any of them: a decoder may believe the last
            frame = _jpeg_frame(body, max_megapixels)
        if segment.code == _SOS:
            scans += 1
            scan = segment.start if scan is None else scan
        if scan is None and segment.code not in _JPEG_NEEDLESS:
            needed.append(data[segment.start : segment.end])
    if frame is None or scan is None:
        raise ImageError("The JPEG is damaged: it holds no image.", _WAIT)
    if scans > _MOST_SCANS:
        raise ImageError(
            f"The JPEG has {scans} scans; the limit is {_MOST_SCANS}.",
            "No camera writes so many: export it again, as a baseline JPEG.",
            permanent=True,
        )
    if not accept_zeros and data.find(bytes(_JPEG_ZEROS), scan, end) >= 0:
        raise ImageError("The JPEG has a hole: zeros among its pixels.", ZEROS_HINT)
    # The class itself, not Image.open: that one has a pixel limit of its own, for the process.
    with JpegImagePlugin.JpegImageFile(BytesIO(b"".join((*needed, data[scan:])))) as image:
        image.load()
        samples = np.asarray(image.convert("RGB") if image.mode == "CMYK" else image)
    return Raster(without_alpha(samples), 8, "JPEG", taken_at=exif_time(exif))


def _jpeg_frame(body: bytes, max_megapixels: float) -> tuple[int, int]:
    bits, height, width = struct.unpack_from(">BHH", body)
    check_dimensions(width, height, max_megapixels)
    if bits != 8:
        raise ImageError(
            f"The JPEG has {bits} bits per sample; only 8 are supported.",
            "Export 8-bit JPEG, or TIFF.",
            permanent=True,
        )
    return width, height


def decode_png(data: bytes, max_megapixels: float) -> Raster:
    """Decode a PNG in full; gray and RGB with 16 bits stay so.

    Raises:
        ImageError: cut short, damaged, too large, or animated.
    """
    needed = [PNG_SIGNATURE]
    exif = b""
    bit_depth = 8
    for kind, start, end in _png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            check_dimensions(width, height, max_megapixels)
            bit_depth = 8 if colour == 3 else depth
        if kind == b"acTL":
            raise ImageError(
                "The PNG is animated.", "Export one file per time point.", permanent=True
            )
        if kind == b"eXIf":
            exif = body
        if kind in _PNG_NEEDED:
            needed.append(data[start:end])
    samples = imagecodecs.png_decode(b"".join(needed))
    return Raster(without_alpha(samples), bit_depth, "PNG", taken_at=exif_time(exif))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk up to IEND, with its checksum proved."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if at == len(PNG_SIGNATURE) and kind != b"IHDR":
            raise ImageError("The PNG is damaged: it does not begin with its header.", _WAIT)
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError("The PNG is damaged: a checksum is wrong.", _WAIT)
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ImageError("The PNG is cut short: its end is missing.", _WAIT)
