"""`Threshold_SumOfEntropies` of a mask: CellProfiler's own number, without its work.

CellProfiler multiplies every pixel with noise that is the same for all images of one size, and
puts the logarithms of the white pixels and of the black ones into a histogram each, from the
darkest to white.  So which bin a pixel falls into depends on its place and its colour alone, and
on which of the black pixels is the darkest: it is reckoned once, and holds for many images.
"""

import functools

import numpy
from centrosome.smooth import smooth_with_noise
from centrosome.threshold import sum_of_entropies

BINS = 256
BLACK = 1 / 256  # what CellProfiler takes for black, where white is 1
DARKEST = 64
FEW = 64  # of so many white pixels, one at least is made brighter than white, and cut to it


def of_mask(part, place):
    """The number for a whole mask, of which `part` (bool) has all that is white, at `place`."""
    white = int(part.sum())
    if white in (0, place.frame[0] * place.frame[1]):
        return 0.0
    darkest = darkest_black(part, place)
    if white < FEW or darkest is None:
        mask = numpy.zeros(place.frame, bool)
        mask[place.part] = part
        return sum_of_entropies(mask.astype(float), numpy.ones_like(mask), mask)
    if_white, if_black, all_black = bins_of(place.frame, darkest)
    inside = numpy.bincount(if_white[place.part][part], minlength=BINS)
    outside = all_black - numpy.bincount(if_black[place.part][part], minlength=BINS)
    return entropy(inside) + entropy(outside)


def darkest_black(part, place):
    """The logarithm of the darkest pixel that is black; None if it is none of the darkest."""
    for row, column, darkness in darkest_of(place.frame):
        down, across = row - place.top, column - place.left
        within = 0 <= down < place.height and 0 <= across < place.width
        if not (within and part[down, across]):
            return darkness
    return None


@functools.lru_cache(maxsize=8)
def darkest_of(frame):
    """(row, column, logarithm) of the darkest pixels of a frame that is black, darkest first."""
    black = noise(frame, BLACK)
    few = numpy.argpartition(black, min(DARKEST, black.size - 1), axis=None)[:DARKEST]
    few = few[numpy.argsort(black.flat[few])]
    return [(*numpy.unravel_index(one, frame), black.flat[one]) for one in few]


@functools.lru_cache(maxsize=4)
def bins_of(frame, darkest):
    """The bin of each pixel if it is white, and if it is black; how many are in each if all are
    black."""
    inner = numpy.histogram_bin_edges([], BINS, range=(darkest, 0.0))[1:-1]
    if_white, if_black = (
        numpy.searchsorted(inner, noise(frame, level), side="right").astype(numpy.uint8)
        for level in (1.0, BLACK)
    )
    return if_white, if_black, numpy.bincount(if_black.ravel(), minlength=BINS)


def noise(frame, level):
    return numpy.log2(smooth_with_noise(numpy.full(frame, level), 8))


def entropy(counts):
    shares = counts[counts > 0].astype(float) / float(counts.sum())
    return numpy.sum(shares * numpy.log2(shares))
