"""Flags: what a person should know about a measurement. A flag never changes an area."""

from collections.abc import Sequence

from spheroidd.store.results import ObjectRecord


def flags(
    objects: Sequence[ObjectRecord], spheroid: int | None, size: tuple[int, int]
) -> list[str]:
    """The flags of one image, in a fixed order.

    Args:
        objects: all objects of the spheroid's kind.
        spheroid: index of the chosen one.
        size: the image's (height, width) in pixels.
    """
    if spheroid is None:
        return ["no_spheroid"]
    raised = []
    if len(objects) > 1:
        raised.append("several_objects")
    if _touches_border(objects[spheroid], size):
        raised.append("touches_border")
    return raised


def _touches_border(found: ObjectRecord, size: tuple[int, int]) -> bool:
    """CellProfiler's bounding box: minimum inclusive, maximum exclusive, in pixels."""
    box = [
        found.features.get(f"AreaShape_BoundingBox{side}_{axis}")
        for side in ("Minimum", "Maximum")
        for axis in ("X", "Y")
    ]
    if any(value is None for value in box):
        return False
    left, top, right, bottom = (value or 0.0 for value in box)
    height, width = size
    return left <= 0 or top <= 0 or right >= width or bottom >= height
