"""An instrument's image file: opened read-only, read once, hashed, and decoded in full."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from spheroidd.errors import ImageError
from spheroidd.intake.bitmaps import PNG_SIGNATURE, decode_jpeg, decode_png
from spheroidd.intake.raster import Pixels, Raster, choose_scale, scale_to_8bit
from spheroidd.intake.tiffimage import decode_tiff

__all__ = [
    "ImageFile",
    "Pixels",
    "Raster",
    "choose_scale",
    "decode",
    "read_image",
    "scale_to_8bit",
]

MAX_MEGAPIXELS = 120.0
MAX_BYTES = 1 << 30

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# O_NONBLOCK: opening a FIFO would wait for a writer.  O_NOFOLLOW: a link's target is not ours.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOATIME = getattr(os, "O_NOATIME", 0)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image and the file that it came from.

    `pixels`: uint8 or uint16; H × W (gray) or H × W × 3 (RGB), in the order of the file: an EXIF
    orientation is not applied, so that outlines fit the original.  `sha256`, `size` (bytes) and
    `mtime_ns` are of the very bytes that were decoded.  `bit_depth` is per sample in the file.
    `format` is JPEG, PNG or TIFF.  `taken_at` is naive (the instrument's local time) unless the
    file names a zone; None where it does not tell.  `pixel_size_um` is µm per pixel or None.
    """

    pixels: Pixels
    sha256: str
    size: int
    mtime_ns: int
    bit_depth: int
    format: str
    taken_at: datetime | None
    pixel_size_um: float | None


def read_image(
    path: str | bytes,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    max_bytes: int = MAX_BYTES,
    accept_zeros: bool = False,
) -> ImageFile:
    """Read one image file; it is never changed, locked or waited for.

    Args:
        path: as the operating system gives it; names need not be UTF-8.
        max_megapixels: larger images are refused before they are decoded.
        max_bytes: larger files are refused before they are read.
        accept_zeros: take an image with long runs of zero bytes, which looks unfinished.

    Raises:
        ImageError: the file can't be read or is no complete, supported image.  It is
            permanent only where waiting can't help: not a regular file, too large, a stack,
            or a kind of pixels that is not supported.
    """
    try:
        data, status = _read(path, max_bytes)
        raster = decode(data, max_megapixels=max_megapixels, accept_zeros=accept_zeros)
    except ImageError as error:
        shown = repr(os.fsdecode(path))
        raise ImageError(
            f"{shown}: {error.message}",
            error.hint,
            permanent=error.permanent,
            unreachable=error.unreachable,
        ) from error
    return ImageFile(
        pixels=raster.pixels,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        mtime_ns=status.st_mtime_ns,
        bit_depth=raster.bit_depth,
        format=raster.format,
        taken_at=raster.taken_at,
        pixel_size_um=raster.pixel_size_um,
    )


def decode(
    data: bytes, *, max_megapixels: float = MAX_MEGAPIXELS, accept_zeros: bool = False
) -> Raster:
    """Decode the bytes of a JPEG, PNG or TIFF, told by their content.

    Raises:
        ImageError: as `read_image`; nothing else, whatever the bytes.
    """
    kind = _kind(data)
    try:
        with np.errstate(all="ignore"):  # damaged headers divide by zero in tifffile
            if kind == "JPEG":
                return decode_jpeg(data, max_megapixels, accept_zeros)
            if kind == "PNG":
                return decode_png(data, max_megapixels)
            return decode_tiff(data, max_megapixels, accept_zeros)
    except ImageError:
        raise
    except MemoryError as exc:
        raise ImageError(
            f"There is not enough memory to decode this {kind}.",
            "Stop other programs, or export smaller images.",
        ) from exc
    except Exception as exc:  # the decoders raise whatever comes, from struct.error to KeyError
        raise ImageError(
            f"The {kind} is damaged or not finished: {type(exc).__name__}: {str(exc)[:200]!r}.",
            "The instrument may still be writing it; otherwise export it again.",
        ) from exc


def _kind(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(_TIFF_SIGNATURES):
        return "TIFF"
    raise ImageError(
        f"It is not a JPEG, PNG or TIFF image: {_looks_like(data)}.",
        "If the instrument is still writing it, it will be tried again; otherwise export it "
        "as one of these.",
    )


def _looks_like(data: bytes) -> str:
    if not data:
        return "it is empty"
    head = data[:1024]
    if not any(head):
        only = "is nothing but" if not any(data) else "begins with"
        return f"it {only} zeros, space that was reserved and not filled yet"
    known = {b"GIF8": "a GIF", b"BM": "a BMP", b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive"}
    for signature, name in known.items():
        if head.startswith(signature):
            return f"it looks like {name}"
    try:
        text = head.decode("utf-8", "strict" if len(data) <= len(head) else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    if all(letter.isprintable() or letter.isspace() for letter in text):
        return f"it looks like text, beginning with {text[:40]!r}"
    return f"it begins with the bytes {data[:8].hex(' ')}"


def _read(path: str | bytes, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """The whole content, with a status that was the same before and after."""
    try:
        # Looked at before it is opened: opening a pipe lets its writer go on, and opening a
        # device may set it to work.
        _check_file(os.lstat(path), max_bytes)
        descriptor = _open(path)
        try:
            before = os.fstat(descriptor)
            _check_file(before, max_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(before.st_size + 1)  # one more shows that it grew
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE):
            raise  # ours: no file can be opened, which says nothing of this one
        raise _unreadable(exc) from exc
    except (MemoryError, ValueError) as exc:
        raise ImageError(f"It can't be read: {exc}.", "Check the name and the memory.") from exc
    seen = {(status.st_size, status.st_mtime_ns) for status in (before, after)}
    if seen != {(len(data), before.st_mtime_ns)}:
        raise ImageError("It changed while it was read.", "It will be read again.")
    return data, after


def _open(path: str | bytes) -> int:
    try:
        return os.open(path, _FLAGS | _NOATIME)
    except PermissionError:  # only a file's owner may leave its time of access alone
        return os.open(path, _FLAGS)


def _check_file(status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(
            "It is not a regular file.", "Only files are read as images.", permanent=True
        )
    if status.st_size > max_bytes:
        raise ImageError(
            f"The file has {status.st_size} bytes; the limit is {max_bytes}.",
            "Export smaller images, or one file per time point.",
            permanent=True,
        )


def _unreadable(error: OSError) -> ImageError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return ImageError(
            f"It is not a regular file ({reason}).",
            "Symbolic links are not followed: watch the folder that holds the file itself.",
            permanent=True,
        )
    hint = {
        errno.EACCES: "Let the user that runs spheroidd read it and enter its folders.",
        errno.ENOENT: "It was moved or deleted before it was read.",
    }.get(error.errno or 0, "Check the disk or the network share; it will be tried again.")
    return ImageError(f"It can't be read: {reason}.", hint, unreachable=True)
