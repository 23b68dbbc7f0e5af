"""Where in a frame a part of it lies."""

from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class Place:
    """Pixels from the frame's top and left, size of the part; (height, width) of the frame."""

    top: int
    left: int
    height: int
    width: int
    frame: tuple

    @property
    def part(self):
        """The index that takes it out of the frame's pixels."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)

    def within(self, outer):
        """The place in `outer`'s frame of a part of the part that `outer` is."""
        top, left = outer.top + self.top, outer.left + self.left
        return Place(top, left, self.height, self.width, outer.frame)


def whole(shape):
    return Place(0, 0, *shape, tuple(shape))


def around(pixels, margin=0):
    """The least part of a picture that holds all that is not 0; one pixel if all is."""
    rows, columns = numpy.flatnonzero(pixels.any(axis=1)), numpy.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        rows = columns = numpy.zeros(1, int)
    height, width = pixels.shape
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    bottom = min(height, int(rows[-1]) + 1 + margin)
    right = min(width, int(columns[-1]) + 1 + margin)
    return Place(top, left, bottom - top, right - left, (height, width))
