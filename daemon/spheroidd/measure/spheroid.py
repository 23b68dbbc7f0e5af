"""Which of the objects in an image is the spheroid?"""

from collections.abc import Sequence

from spheroidd.store.results import ObjectRecord


def choose(objects: Sequence[ObjectRecord]) -> int | None:
    """Index of the largest object by area; None where there is none.

    Equal areas: the first as CellProfiler numbers them, so the choice is repeatable.
    """
    areas = [found.area_px or 0.0 for found in objects]
    if not areas or max(areas) <= 0:
        return None
    return areas.index(max(areas))
