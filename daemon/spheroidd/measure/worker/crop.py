"""Measuring on the part of the images where the mask has its objects, with the same numbers.

A spheroid covers a tenth of its field, and CellProfiler goes over every pixel dozens of times.
Where only these modules work, and only like this, what lies beyond a margin of one black pixel
around everything white changes no number but the objects' places, which are put right as they
are stored, and two numbers of the mask as a whole, which `entropy.py` has.  At the rim of the
image there is no margin: what touches it, touches it here too.
"""

import re

import numpy
from cellprofiler.modules.identifyprimaryobjects import UN_NONE, WA_NONE
from cellprofiler.modules.threshold import TM_MANUAL, TS_GLOBAL
from cellprofiler_core.measurement import Measurements
from entropy import of_mask
from images import GRAYSCALE, MASK
from memory import Shelf

POSITION = re.compile(
    "(?:Location_(?:Center|CenterMassIntensity|MaxIntensity)"
    "|AreaShape_(?:Center|BoundingBoxMinimum|BoundingBoxMaximum))_([XY])(?:_|$)"
)


class PlacedMeasurements(Measurements):
    """Measurements in memory that take positions on a part of the images, and hold those on the
    whole.

    `place` is that of the image set at hand.
    """

    def __init__(self):
        super().__init__(mode="memory")
        self.hdf5_dict.top_group = Shelf()
        self.place = None

    def add_measurement(self, object_name, feature_name, data, *rest, **options):
        found = POSITION.match(feature_name)
        shift = found and self.place and (self.place.left if found[1] == "X" else self.place.top)
        if shift and len(data):
            data = numpy.asarray(data) + shift
        super().add_measurement(object_name, feature_name, data, *rest, **options)


def fit_for_crop(pipeline, wanted):
    """Whether the pipeline gives the same numbers on a part of its images; if so, it is fitted
    for that.

    `wanted` is `ImagesFromMemory`'s.  A module or a setting that is not known to be safe is not.
    """
    masks = [name for name, (*ours, _) in wanted.items() if ours == ["Mask", MASK]]
    if not all(kind in (GRAYSCALE, MASK) for _, kind, _ in wanted.values()):
        return False
    identify = []
    for module in pipeline.modules():
        name = module.module_name
        if name == "IdentifyPrimaryObjects" and finds_what_is_white(module, masks):
            identify.append(module)
        elif name == "MeasureObjectSizeShape":
            if module.calculate_zernikes.value or module.calculate_advanced.value:
                return False
        elif name not in ("ImagesFromMemory", "MeasureObjectIntensity", "ExportToSpreadsheet"):
            return False
    for module in identify:
        module.threshold.add_fg_bg_measurements = add_mask_measurements
    return True


def finds_what_is_white(module, masks):
    """Whether IdentifyPrimaryObjects takes all of a mask that is white, and only that."""
    threshold = module.threshold
    return (
        module.x_name.value in masks
        and module.advanced
        and (module.unclump_method.value == UN_NONE or module.watershed_method.value == WA_NONE)
        and threshold.threshold_scope.value == TS_GLOBAL
        and threshold.threshold_operation == TM_MANUAL
        and 0 < threshold.manual_threshold.value <= 1
        and threshold.threshold_smoothing_scale.value == 0
    )


def add_mask_measurements(object_name, measurements, image, _binary):
    """Takes the place of `Threshold.add_fg_bg_measurements` for a mask: the same numbers.

    Within what is white, and within what is black, the brightness does not vary.
    """
    measurements.add_measurement("Image", f"Threshold_WeightedVariance_{object_name}", 0.0)
    entropies = of_mask(image.pixel_data > 0, measurements.place)
    measurements.add_measurement("Image", f"Threshold_SumOfEntropies_{object_name}", entropies)
