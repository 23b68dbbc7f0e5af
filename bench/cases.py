"""What is measured by the accuracy benchmark: wells with their frames, and what is true of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spheroidd.simulator import EMPTY_KINDS, SIZE, Kind, Well, scene_at, survey
from spheroidd.simulator.noise import stream


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, and what is known of it.

    Attributes:
        image: uint8, H×W or H×W×3.
        area: the spheroid's true pixels, 0 in an empty well; None where nothing is known.
        truth: its mask, H×W; None where only the area is known, or nothing.
        others: further spheroids, which a line may find but may not take for the spheroid.
    """

    name: str
    image: NDArray[np.uint8]
    area: int | None = None
    truth: NDArray[np.bool_] | None = None
    others: NDArray[np.bool_] | None = None


class Case(Protocol):
    """A well: belongs to a set, and within it to a class."""

    @property
    def set(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    def frames(self) -> Sequence[Frame]:
        """All frames in order; read or drawn anew with every call."""
        ...


CLASSES: dict[str, tuple[Kind, ...]] = {
    "clean": ("growing", "control", "treated"),
    "precipitate": ("precipitate",),
    "debris": ("debris",),
    "rings": ("rings",),
    "gradient": ("gradient",),
    "defocus": ("defocus",),
    "pale": ("pale",),
    "spiky": ("spiky",),
    "dying": ("dying",),
    "border": ("border",),
    "several": ("several",),
    "empty": EMPTY_KINDS,
}
# What a drug does is seen a day or two after the dose; before that the wells look clean.
_LATE = ("dying", "precipitate")


@dataclass(frozen=True)
class Simulated:
    """A simulated well, photographed some times from a moment of its history on."""

    kind: str
    well: Well
    start: float
    frame_count: int
    hours_per_frame: float = 6.0
    size: tuple[int, int] = SIZE
    set: str = "simulated"

    @property
    def name(self) -> str:
        return f"{self.well.kind} {self.well.seed}"

    def frames(self) -> list[Frame]:
        found = []
        for number in range(self.frame_count):
            hours = self.start + number * self.hours_per_frame
            image, labels = survey(scene_at(self.well, hours, number), self.size)
            truth, name = labels == 1, f"{self.name}, hour {hours:.0f}"
            found.append(Frame(name, image, int(truth.sum()), truth, labels > 1))
        return found


def simulated_wells(wells: int, frames: int, seed: int = 1) -> list[Simulated]:
    """Wells of all classes in turn, so that any number has about as many of each.

    Args:
        wells: how many.
        frames: pictures of each, six hours apart.
        seed: of everything in them.
    """
    kinds = {name: cycle(kinds) for name, kinds in CLASSES.items()}
    found = []
    for number, name in enumerate(islice(cycle(CLASSES), wells)):
        rng = stream(seed, "bench", number)
        kind = next(kinds[name])
        start = float(rng.uniform(70 if kind in _LATE else 0, 210))
        found.append(Simulated(name, Well(kind, int(rng.integers(2**31))), start, frames))
    return found
