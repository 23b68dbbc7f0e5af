"""The objects of an image as a picture of their numbers; the daemon draws outlines from it."""

import logging
import os
import tempfile
from pathlib import Path

import numpy
import PIL.Image
from PIL.PngImagePlugin import PngInfo
from place import around

MOST = 65_535  # what 16 bits can number


def keep_labels(objects, place):
    """Write a 16-bit PNG: 0, or the number of the object a pixel belongs to.

    It shows the part of the image that has objects.  Its text "place" says which one: rows
    above it, columns left of it, height and width of the image.  `place` is the part of the
    image on which the objects were found.

    Where objects overlap, the pixel is the first one's.  More objects than 16 bits can number
    are not written: nobody could tell them apart in a picture.

    Returns the path of a file of its own among the worker's temporary ones, None if there is
    none.  Whatever goes wrong here is no fault of the image, which keeps its area.
    """
    try:
        labels = flat(objects)
        if labels.ndim != 2 or labels.max() > MOST:
            return None
        taken = around(labels)
        # Of an image that the pipeline has resized, the whole is known by its labels alone.
        at = taken.within(place) if labels.shape == (place.height, place.width) else taken
        return written(labels[taken.part].astype(numpy.uint16), at)
    except Exception:
        logging.exception("the numbers of the objects can't be kept")
        return None


def flat(objects):
    planes = [labels for labels, _ in objects.get_labels()]
    labels = planes[0].copy()
    for plane in planes[1:]:
        labels[labels == 0] = plane[labels == 0]
    return labels


def written(labels, place):
    about = PngInfo()
    about.add_text("place", f"{place.top} {place.left} {place.frame[0]} {place.frame[1]}")
    descriptor, path = tempfile.mkstemp(prefix="labels-", suffix=".png")
    try:
        with os.fdopen(descriptor, "wb") as file:
            picture = PIL.Image.fromarray(labels)
            picture.save(file, format="PNG", compress_level=1, pnginfo=about)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return path
