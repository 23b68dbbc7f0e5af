"""Outlines and masks for people: only what the database records, scaled down, kept for a while."""

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from spheroidd.store.paths import printable
from spheroidd.web.failing import NotThereError

_KEPT_BYTES = 128 * 2**20
_LARGEST_KEPT = _KEPT_BYTES // 8  # a larger one would push out many
_AT_ONCE = 2  # the daemon beside us needs the cores more
_MOST_PIXELS = 120_000_000  # as intake takes in
_LARGEST_BYTES = 256 * 2**20
_QUALITY = 85
# O_NONBLOCK: opening a FIFO would wait for a writer.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# These classes and no others: `Image.open` would try every format it knows.
_FORMATS: tuple[tuple[bytes, str, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", "image/jpeg", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", "image/png", PngImagePlugin.PngImageFile),
)


class Width(IntEnum):
    """In pixels; few, so that many viewers ask for the same."""

    THUMBNAIL = 160
    SMALL = 320
    MEDIUM = 640
    LARGE = 1280


@dataclass(frozen=True)
class Found:
    """A picture that is there, and has not been read yet.

    Attributes:
        name: its path as the database records it.
        tag: another one where the file or the width is another.
    """

    name: str
    path: Path
    width: Width | None
    tag: str


@dataclass(frozen=True)
class Picture:
    """What a browser gets."""

    content: bytes
    media_type: str


class Pictures:
    """Reads the pictures of one state folder; thread-safe."""

    def __init__(self, root: Path) -> None:
        """
        Args:
            root: the state folder; nothing outside of it is ever read.
        """
        self._root = root
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0
        self._turn = threading.Lock()
        self._scaling = threading.BoundedSemaphore(_AT_ONCE)

    def find(self, recorded: str, width: Width | None = None) -> Found:
        """See whether a picture is there.

        Args:
            recorded: its path relative to the state folder, as the database has it.
            width: None: as it is.  It is never made larger.

        Raises:
            NotThereError: it is not, or not inside the state folder.
        """
        try:
            path = (self._root / recorded).resolve(strict=True)
            if not path.is_relative_to(self._root.resolve()):
                raise NotThereError(
                    f"{printable(recorded)} lies outside the state folder.",
                    "Only what lies in it is shown; links that lead elsewhere are not followed.",
                )
            is_ = path.stat()
        except (OSError, RuntimeError, ValueError) as error:  # gone; links in a circle; NUL
            raise _gone(recorded, error) from error
        said = (recorded, is_.st_ino, is_.st_mtime_ns, is_.st_size, width)
        return Found(recorded, path, width, hashlib.sha256(repr(said).encode()).hexdigest()[:32])

    def read(self, found: Found) -> Picture:
        """The picture itself, scaled as it was asked for.

        Raises:
            NotThereError: it has gone meanwhile, or is no JPEG or PNG.
        """
        if (kept := self._of_before(found.tag)) is not None:
            return kept
        with self._scaling:
            if (kept := self._of_before(found.tag)) is not None:  # made while we waited
                return kept
            try:
                picture = _read(found)
            except OSError as error:
                raise _gone(found.name, error) from error
            except (SyntaxError, ValueError, EOFError) as error:  # as Pillow tells of damage
                raise _unreadable(found.name, error) from error
        self._keep(found.tag, picture)
        return picture

    def _of_before(self, tag: str) -> Picture | None:
        with self._turn:
            if tag in self._kept:
                self._kept.move_to_end(tag)
            return self._kept.get(tag)

    def _keep(self, tag: str, picture: Picture) -> None:
        if len(picture.content) > _LARGEST_KEPT:
            return
        with self._turn:
            if tag not in self._kept:
                self._kept[tag] = picture
                self._bytes += len(picture.content)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].content)


def _read(found: Found) -> Picture:
    with os.fdopen(os.open(found.path, _FLAGS), "rb") as file:
        is_ = os.fstat(file.fileno())
        if not stat.S_ISREG(is_.st_mode) or is_.st_size > _LARGEST_BYTES:
            raise ValueError("not a picture that spheroidd makes")
        start = file.read(16)
        file.seek(0)
        for signature, media_type, kind in _FORMATS:
            if start.startswith(signature):
                return _scaled(file, media_type, kind, found.width)
    raise ValueError("neither JPEG nor PNG")


def _scaled(
    file: BinaryIO, media_type: str, kind: type[ImageFile.ImageFile], width: Width | None
) -> Picture:
    with kind(file) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"it has {image.width} × {image.height} pixels")
        if width is None or image.width <= width:
            file.seek(0)
            return Picture(file.read(), media_type)
        size = (width, max(1, round(image.height * width / image.width)))
        image.draft(None, size)  # a JPEG is decoded at a fraction of its size
        # A mask of one bit becomes grey, or its edge would be a staircase.
        mode = {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(image.mode)
        plain: Image.Image = image.convert(mode) if mode else image
        made = BytesIO()
        plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0).save(
            made, "JPEG" if media_type == "image/jpeg" else "PNG", quality=_QUALITY
        )
    return Picture(made.getvalue(), media_type)


def _gone(recorded: str, error: Exception) -> NotThereError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no such file"
    if isinstance(error, FileNotFoundError):
        why = "it was removed, by `keep` or by hand"
    return NotThereError(
        f"The picture {printable(recorded)} is not there: {why}.", "The numbers stay."
    )


def _unreadable(recorded: str, error: Exception) -> NotThereError:
    return NotThereError(
        f"The picture {printable(recorded)} can't be shown: {printable(str(error))}.",
        "The numbers stay; `spheroidd remeasure` makes new pictures.",
    )
