"""One measured image of a well, as judging reads it, and what judging makes of it."""

import dataclasses
from collections.abc import Mapping, Sequence

REAL_SHARE = 0.05  # with `objects: all`, of the largest object's area; less is a speck
MOST_CANDIDATES = 12  # that one spheroid is looked for among; the largest


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One object that may be the spheroid, as CellProfiler measured it; None: it did not.

    Args:
        x, y: centre in pixels.
        left, top, right, bottom: bounding box in pixels, minimum inclusive, maximum exclusive.
        intensity: mean of the original under the object, 0 to 1.
        is_spheroid: as it is stored.
    """

    number: int
    area_px: float
    x: float | None = None
    y: float | None = None
    solidity: float | None = None
    eccentricity: float | None = None
    form_factor: float | None = None
    left: float | None = None
    top: float | None = None
    right: float | None = None
    bottom: float | None = None
    intensity: float | None = None
    is_spheroid: bool = False


@dataclasses.dataclass(frozen=True)
class Frame:
    """One measured image of a well.

    Args:
        hours: of its capture, from a fixed origin; None where only a file's date tells it and
            the frame's number is the better evidence.
        candidates: objects of the spheroid's kind, by falling area: at least all of `REAL_SHARE`,
            the `MOST_CANDIDATES` largest, and those that are marked as spheroids.
        decision: what a person settled; such a frame is evidence, and never changed.
        flags, checks: as they are stored.
    """

    measurement_id: int
    path: str = ""
    field: str | None = None
    channel: str | None = None
    timepoint: int | None = None
    hours: float | None = None
    width: int | None = None
    height: int | None = None
    pixel_size_um: float | None = None
    peak_probability: float | None = None
    foreground_px: int | None = None
    evidence: Mapping[str, float] = dataclasses.field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    n_objects: int = 0
    decision: str | None = None
    excluded: bool = False
    object_number: int | None = None
    area_px: float = 0.0
    flags: str = ""
    checks: str = "{}"

    @property
    def settled(self) -> bool:
        """Whether judging must leave it as it is."""
        return self.excluded or self.decision is not None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What judging made of one frame.

    Args:
        spheroid: number of the object that is the spheroid, None where there is none.
        counted: numbers of all objects that make up the area; with one spheroid, that one.
        flags: those raised, comma-separated.
        checks: JSON, flag → value, limit, raised.
    """

    spheroid: int | None
    counted: Sequence[int]
    area_px: float
    flags: str
    checks: str


@dataclasses.dataclass(frozen=True)
class Checked:
    """A frame's stored checks, for comparing with other limits."""

    measurement_id: int
    flags: str
    checks: str
