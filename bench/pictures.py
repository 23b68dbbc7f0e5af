"""Contact sheets of the accuracy benchmark: truth in cyan, result in yellow, the worst first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from scores import Mask, Score

TRUTH, OTHERS, RESULT = (0, 230, 255), (0, 110, 140), (255, 220, 0)
WIDTH, CAPTION, COLUMNS = 400, 30, 4


def tile(
    image: NDArray[np.uint8], truth: Mask | None, others: Mask | None, result: Mask
) -> Image.Image:
    """One image with its outlines, `WIDTH` pixels wide.

    Args:
        image: uint8, H×W or H×W×3.
        truth, others, result: H×W; others are further true spheroids, in a darker cyan.
    """
    scale = WIDTH / image.shape[1]
    size = (WIDTH, max(1, round(image.shape[0] * scale)))
    small = np.array(Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.LANCZOS))
    for mask, colour in ((others, OTHERS), (truth, TRUTH), (result, RESULT)):
        if mask is not None:
            small[_edge(mask, size)] = colour
    return Image.fromarray(small)


def _edge(mask: Mask, size: tuple[int, int]) -> Mask:
    """The outline, one pixel wide at the tile's size."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    small = np.asarray(picture) > 127
    return np.asarray(small & ~ndimage.binary_erosion(small, border_value=1), dtype=bool)


def badness(one: Score) -> float:
    """For sorting: ghosts, misses and wrong objects first, then by area error and overlap."""
    if one.ghost or one.miss or one.wrong_object:
        return 10.0
    return abs(one.error or 0.0) + (1 - one.iou if one.iou is not None else 0.0)


def sheet(title: str, worst: Sequence[tuple[Score, Path]], to: Path) -> None:
    """Put tiles side by side, each with its figures below, under a title.

    Args:
        title: what they are.
        worst: results with their tiles' files, in the order in which to show them.
        to: the PNG to write.
    """
    tiles = [_captioned(one, path) for one, path in worst]
    columns = min(COLUMNS, len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(each.height for each in row) for row in rows]
    whole = Image.new("RGB", (columns * (WIDTH + 6), sum(heights) + 24), "black")
    pen = ImageDraw.Draw(whole)
    pen.text((6, 5), title, "white", font_size=13)
    for row, top in zip(rows, np.cumsum([24, *heights[:-1]]), strict=True):
        for column, each in enumerate(row):
            whole.paste(each, (column * (WIDTH + 6), int(top)))
    to.parent.mkdir(parents=True, exist_ok=True)
    whole.save(to)


def _captioned(one: Score, path: Path) -> Image.Image:
    with Image.open(path) as picture:
        whole = Image.new("RGB", (WIDTH, picture.height + CAPTION), "black")
        whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    pen.text((4, picture.height + 1), f"{one.frame}: {_figures(one)}"[:76], "white", font_size=10)
    pen.text((4, picture.height + 14), ", ".join(one.flags)[:76], "orange", font_size=10)
    return whole


def _figures(one: Score) -> str:
    if one.true_area is None:
        return f"{one.area} px, {one.objects} objects, no reference"
    if one.true_area == 0:
        return f"GHOST of {one.area} px" if one.ghost else "empty, and found so"
    said = "MISSED" if one.miss else f"{one.area} px, {100 * (one.error or 0):+.1f} %"
    if one.wrong_object:
        said += ", WRONG OBJECT"
    return said + (f", IoU {one.iou:.3f}" if one.iou is not None else "")
