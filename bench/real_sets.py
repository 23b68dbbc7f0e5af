"""The real images with references, as ../shared/README.md describes them, as far as they are there.

They are never copied: only numbers and small outline pictures in bench/out come of them.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cases import Frame
from methods import largest
from spheroidd.intake.imagefile import choose_scale, read_image, scale_to_8bit

BELOW = 217
"""The published pipeline's threshold on white."""
_WITH_DEBRIS = {1, 2, 14, 15, 20}
_NO_REFERENCE = {21, 22}
_EMPTY = {19}


@dataclass(frozen=True)
class Source:
    """One frame's files.

    Attributes:
        image: the file.
        mask: its reference, where there is one.
        area: the reference's area, where it is told apart from the mask.
        dark: the mask is what is below 217 in a white-background picture, else what is white.
        scale_like: the plate's first image, whose counts scale 16 bits to 8; None for 8 bits.
    """

    image: Path
    mask: Path | None = None
    area: int | None = None
    dark: bool = False
    scale_like: Path | None = None

    def frame(self) -> Frame:
        """Read it."""
        image = _eight_bit(self.image, self.scale_like)
        truth, area = None, self.area
        if self.mask is not None:
            truth = _mask(self.mask, self.dark)
            area = int(truth.sum()) if area is None else area
        return Frame(self.image.stem, image, area, truth)


@dataclass(frozen=True)
class Real:
    """A real well."""

    set: str
    kind: str
    name: str
    sources: tuple[Source, ...]

    def frames(self) -> Sequence[Frame]:
        return [source.frame() for source in self.sources]


def real_wells(data: Path) -> list[Real]:
    """All wells of all sets that are there."""
    makers: dict[str, Callable[[Path], Iterator[Real]]] = {
        "cell-iq-timelapse": _cell_iq,
        "precipitate": _precipitate,
        "ewing-brightfield": _ewing,
        "droplet-a673": _droplet,
        "mcf7-timelapse": _mcf7,
        "several-objects": _several,
    }
    return [
        well
        for name, wells in makers.items()
        if (data / name).is_dir()
        for well in wells(data / name)
    ]


def _cell_iq(folder: Path) -> Iterator[Real]:
    output = folder / "seed_output"
    with (output / "areas.csv").open(newline="") as table:
        areas = {
            row["frame"]: int(row["largest_object_px_holes_filled"])
            for row in csv.DictReader(table)
        }
    sources = tuple(
        Source(path, output / f"{path.stem}.png", areas[path.stem], dark=True)
        for path in _in_order((folder / "export").rglob("*.jpg"))
    )
    yield Real(folder.name, "time-lapse", "A1", sources)


def _precipitate(folder: Path) -> Iterator[Real]:
    for path in _in_order((folder / "images").iterdir()):
        # The published area is of everything dark, and its picture is two columns narrower.
        area = int((_gray(folder / "seed_output" / f"{path.stem}.png") < BELOW).sum())
        yield Real(folder.name, "precipitate", path.stem, (Source(path, area=area),))


def _ewing(folder: Path) -> Iterator[Real]:
    for path in _in_order((folder / "images").iterdir()):
        name = path.stem.rpartition("_")[2]
        yield Real(folder.name, name, name, (Source(path, folder / "masks" / f"{path.stem}.png"),))


def _droplet(folder: Path) -> Iterator[Real]:
    paths = _in_order((folder / "images").iterdir())
    for path in paths:
        number = int(path.stem.rpartition("_")[2])
        mask = folder / "masks" / f"{path.stem}.png"
        source = Source(path, mask, scale_like=paths[0])
        kind = "with debris" if number in _WITH_DEBRIS else "outlined"
        if number in _NO_REFERENCE:
            kind, source = "no reference", Source(path, scale_like=paths[0])
        elif number in _EMPTY:
            kind, source = "empty", Source(path, area=0, scale_like=paths[0])
        yield Real(folder.name, kind, path.stem, (source,))


def _mcf7(folder: Path) -> Iterator[Real]:
    sources = tuple(Source(path) for path in _in_order((folder / "images").iterdir()))
    yield Real(folder.name, "time-lapse", "mcf7", sources)


def _several(folder: Path) -> Iterator[Real]:
    for path in _in_order((folder / "images").iterdir()):
        yield Real(folder.name, "no reference", path.stem, (Source(path),))


def _in_order(paths: Iterator[Path]) -> list[Path]:
    """By the numbers in their names: image_2 before image_10."""

    def key(path: Path) -> list[tuple[str, int]]:
        return [(word, int(digits)) for word, digits in re.findall(r"(\D*)(\d+)", path.name)]

    return sorted(paths, key=key)


def _eight_bit(path: Path, scale_like: Path | None) -> NDArray[np.uint8]:
    pixels = read_image(str(path)).pixels
    if scale_like is None:
        return pixels.astype(np.uint8, copy=False)
    return scale_to_8bit(pixels, *choose_scale(read_image(str(scale_like)).pixels))


def _mask(path: Path, dark: bool) -> NDArray[np.bool_]:
    gray = _gray(path)
    return largest(gray < BELOW) if dark else gray > 127


def _gray(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))
