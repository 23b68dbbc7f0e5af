"""Which of the things that a model points at are there at all? Ghosts and specks are not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from spheroidd.segment.appearance import Field, Mask, bounding_box, unlike

# Limits are explained, with the figures they come from, in bench/ACCURACY.md, "Ghosts".
SMALLEST_SHARE = 0.0005  # of the image; debris is smaller, spheroids are not
_SURE_PEAK = 0.93  # a model that is sure
_FAIR_PEAK, _STRIKING = 0.85, 8.0  # or nearly sure, of something that stands out
_DARKER, _ROUGHER = 3.0, 4.0  # than the medium, in robust standard deviations: either is enough
_MOST_COMPARED = 20  # objects, the largest: their looks are measured
_FAINTEST = 0.05  # a suspicion weaker than this is none


@dataclass(frozen=True)
class Objects:
    """What was kept of a model's map.

    Attributes:
        mask: bool, H×W; the objects that are there.
        peak: largest probability of any object, kept or not; 0 where there was none.
        darkness, texture: how unlike the medium the largest object looks (kept ones first), in
            robust standard deviations; None where there was none to look at.
        ghosts: how many were left out because they look like the medium, or the model wavered.
    """

    mask: Mask
    peak: float
    darkness: float | None
    texture: float | None
    ghosts: int

    @property
    def found(self) -> bool:
        return bool(self.mask.any())


def objects_of(probability: Field, threshold: float, picture: Field) -> Objects:
    """Sort out what is there.

    Args:
        probability: float32, H×W, 0 to 1; raw, never stretched.
        threshold: 0 ≤ threshold < 1.
        picture: float32, the grey image, reduced as `appearance.reduced` does.
    """
    labels, box, sizes = _labelled(probability > threshold)
    large = np.flatnonzero(sizes >= SMALLEST_SHARE * labels.size)
    if not large.size:
        peak = float(probability.max())
        return Objects(np.zeros(labels.shape, bool), peak, None, None, ghosts=0)
    large = large[np.argsort(-sizes[large], kind="stable")]
    inside = labels[box] > 0
    highest = np.zeros(sizes.size, np.float32)
    np.maximum.at(highest, labels[box][inside], probability[box][inside])
    peaks = highest[large]
    darkness, texture = _looks(labels, large[:_MOST_COMPARED], picture)
    there = _are_there(peaks, darkness, texture)
    if np.isinf(darkness[0]) and darkness[0] > 0:  # it fills the field: the model's word alone
        there &= float(probability[labels == large[0]].mean()) >= _SURE_PEAK
    kept = np.zeros(sizes.size, bool)
    kept[large[there]] = True
    mask = np.zeros(labels.shape, bool)
    mask[box] = kept[labels[box]]
    first = int(np.argmax(there)) if there.any() else 0
    return Objects(
        mask=mask,
        peak=float(peaks.max()),
        darkness=float(darkness[first]),
        texture=float(texture[first]),
        ghosts=int(np.count_nonzero(~there)),
    )


def hint(probability: Field, picture: Field) -> Mask:
    """Where to look closer when nothing was found.

    The largest place that the model suspects, more than half as much as any, and that looks
    unlike the medium; all False where there is none.
    """
    suspected = float(probability.max()) / 2
    labels, _box, sizes = _labelled(probability > max(_FAINTEST, suspected))
    largest = int(sizes.argmax())
    if sizes[largest] < SMALLEST_SHARE * labels.size:
        return np.zeros(labels.shape, bool)
    [darkness], [texture] = _looks(labels, np.array([largest]), picture)
    stands_out = np.isfinite(darkness) and (darkness >= _DARKER or texture >= _ROUGHER)
    place: Mask = (labels == largest) & bool(stands_out)
    return place


def _labelled(
    mask: Mask,
) -> tuple[NDArray[np.int32], tuple[slice, slice], NDArray[np.intp]]:
    """The mask's pieces by number, the box that holds them all, and their sizes (0 for the rest).

    Most of an image is empty, and is only looked through once.
    """
    box = bounding_box(mask)
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask[box], output=labels[box])
    sizes = np.bincount(labels[box].ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, box, sizes


def _looks(
    labels: NDArray[np.int32], chosen: NDArray[np.intp], picture: Field
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Darkness and texture of the chosen objects; infinite where no medium is left to compare.

    A thread so thin that the reduced picture has no pixel of it looks like nothing: −infinity.
    """
    renumbered = np.zeros(labels.max() + 1, np.int32)
    renumbered[chosen] = np.arange(1, chosen.size + 1)
    shape = picture.shape[::-1]
    small = np.asarray(Image.fromarray(labels).resize(shape, Image.Resampling.NEAREST))
    small = renumbered[small]
    seen = np.bincount(small.ravel(), minlength=chosen.size + 1)[1:] > 0
    darkness, texture = np.full((2, chosen.size), -np.inf)
    if seen.any():
        found = unlike(picture, np.append(0, np.cumsum(seen)).astype(np.int32)[small])
        darkness[seen] = np.inf if found is None else found.darkness
        texture[seen] = np.inf if found is None else found.texture
    return darkness, texture


def _are_there(
    peaks: NDArray[np.float32], darkness: NDArray[np.float64], texture: NDArray[np.float64]
) -> Mask:
    """One answer for each object.

    Those beyond the compared ones go by the model alone, but not where all compared are ghosts.
    """
    there = peaks >= _SURE_PEAK
    compared = slice(0, darkness.size)
    there[compared] |= (peaks[compared] >= _FAIR_PEAK) & (darkness >= _STRIKING)
    there[compared] &= (darkness >= _DARKER) | (texture >= _ROUGHER)
    return there & there[compared].any()
