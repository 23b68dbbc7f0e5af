"""The objects of an image as a picture of their numbers; the daemon draws outlines from it."""

import logging
import os
import tempfile
from pathlib import Path

import numpy
import PIL.Image

MOST = 65_535  # what 16 bits can number


def keep_labels(objects):
    """Write a 16-bit PNG: 0, or the number of the object a pixel belongs to.

    Where objects overlap, the pixel is the first one's.  More objects than 16 bits can number
    are not written: nobody could tell them apart in a picture.

    Returns the path of a file of its own among the worker's temporary ones, None if there is
    none.  Whatever goes wrong here is no fault of the image, which keeps its area.
    """
    try:
        labels = flat(objects)
        if labels.ndim != 2 or labels.max() > MOST:
            return None
        return written(labels.astype(numpy.uint16))
    except Exception:
        logging.exception("the numbers of the objects can't be kept")
        return None


def flat(objects):
    planes = [labels for labels, _ in objects.get_labels()]
    labels = planes[0].copy()
    for plane in planes[1:]:
        labels[labels == 0] = plane[labels == 0]
    return labels


def written(labels):
    descriptor, path = tempfile.mkstemp(prefix="labels-", suffix=".png")
    try:
        with os.fdopen(descriptor, "wb") as file:
            PIL.Image.fromarray(labels).save(file, format="PNG", compress_level=1)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return path
