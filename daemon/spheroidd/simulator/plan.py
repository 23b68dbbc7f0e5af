"""What the instrument is to photograph, and when: pure, so that it can be known beforehand."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import PurePosixPath

from spheroidd.errors import SpheroiddError
from spheroidd.simulator.growth import scene_at
from spheroidd.simulator.noise import stream
from spheroidd.simulator.scene import SIZE, Scene
from spheroidd.simulator.well import Kind, Well

_DRUGS = ("DMSO", "Doxorubicin", "Metformin", "Etoposide", "AZD", "Olaparib")
_ROWS, _COLUMNS = 8, 12
_MIXED: tuple[Kind, ...] = ("growing", "treated", "control", "dying", "precipitate", "empty")


@dataclass(frozen=True)
class Plate:
    """A plate: the name of its experiment, and its wells by name."""

    name: str
    wells: tuple[tuple[str, Well], ...]


@dataclass(frozen=True)
class Shot:
    """One picture to be taken.

    Args:
        plate: name of the experiment, and of its folder.
        well: its name, and of its folder.
        kind: what is in it.
        frame: number of the picture of this well, from 0.
        hours: since the plate's first picture.
        path: of the picture, relative to the instrument's export folder.
        scene: what the camera will see.
        size: height and width in pixels.
    """

    plate: str
    well: str
    kind: Kind
    frame: int
    hours: float
    path: PurePosixPath
    scene: Scene
    size: tuple[int, int]


def plan(
    plates: Sequence[Plate],
    frames: int,
    hours_per_frame: float = 12.0,
    size: tuple[int, int] = SIZE,
) -> list[Shot]:
    """All pictures in the order in which the instrument takes them: round by round, well by well.

    Args:
        plates: what is in the instrument.
        frames: pictures of each well.
        hours_per_frame: between two pictures of a well, as the spheroid ages.
        size: height and width in pixels.

    Raises:
        SpheroiddError: nothing to photograph, or pictures too small to draw a spheroid in.
    """
    if frames < 1 or hours_per_frame <= 0 or not any(plate.wells for plate in plates):
        raise SpheroiddError(
            f"Nothing to simulate: {len(plates)} plates, {frames} frames, "
            f"{hours_per_frame} hours between them.",
            "Ask for at least one plate, one well, one frame, and some time between frames.",
        )
    if size[0] < 120 or size[1] < size[0]:
        raise SpheroiddError(
            f"Pictures of {size[1]} × {size[0]} pixels can't be drawn.",
            "Use a height of at least 120, and a width that is no smaller than the height.",
        )
    return [
        _shot(plate.name, name, well, frame, hours_per_frame, size)
        for frame in range(frames)
        for plate in plates
        for name, well in plate.wells
    ]


def demo_plates(seed: int = 1) -> tuple[Plate, Plate]:
    """One plate left to grow and one under treatment, with six wells each; one of them is empty."""
    untreated: tuple[Kind, ...] = ("growing", "control", "growing", "debris", "control", "rings")
    treated: tuple[Kind, ...] = ("treated", "treated", "dying", "precipitate", "pale", "empty")
    return _plate(0, untreated, seed), _plate(1, treated, seed)


def demo_plan(seed: int = 1, frames: int = 9, size: tuple[int, int] = SIZE) -> list[Shot]:
    """The demo's pictures: `demo_plates` for eight days, a picture of each well a day."""
    return plan(demo_plates(seed), frames, hours_per_frame=24.0, size=size)


def mixed_plates(plates: int, wells: int, seed: int = 1) -> tuple[Plate, ...]:
    """Plates on which wells of several kinds follow one another.

    Args:
        plates: how many.
        wells: on each plate, 1 to 96.
        seed: of everything on them.

    Raises:
        SpheroiddError: fewer than one plate, or wells that don't fit on a plate.
    """
    if plates < 1 or not 1 <= wells <= _ROWS * _COLUMNS:
        raise SpheroiddError(
            f"Can't simulate {plates} plates of {wells} wells.",
            "Use at least one plate, with 1 to 96 wells.",
        )
    return tuple(
        _plate(number, tuple(islice(cycle(_MIXED), wells)), seed) for number in range(plates)
    )


def _plate(number: int, kinds: Sequence[Kind], seed: int) -> Plate:
    """A plate with its kinds dealt out to wells by lot, so that no well's name tells its kind."""
    name = f"202603{number % 28 + 1:02d} - SIM{number + 1:02d} 3D ({_DRUGS[number % len(_DRUGS)]})"
    dealt = stream(seed, "plate", number).permutation(len(kinds))
    wells = tuple(
        (_well_name(place, len(kinds)), Well(kinds[which], _well_seed(seed, number, place)))
        for place, which in enumerate(dealt)
    )
    return Plate(name, wells)


def _well_name(place: int, wells: int) -> str:
    """A1, A2, … row by row; the rows are as short as the wells allow."""
    columns = 3 if wells <= 24 else _COLUMNS
    row, column = divmod(place, columns)
    return f"{string.ascii_uppercase[row]}{column + 1}"


def _well_seed(seed: int, plate: int, place: int) -> int:
    return int(stream(seed, "well", plate, place).integers(2**31))


def _shot(
    plate: str, name: str, well: Well, frame: int, hours_per_frame: float, size: tuple[int, int]
) -> Shot:
    hours = frame * hours_per_frame
    path = PurePosixPath(plate, name, f"{name}_{frame:03d}.jpg")
    scene = scene_at(well, hours, frame)
    return Shot(plate, name, well.kind, frame, hours, path, scene, size)
