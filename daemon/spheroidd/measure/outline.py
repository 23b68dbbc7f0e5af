"""The outline picture: every object in yellow on the original, small, with its number.

Drawn from the objects as CellProfiler found them, whatever pipeline found them, and made once:
it shows all objects and not which of them is the spheroid, so choosing another one later makes
no picture wrong.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

YELLOW = (255, 255, 0)
LONGEST_SIDE = 1024  # pixels of the picture
_THICK_FROM = 480  # pixels of the longest side; smaller pictures get a line of one pixel
_MOST_NUMBERS = 40  # the largest objects; more numbers would hide the picture
_QUALITY = 80
_SAME_SHAPE = 0.01  # how far height and width may have been scaled apart


class NoPlaceError(ValueError):
    """The objects can't be placed on the image: the pipeline measured a part of it."""


@dataclass(frozen=True)
class Labels:
    """Which pixel belongs to which object.

    Attributes:
        numbers: integers, H×W, 0 where there is no object; a part of the frame, with all objects.
        top: rows of the frame above the part.
        left: columns of the frame left of it.
        frame: height and width of the image that the pipeline looked at.
    """

    numbers: NDArray[np.integer]
    top: int
    left: int
    frame: tuple[int, int]

    @classmethod
    def of_whole(cls, numbers: NDArray[np.integer]) -> "Labels":
        return cls(numbers, 0, 0, (numbers.shape[0], numbers.shape[1]))


def draw_outline(original: NDArray[np.uint8], labels: Labels) -> Image.Image:
    """Draw the innermost pixels of each object, as OverlayOutlines does, on the reduced original.

    The longest side has at most `LONGEST_SIDE` pixels. No object is too small to be seen. Where
    there are several, each carries its number.

    Args:
        original: uint8, H×W or H×W×3.
        labels: their frame is H×W, or another size of the same shape where the pipeline
            resized the image.

    Returns:
        An RGB picture.

    Raises:
        NoPlaceError: the labels' shape is not the image's.
    """
    height, width = original.shape[:2]
    rows, columns = labels.frame
    if abs(rows / height - columns / width) > _SAME_SHAPE * columns / width:
        raise NoPlaceError(f"objects on {columns}×{rows} px don't fit an image {width}×{height}")
    share = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    picture = Image.fromarray(original)
    if share < 1:
        # Halved, thirded… by plain means first: for the eye the same, in a fifth of the time.
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0)
    pixels = np.array(picture.convert("RGB"))
    pixels[_line(labels, size)] = YELLOW
    picture = Image.fromarray(pixels)
    _write_numbers(picture, labels)
    return picture


def write_outline(path: Path, original: NDArray[np.uint8], labels: Labels) -> None:
    """Write `draw_outline`'s picture as a JPEG; the file is whole or not there, whenever this
    process or the machine ends.

    Raises:
        NoPlaceError: see `draw_outline`.
        OSError: the disk is full, say.
    """
    picture = draw_outline(original, labels)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            # Colour at full resolution: at half of it, thin yellow lines turn grey.
            picture.save(file, format="JPEG", quality=_QUALITY, subsampling=0)
            file.flush()
            os.fsync(file.fileno())  # the database will say that it is there
        # `store.files.whole` would sync the folder, too: one wait for the disk more an image, so
        # that a power cut can't take the name away.  No area depends on this picture.
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_labels(path: Path) -> Labels:
    """The objects of one image as the worker left them: a 16-bit PNG, 0 or an object's number,
    and in its text "place" where in the image it lies; without one it is the whole.

    Raises:
        ValueError: it is no picture of labels, or does not lie in its image.
        OSError: it can't be read.
    """
    with Image.open(path) as picture:
        numbers = np.asarray(picture)
        place = picture.info.get("place")
    if numbers.ndim != 2:
        raise ValueError(f"a picture of labels with {numbers.ndim} dimensions")
    if place is None:
        return Labels.of_whole(numbers)
    top, left, height, width = (int(number) for number in place.split())
    if not (0 <= top <= height - numbers.shape[0] and 0 <= left <= width - numbers.shape[1]):
        raise ValueError(f"a picture of {numbers.shape} does not lie at {place!r:.80}")
    return Labels(numbers, top, left, (height, width))


def _line(labels: Labels, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a picture of this (width, height) is yellow."""
    line = np.zeros((size[1], size[0]), np.bool_)
    rows, columns = _edge_pixels(labels.numbers)
    rows, columns = rows + labels.top, columns + labels.left
    line[rows * size[1] // labels.frame[0], columns * size[0] // labels.frame[1]] = True
    if max(size) < _THICK_FROM:
        return line
    thick = line.copy()
    thick[1:] |= line[:-1]
    line = thick.copy()
    line[:, 1:] |= thick[:, :-1]
    return line


def _edge_pixels(labels: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of every object's pixels beside something else, or beside the image's rim:
    a mask that fills the field must not look like none."""
    part = np.pad(labels, 1)
    inner = part[1:-1, 1:-1]
    edge = (inner != part[:-2, 1:-1]) | (inner != part[2:, 1:-1])
    edge |= (inner != part[1:-1, :-2]) | (inner != part[1:-1, 2:])
    rows, columns = np.nonzero(edge & (inner > 0))
    return rows, columns


def _write_numbers(picture: Image.Image, labels: Labels) -> None:
    areas = np.bincount(labels.numbers.ravel())
    areas[0] = 0
    if np.count_nonzero(areas) < 2:
        return
    boxes = ndimage.find_objects(labels.numbers)
    draw = ImageDraw.Draw(picture)
    height = max(12, max(picture.size) // 50)
    font = ImageFont.load_default(height)
    down, across = picture.height / labels.frame[0], picture.width / labels.frame[1]
    for number in np.argsort(-areas, kind="stable")[:_MOST_NUMBERS]:
        if not areas[number]:
            break
        rows, columns = boxes[number - 1]
        wide = draw.textlength(str(number), font)
        # at the upper right, where the object ends; inside the picture in any case
        x = min((labels.left + columns.stop) * across + 3, picture.width - wide - 2)
        y = min((labels.top + rows.start) * down, picture.height - height - 2)
        draw.text((x, y), str(number), YELLOW, font, stroke_width=2, stroke_fill=(0, 0, 0))
