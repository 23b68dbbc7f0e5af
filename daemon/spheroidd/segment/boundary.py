"""Where does the spheroid end? The image's own answer, given a model's rough one.

A segmentation model works at 320 or 1024 pixels a side and often misses the loose outer cells of
a spheroid that darkens. What lies inside its mask shows how the spheroid looks, what lies around
it how the medium looks; every pixel near the boundary is then weighed by Bayes' rule:

    log odds = log odds of the model (blurred) + log likelihood ratio of (darkness, texture)

The likelihoods are histograms of this very image (naive about neighbours, as in Jones & Rehg
2002, Int J Comput Vis 46:81-96, for skin), so nothing is tuned to an instrument.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spheroidd.segment.appearance import Field, Mask, background, reduced, resized

_BINS = 28
_CLIP = 3.0  # of the likelihood's logarithm: no single pixel decides
_CERTAIN = 0.02  # the model's probabilities are not believed beyond this and its complement
_BAND = 0.35  # radii around the model's mask in which pixels are weighed
_SOFT = 16.0  # the model's edge may be off by the radius over this, or a few times as much
_FEWEST_PX = 50  # of the spheroid and of the medium, to know how they look


@dataclass(frozen=True)
class _Seeds:
    """The model's objects: which one each pixel is nearest to, how far, and how large that is."""

    labels: NDArray[np.int32]
    nearest: NDArray[np.int32]
    distance: Field
    radius: Field  # of the nearest one, as a disc of its area

    @property
    def largest(self) -> float:
        return float(self.radius.max())


def refit(grey: NDArray[np.uint8], probability: Field, threshold: float) -> Mask | None:
    """Draw the objects' boundaries anew.

    Args:
        grey: uint8, H×W.
        probability: H×W, 0 to 1; every object that is wanted lies above the threshold.
        threshold: 0 ≤ threshold < 1.

    Returns:
        bool, H×W, one piece without holes for each object; or None where the image shows too
        little of spheroid or medium to compare them.
    """
    picture, map_ = reduced(grey), reduced(probability)
    box = _surroundings(map_ > threshold)
    if box is None:
        return None
    depth = _depth(picture[box], map_[box], threshold)
    if depth is None:
        return None
    whole = np.full(picture.shape, -2.0, np.float32)
    whole[box] = depth
    return resized(whole, grey.shape) > 0


def _surroundings(mask: Mask) -> tuple[slice, slice] | None:
    """The objects' bounding box with enough of the medium around."""
    found = ndimage.find_objects(mask.astype(np.int8))
    if not found:
        return None
    edge = round(2 * np.sqrt(mask.sum() / np.pi)) + 16
    rows, columns = found[0]
    return (
        slice(max(0, rows.start - edge), rows.stop + edge),
        slice(max(0, columns.start - edge), columns.stop + edge),
    )


def _depth(picture: Field, probability: Field, threshold: float) -> Field | None:
    """How deep each pixel lies in the refitted objects, in pixels; 0 and less: outside."""
    seeds = _seeds(probability > threshold)
    reach = seeds.largest
    away = (seeds.distance > np.maximum(3, 0.25 * seeds.radius)) & (
        ndimage.distance_transform_edt(probability <= 0.2) > max(2, 0.1 * reach)
    )
    medium = away & (seeds.distance < np.maximum(12, 1.5 * seeds.radius))
    spheroid = (seeds.labels > 0) & (probability > max(0.7, threshold))
    if medium.sum() < _FEWEST_PX or spheroid.sum() < _FEWEST_PX:
        return None
    scale = float(np.clip(reach / 20, 1, 4))
    ratio = _likelihood_ratio(picture, spheroid, away, medium, scale, reach)
    believed = np.clip(probability, _CERTAIN, 1 - _CERTAIN)
    prior = ndimage.gaussian_filter(np.log(believed / (1 - believed)), max(0.8, reach / _SOFT))
    inside = (prior + ratio > 0) & (seeds.distance <= np.maximum(3, _BAND * seeds.radius))
    return _one_piece_each(inside, seeds)


def _seeds(mask: Mask) -> _Seeds:
    labels, _ = ndimage.label(mask)
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest = labels[rows, columns]
    radii = np.sqrt(np.bincount(labels.ravel()) / np.pi).astype(np.float32)
    return _Seeds(labels, nearest, distance.astype(np.float32), radii[nearest])


def _likelihood_ratio(
    picture: Field, spheroid: Mask, away: Mask, medium: Mask, scale: float, reach: float
) -> Field:
    """log p(look | spheroid) − log p(look | medium) of each pixel's darkness and texture."""
    light = background(picture, away.astype(np.float32), max(4.0, 0.6 * reach))
    residue = picture - light
    noise = 1.4826 * float(np.median(np.abs(residue[medium]))) + 0.5
    darkness = ndimage.gaussian_filter(residue, max(0.7, scale / 3)) / noise
    mean = ndimage.gaussian_filter(residue, scale)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(residue**2, scale) - mean**2, 0)) + 0.3
    texture = np.log(spread / np.median(spread[medium]))
    bins = (
        _binned((np.arcsinh(darkness / 2) + 4.5) / 9),
        _binned((texture + 1.5) / 5.5),
    )
    logarithm = np.log(_histogram(bins, spheroid) / _histogram(bins, medium))
    ratio = np.clip(logarithm[bins], -_CLIP, _CLIP).astype(np.float32)
    smooth: Field = ndimage.gaussian_filter(ratio, max(0.7, scale / 2))
    return smooth


def _binned(values: Field) -> NDArray[np.intp]:
    return np.clip((values * _BINS).astype(np.intp), 0, _BINS - 1)


def _histogram(bins: tuple[NDArray[np.intp], NDArray[np.intp]], where: Mask) -> NDArray[np.float64]:
    """How often each look occurs; smoothed, and never quite zero."""
    flat = np.bincount(bins[0][where] * _BINS + bins[1][where], minlength=_BINS**2)
    counts = ndimage.gaussian_filter(flat.reshape(_BINS, _BINS).astype(float), 1.0)
    shares: NDArray[np.float64] = counts / counts.sum() * 0.98 + 0.02 / _BINS**2
    return shares


def _one_piece_each(inside: Mask, seeds: _Seeds) -> Field:
    """For each object its largest piece, holes filled, less the pixel that blur adds around."""
    depth = np.full(inside.shape, -1.0, np.float32)
    nearest = np.where(inside, seeds.nearest, 0)
    for number, found in enumerate(ndimage.find_objects(nearest), start=1):
        if found is None:
            continue
        box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
        own = nearest[box] == number
        pieces, count = ndimage.label(ndimage.binary_fill_holes(own))
        sizes = np.bincount(pieces[(seeds.labels[box] == number) & own], minlength=count + 1)
        sizes[0] = 0
        if not sizes.any():
            continue
        deep = _signed(pieces == int(sizes.argmax())) - 1
        depth[box] = np.maximum(depth[box], deep)
    return depth


def _signed(piece: Mask) -> Field:
    """Distance from the edge in pixels: positive inside, negative outside."""
    within = ndimage.distance_transform_edt(piece)
    without = ndimage.distance_transform_edt(~piece)
    return np.asarray(np.where(piece, within, -without), dtype=np.float32)
