"""What is on an image: the model's answer, a second look where the evidence asks for it.

    first look → what is there at all? → sure enough? ─ yes ─▶ the model's mask
                                              └─ no ─▶ second look → boundary drawn anew

Pure but for the models: image in, mask and evidence out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from spheroidd.segment.appearance import Field, Mask, colourless, focus, grey_of, reduced
from spheroidd.segment.boundary import refit
from spheroidd.segment.objects import Objects, hint, objects_of
from spheroidd.segment.session import Session
from spheroidd.segment.trim import dense_parts

# A sharp mask is right nearly always; see bench/ACCURACY.md, "When to look twice".
_UNCERTAIN_SHARE = 0.12
_SAME = 0.82  # a boundary may be drawn anew, but not so that it is another object
_AGREED = 0.96  # two looks that overlap so well have found the boundary
_CROP = 2.0  # times the object's box
_WHOLE = 0.8  # a crop that is nearly the whole image shows nothing new

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """What was found on one image.

    Attributes:
        mask: bool, H×W.
        peak: the largest raw probability, 0 to 1.
        evidence: numbers by name, for flags: `mean_probability` within the mask,
            `uncertain_share` (pixels between 0.1 and 0.9, per pixel of the mask), `agreement`
            (intersection over union of two looks), `confirmed` (the same of the mask and the
            look that is nearest to it), `darkness` and `texture` (see `objects`),
            `ghosts` (objects left out), `looks` (runs of a model), `focus`, `background`
            (median grey value around the objects).
        field: float32, H×W; what the mask was cut out of.
        threshold: where that was.
    """

    mask: Mask
    peak: float
    evidence: dict[str, float]
    field: Field
    threshold: float

    @property
    def alpha(self) -> Field:
        """float32, H×W: how much of each pixel the white-background image shows.

        Nothing of what was left out; where nothing was found, nothing at all.
        """
        if not self.mask.any():
            return np.zeros_like(self.field)
        return np.where(self.mask | (self.field <= self.threshold), self.field, np.float32(0))


@dataclass(frozen=True)
class Finder:
    """A model with everything that decides its masks.

    Args:
        second: a small model that gives the second opinion; None: `first` looks again itself.
        refine: look again where the evidence asks for it, and draw boundaries anew.
        dense: cut off loose cells, debris and filaments (see `trim`).
    """

    first: Session
    second: Session | None
    threshold: float
    refine: bool = True
    dense: bool = False

    @property
    def trouble(self) -> str:
        """That a model lost its accelerator, and since when; empty: all is well."""
        sessions = (self.first, self.second) if self.second else (self.first,)
        return "; ".join(filter(None, (session.trouble for session in sessions)))

    @property
    def most_at_once(self) -> int:
        """How many images in hand keep its models busy, see `Session`."""
        return max(one.most_at_once for one in (self.first, self.second) if one)

    def find(self, image: Pixels) -> Finding:
        """Find the objects on an image.

        Args:
            image: uint8, H×W or H×W×3.

        Raises:
            ModelError: a model failed on it.
            AcceleratorLostError: it failed with whatever it ran on, and no image is to blame.
        """
        image = colourless(image)  # for a third of the work; every model gets the same input
        grey = grey_of(image)
        picture = reduced(grey)
        probability = self.first.probabilities(image)
        objects = objects_of(probability, self.threshold, picture)
        evidence = {"looks": 1.0}
        mask, field = objects.mask, probability
        if self.refine and _asks_for_more(probability, objects):
            again = _Again(self, image, picture)
            probability, seen, opinions = again.look(probability, objects)
            evidence |= seen
            objects = objects_of(probability, self.threshold, picture)
            mask, field = objects.mask, probability
            if seen.get("agreement", 0.0) < _AGREED:
                mask, field = _redrawn(grey, probability, objects, self.threshold)
            if "agreement" in seen:
                evidence["confirmed"] = max(_overlap(mask, opinion) for opinion in opinions)
        if self.dense and mask.any():
            mask = dense_parts(picture, mask)
        evidence |= _certainty(probability, mask)
        evidence |= _looks_of(objects, grey, picture, mask)
        return Finding(mask, objects.peak, evidence, field, self.threshold)


def _asks_for_more(probability: Field, objects: Objects) -> bool:
    """Nothing found, something doubtful, or a boundary that the model is not sure of."""
    if not objects.found or objects.ghosts:
        return True
    return bool(_uncertain_px(probability) > _UNCERTAIN_SHARE * objects.mask.sum())


def _uncertain_px(probability: Field) -> int:
    return int(np.count_nonzero((probability > 0.1) & (probability < 0.9)))


@dataclass(frozen=True)
class _Again:
    """The second look at one image."""

    finder: Finder
    image: Pixels
    picture: Field

    def look(
        self, first: Field, objects: Objects
    ) -> tuple[Field, dict[str, float], tuple[Mask, ...]]:
        """All looks together (the larger probability of each pixel), how they agree, and the
        masks that the first and the other ones give."""
        threshold, second = self.finder.threshold, self.finder.second
        own, shared = objects.mask, (slice(None), slice(None))
        looks, together, other = 1, first, np.zeros_like(first)
        if second is not None:
            looks += 1
            other = second.probabilities(self.image)
            together = np.maximum(first, other)
            objects = objects_of(together, threshold, self.picture)
        place = objects.mask if objects.found else hint(together, self.picture)
        crop = _crop(place)
        if crop is not None:
            looks += 1
            near = np.zeros_like(first)
            closer = second or self.finder.first
            near[crop] = closer.probabilities(np.ascontiguousarray(self.image[crop]))
            near = _touching(near, place, threshold)
            if second is None:  # what lies outside the crop was looked at once
                shared = crop
            together, other = np.maximum(together, near), np.maximum(other, near)
        seen, opinion = {"looks": float(looks)}, own
        if looks > 1:
            opinion = objects_of(other, threshold, self.picture).mask
            if own.any() or opinion.any():
                seen["agreement"] = _overlap(own[shared], opinion[shared])
        return together, seen, (own, opinion)


def _crop(mask: Mask) -> tuple[slice, slice] | None:
    """Around the largest object; None where there is none, or it needs the whole image."""
    labels, count = ndimage.label(mask)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    box = ndimage.find_objects(labels)[largest - 1]
    wide = tuple(
        slice(
            max(0, round((s.start + s.stop) / 2 - _CROP * (s.stop - s.start) / 2)),
            min(length, round((s.start + s.stop) / 2 + _CROP * (s.stop - s.start) / 2)),
        )
        for s, length in zip(box, mask.shape, strict=True)
    )
    rows, columns = wide
    size = (rows.stop - rows.start) * (columns.stop - columns.start)
    return None if size > _WHOLE * mask.size else (rows, columns)


def _touching(near: Field, mask: Mask, threshold: float) -> Field:
    """What a crop shows of known objects; what it shows beside them is out of its context."""
    labels, count = ndimage.label(near > threshold)
    known = np.zeros(count + 1, bool)
    known[np.unique(labels[mask])] = True
    known[0] = True  # below the threshold: no harm
    return np.where(known[labels], near, np.float32(0))


def _overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float((one & other).sum()) / max(1, int((one | other).sum()))


def _redrawn(
    grey: Pixels, probability: Field, objects: Objects, threshold: float
) -> tuple[Mask, Field]:
    if not objects.found:
        return objects.mask, probability
    wanted = np.where(objects.mask, probability, np.minimum(probability, np.float32(threshold)))
    mask = refit(grey, wanted, threshold)
    if mask is None or _overlap(mask, objects.mask) < _SAME:
        return objects.mask, probability
    return mask, mask.astype(np.float32)


def _certainty(probability: Field, mask: Mask) -> dict[str, float]:
    size = int(mask.sum())
    if not size:
        return {}
    return {
        "mean_probability": float(probability[mask].mean()),
        "uncertain_share": min(99.0, _uncertain_px(probability) / size),
    }


def _looks_of(objects: Objects, grey: Pixels, picture: Field, mask: Mask) -> dict[str, float]:
    looks = {
        "ghosts": float(objects.ghosts),
        "focus": focus(picture),
        "background": _median_around(grey, mask),
    }
    measured = {"darkness": objects.darkness, "texture": objects.texture}
    return looks | {
        name: value for name, value in measured.items() if value is not None and np.isfinite(value)
    }


def _median_around(grey: Pixels, mask: Mask) -> float:
    """The median grey value outside the mask; of the whole image where there is no outside."""
    counts = np.array(Image.fromarray(grey).histogram())
    if not mask.all():
        counts -= np.bincount(grey[mask], minlength=256)
    below, total = np.cumsum(counts), int(counts.sum())
    middle = np.searchsorted(below, [(total - 1) // 2, total // 2], side="right")
    return float(middle.mean())
