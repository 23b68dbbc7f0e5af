"""Cut loose cells, debris and thin filaments off a spheroid's mask; an option, never the default.

What counts as the spheroid is the biologist's choice: the published Cell-IQ areas include loose
outer cells, those of Ewing sarcoma spheroids (WIS-MICC) end at the dense body.
"""

import numpy as np
from scipy import ndimage

from spheroidd.segment.appearance import Field, Mask, background, reduced, resized

_DENSE = 0.4  # of the way from the medium's brightness to the object's darkest tenth
_FILAMENT = 1 / 12  # of the radius: what is thinner than twice this goes


def dense_parts(picture: Field, mask: Mask) -> Mask:
    """The dense body of each object.

    Args:
        picture: float32, the grey image, reduced.
        mask: bool, H×W.

    Returns:
        bool, H×W, within `mask`; an object without a dense body stays as it is.
    """
    small = reduced(mask.astype(np.float32)) > 0.5
    labels, count = ndimage.label(small)
    if not count:
        return mask
    radius = float(np.sqrt(np.bincount(labels.ravel())[1:].max() / np.pi))
    outside = ndimage.distance_transform_edt(~small) > max(3, 0.25 * radius)
    light = background(picture, outside.astype(np.float32), max(4.0, 0.6 * radius))
    dark = light - ndimage.gaussian_filter(picture, max(1.0, radius / 25))
    kept = np.zeros(small.shape, np.float32)
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
        kept[box][_dense(labels[box] == number, dark[box])] = 1
    return mask & (resized(kept, mask.shape) > 0.5)


def _dense(own: Mask, dark: Field) -> Mask:
    most = float(np.percentile(dark[own], 90))
    if most <= 0:
        return own  # brighter than the medium: there is no dense body to speak of
    body = ndimage.binary_fill_holes(own & (dark >= _DENSE * most))
    radius = np.sqrt(own.sum() / np.pi) * _FILAMENT
    inner = ndimage.distance_transform_edt(body) > radius
    if not inner.any():
        return own  # no dense body: nothing of it is thick enough
    opened = ndimage.distance_transform_edt(~inner) <= radius
    pieces, _ = ndimage.label(opened & body)
    largest: Mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return largest
