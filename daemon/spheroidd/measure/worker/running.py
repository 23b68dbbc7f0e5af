"""Run a loaded pipeline over a batch and collect what it measured, image by image."""

import math
import numbers
from pathlib import Path

from cellprofiler_core import preferences
from cellprofiler_core.pipeline import Listener
from crop import PlacedMeasurements
from labels import keep_labels

# Names in the measurements that are not objects.
NOT_OBJECTS = ("Image", "Experiment", "Neighbors", "Relationship")
# Columns of the image that tell of the run or the file, not of what is to be seen.
NOT_SEEN = (
    *("Execution", "FileName_", "Group_", "Height_", "ImageNumber", "Metadata_", "ModuleError_"),
    *("PathName_", "URL_", "Width_"),
)


class RunError(Exception):
    """The run failed as a whole, though pipeline and worker are sound."""


def run(pipeline, source, sets, folder, labels_of=None):
    """Measure `sets` (see ImagesFromMemory); what the pipeline saves goes to `folder`.

    Yields (key, outcome) for every set, once all are through; an outcome is
    {"error": str | None, "image": {feature: number | None},
    "objects": {name: {"count": how many, "features": {feature: [number | None]}}},
    "labels": the path of a picture, see `keep_labels`, of the objects named `labels_of`, which
    is the receiver's to remove; None}.
    Raises RunError if the run didn't get through all its steps.
    """
    preferences.set_default_output_directory(folder)
    preferences.set_default_image_directory(folder)
    source.sets, source.folder = sets, folder
    labels = {}

    def seen(workspace):
        objects, measurements = workspace.object_set, workspace.measurements
        if labels_of in objects.get_object_names():
            labels[measurements.image_set_number] = keep_labels(
                objects.get_objects(labels_of), measurements.place
            )

    pipeline.seen = seen
    problems = []
    measurements = PlacedMeasurements()
    try:
        with Listener(pipeline, lambda _, event: problems.extend(problem_of(event))):
            for _ in pipeline.run_with_yield(
                run_in_background=False, initial_measurements=measurements
            ):
                pass
        if not measurements.has_feature("Experiment", "Exit_Status"):
            problems.append("CellProfiler gave up before the first image")
        if problems:
            raise RunError("; ".join(problems))
        required = required_of(pipeline)
        for number, one in enumerate(sets, start=1):
            error = pipeline.failures.get(number) or incomplete(required, measurements, number)
            found = outcome(error, measurements, number)
            if found["error"] is None:
                found["labels"] = labels.pop(number, None)
            yield one["key"], found
    finally:
        measurements.close()
        for path in filter(None, labels.values()):  # of what failed
            Path(path).unlink(missing_ok=True)


def problem_of(event):
    """What a pipeline event says went wrong outside a single image: no or one line."""
    text = getattr(event, "error", None) or getattr(event, "message", None)
    if text is None:
        return []
    module = getattr(event, "module", None)
    return [f"{module.module_name}: {text}" if module else str(text)]


def outcome(error, measurements, number):
    if error:
        return {"error": error, "image": {}, "objects": {}, "labels": None}
    names = [name for name in measurements.get_object_names() if name not in NOT_OBJECTS]
    return {
        "error": None,
        "image": image_features(measurements, number),
        "objects": {name: object_features(measurements, name, number) for name in names},
        "labels": None,
    }


def image_features(measurements, number):
    """Every number CellProfiler has for the image as a whole, thresholds and counts included."""
    values = {
        feature: measurements.get_measurement("Image", feature, number)
        for feature in measurements.get_feature_names("Image")
        if not feature.startswith(NOT_SEEN)
    }
    return {
        feature: finite(float(value))
        for feature, value in values.items()
        if isinstance(value, numbers.Real)
    }


def required_of(pipeline):
    """The numbers of an image that say whether each module went well."""
    return [
        feature
        for object_name, feature, *_ in pipeline.get_measurement_columns()
        if object_name == "Image" and feature.startswith(("ModuleError_", "Count_"))
    ]


def incomplete(required, measurements, number):
    """Why an image can't be trusted although no module raised, or None.

    CellProfiler leaves the cells of a failed or skipped image blank; it never writes 1.
    """
    for feature in required:
        value = measurements.get_measurement("Image", feature, number)
        if value is None or math.isnan(value):
            return f"CellProfiler left no {feature}"
        if feature.startswith("ModuleError_") and value != 0:
            return f"CellProfiler reports {feature} {value}"
    return None


def object_features(measurements, name, number):
    """Every number CellProfiler has for the objects of an image, null for what is none.

    By columns, because with thousands of objects the features' names would be most of it.
    """
    count = int(measurements.get_measurement("Image", f"Count_{name}", number))
    features = {}
    for feature in measurements.get_feature_names(name):
        values = measurements.get_measurement(name, feature, number)
        if values.dtype.kind in "fiub":
            features[feature] = [finite(value) for value in values.tolist()[:count]]
    return {"count": count, "features": features}


def finite(value):
    return value if math.isfinite(value) else None
