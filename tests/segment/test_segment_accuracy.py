"""U²-Net-p on the real Cell-IQ series, against the published pipeline's own areas."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from spheroidd.segment.mask import Segmentation, segment


@pytest.fixture(scope="module")
def series(session, real_data) -> list[tuple[Segmentation, int]]:
    """Each frame segmented at 0.5, and the published largest object's area with holes filled."""
    folder = real_data / "cell-iq-timelapse"
    frames = sorted((folder / "export").rglob("*.jpg"))
    with (folder / "seed_output" / "areas.csv").open(newline="") as handle:
        areas = [int(row["largest_object_px_holes_filled"]) for row in csv.DictReader(handle)]
    segmented = []
    for frame in frames:
        image = np.asarray(Image.open(frame).convert("RGB"))
        segmented.append(segment(image, session.probabilities(image), 0.5))
    return list(zip(segmented, areas, strict=True))


def largest_filled(foreground: np.ndarray) -> int:
    labels, _count = ndimage.label(foreground)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return int(ndimage.binary_fill_holes(labels == sizes.argmax()).sum())


@pytest.mark.slow
def test_mask_area_agrees_with_the_published_result(series) -> None:
    errors = [largest_filled(found.mask) / area - 1 for found, area in series]
    assert np.median(errors) == pytest.approx(-0.033, abs=0.005)
    assert np.median(np.abs(errors)) < 0.038
    assert min(errors) > -0.5


@pytest.mark.slow
def test_white_background_area_agrees_better(series) -> None:
    """The route of the published pipeline: pixels below 217 on white."""
    errors = []
    for found, area in series:
        grey = np.asarray(Image.fromarray(found.white).convert("L"))
        errors.append(largest_filled(grey < 217) / area - 1)
    assert np.median(errors) == pytest.approx(-0.008, abs=0.005)
    assert np.median(np.abs(errors)) < 0.025
    assert min(errors) > -0.28


@pytest.mark.slow
def test_every_frame_with_a_spheroid_has_a_high_peak(series) -> None:
    assert min(found.peak_probability for found, _area in series) > 0.94
