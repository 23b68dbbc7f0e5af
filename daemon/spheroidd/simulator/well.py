"""A well: what happens in it, and the seed that makes it an individual."""

from dataclasses import dataclass
from typing import Literal, get_args

from spheroidd.simulator.noise import stream

EmptyKind = Literal[
    "empty", "empty-rings", "empty-gradient", "empty-defocus", "empty-debris", "empty-blank"
]
Kind = (
    Literal[
        "growing",
        "control",
        "treated",
        "dying",
        "precipitate",
        "debris",
        "rings",
        "gradient",
        "defocus",
        "pale",
        "spiky",
        "border",
        "several",
    ]
    | EmptyKind
)
EMPTY_KINDS: tuple[EmptyKind, ...] = get_args(EmptyKind)
KINDS: tuple[Kind, ...] = tuple(kind for some in get_args(Kind) for kind in get_args(some))


@dataclass(frozen=True)
class Well:
    """One well, whose whole history follows from these two.

    Args:
        kind: what happens in it.
        seed: makes it an individual.
    """

    kind: Kind
    seed: int


def own(well: Well, name: str, low: float, high: float) -> float:
    """A property of this very well, between `low` and `high`."""
    return float(stream(well.seed, name).uniform(low, high))
