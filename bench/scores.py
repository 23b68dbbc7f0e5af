"""How good one result is, and how good many are: pure functions over masks and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cases import Frame
from methods import Found, Verdict

WRONG = 0.10
"""A relative area error above this is a wrong area."""
Mask = NDArray[np.bool_]

# Flags that tell what the scene was made to be are right even where the area is right, too.
_TRUE_OF = {
    "border": {"touches_border"},
    "several": {"several_objects", "ambiguous"},
    "defocus": {"low_focus"},
}


@dataclass(frozen=True)
class Score:
    """One line's result on one frame.

    Attributes:
        set, kind, well, frame, line: what was measured.
        area: pixels found, 0 for no spheroid.
        true_area: None where nothing is known; 0 in an empty well.
        iou: with the true mask, where there is one.
        iou_all: of all that was found with all true spheroids.
        wrong_object: most of the smaller of the two masks lies outside the other.
        other_spheroid: and it is another spheroid, not debris or light.
        objects: found objects of at least a tenth of the largest one's area.
        flags: raised on it.
        evidence: numbers of the method.
    """

    set: str
    kind: str
    well: str
    frame: str
    line: str
    area: int
    true_area: int | None
    iou: float | None = None
    iou_all: float | None = None
    wrong_object: bool = False
    other_spheroid: bool = False
    objects: int = 0
    flags: tuple[str, ...] = ()
    evidence: dict[str, float] = field(default_factory=dict)

    @property
    def ghost(self) -> bool:
        return self.true_area == 0 and self.area > 0

    @property
    def miss(self) -> bool:
        return bool(self.true_area) and self.area == 0

    @property
    def error(self) -> float | None:
        """Relative area error; None in an empty well, or where nothing is known."""
        return self.area / self.true_area - 1 if self.true_area else None

    @property
    def wrong(self) -> bool:
        """An area that a user should not believe."""
        return self.ghost or self.wrong_object or (self.error is not None and self.off)

    @property
    def off(self) -> bool:
        return self.error is not None and abs(self.error) > WRONG

    @property
    def flagged(self) -> bool:
        """A doubt was raised; `no_spheroid` is an answer, right or wrong, and no doubt."""
        return bool(set(self.flags) - {"no_spheroid"})

    @property
    def flagged_falsely(self) -> bool:
        """A doubt was raised that the scene, by its making, does not deserve."""
        return bool(set(self.flags) - {"no_spheroid"} - _TRUE_OF.get(self.kind, set()))


def score(
    well: tuple[str, str, str], line: str, frame: Frame, found: Found, said: Verdict
) -> Score:
    """Compare one result with what is true.

    Args:
        well: its set, kind and name.
        line: the line's name.
        frame: the image and its truth.
        found: what the method made of it.
        said: what the judge chose.
    """
    area = int(said.mask.sum())
    everything = None if frame.truth is None else union(frame.truth, frame.others)
    other = frame.others is not None and area > 0 and overlap(said.mask, frame.others) >= 0.5
    wrong = area > 0 and bool(frame.area) and frame.truth is not None
    wrong = wrong and frame.truth is not None and overlap(said.mask, frame.truth) < 0.5
    return Score(
        *well,
        frame.name,
        line,
        area,
        frame.area,
        iou=None if frame.truth is None or not frame.area else iou(said.mask, frame.truth),
        iou_all=None if everything is None or not frame.area else iou(found.mask, everything),
        wrong_object=wrong,
        other_spheroid=wrong and other,
        objects=count_objects(found.mask),
        flags=said.flags,
        evidence=found.evidence,
    )


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union; 1 where both are empty."""
    together = int((one | other).sum())
    return float((one & other).sum() / together) if together else 1.0


def overlap(one: Mask, other: Mask) -> float:
    """Share of the smaller mask that lies in the other; 0 where either is empty."""
    smaller = min(int(one.sum()), int(other.sum()))
    return float((one & other).sum() / smaller) if smaller else 0.0


def union(one: Mask, other: Mask | None) -> Mask:
    return one if other is None else one | other


def count_objects(mask: Mask) -> int:
    """Connected objects of at least a tenth of the largest one's area."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return 0
    sizes = np.bincount(labels.ravel())[1:]
    return int((sizes >= 0.1 * sizes.max()).sum())


def summary(scores: Sequence[Score]) -> dict[str, float | int | None]:
    """The figures of one line over some frames; None where there is nothing to count.

    Rates are shares: ghosts of empty wells, misses and wrong objects of wells with a spheroid.
    Recall is the share of wrong areas that are flagged, precision the share of flagged ones that
    are wrong.
    """
    known = [one for one in scores if one.true_area is not None]
    empty = [one for one in known if one.true_area == 0]
    full = [one for one in known if one.true_area]
    errors = [abs(one.error) for one in full if one.error is not None]
    overlaps = [one.iou for one in full if one.iou is not None]
    wrong, right = [s for s in known if s.wrong], [s for s in known if not s.wrong]
    flagged = [s for s in known if s.flagged]
    return {
        "frames": len(scores),
        "with_reference": len(known),
        "iou_median": median(overlaps) if overlaps else None,
        "iou_worst": min(overlaps) if overlaps else None,
        "area_error_median": median(errors) if errors else None,
        "area_error_worst": max(errors) if errors else None,
        "off_by_more_than_10_percent": sum(one.off for one in full),
        "empty": len(empty),
        "ghost_rate": _share([s.ghost for s in empty]),
        "miss_rate": _share([s.miss for s in full]),
        "wrong_object_rate": _share([s.wrong_object for s in full]),
        "other_spheroid_rate": _share([s.other_spheroid for s in full]),
        "wrong": len(wrong),
        "flag_recall": _share([s.flagged for s in wrong]),
        "flag_precision": _share([s.wrong for s in flagged]),
        "right_ones_flagged": _share([s.flagged for s in right]),
        "right_ones_flagged_falsely": _share([s.flagged_falsely for s in right]),
        "largest_step": _largest_step(scores),
        "largest_true_step": _largest_true_step(scores),
        "objects_median": median([s.objects for s in scores]) if scores else None,
    }


def _share(answers: Sequence[bool]) -> float | None:
    return sum(answers) / len(answers) if answers else None


def _largest_step(scores: Sequence[Score]) -> float | None:
    """The largest relative change of a well's area from one frame to the next."""
    return _step([(one.well, one.area) for one in scores])


def _largest_true_step(scores: Sequence[Score]) -> float | None:
    """The same of the true areas, where they are known."""
    return _step([(s.well, s.true_area) for s in scores if s.true_area is not None])


def _step(areas: Sequence[tuple[str, int]]) -> float | None:
    steps = [
        abs(later - earlier) / (earlier or later)
        for (well, earlier), (next_well, later) in pairwise(areas)
        if well == next_well and (earlier or later)
    ]
    return max(steps) if steps else None
