"""Run a loaded pipeline over a batch and collect what it measured, image by image."""

import math

from cellprofiler_core import preferences
from cellprofiler_core.measurement import Measurements
from cellprofiler_core.pipeline import Listener

# Names in the measurements that are not objects.
NOT_OBJECTS = ("Image", "Experiment", "Neighbors", "Relationship")


class RunError(Exception):
    """The run failed as a whole, though pipeline and worker are sound."""


def run(pipeline, source, sets, folder):
    """Measure `sets` (see ImagesFromMemory); what the pipeline saves goes to `folder`.

    Returns {key: {"error": str | None, "objects": {name: [{feature: number | None}]}}}.
    Raises RunError if the run didn't get through all its steps.
    """
    preferences.set_default_output_directory(folder)
    preferences.set_default_image_directory(folder)
    source.sets, source.folder = sets, folder
    problems = []
    measurements = Measurements(mode="memory")
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
        return {
            one["key"]: outcome(pipeline, measurements, number)
            for number, one in enumerate(sets, start=1)
        }
    finally:
        measurements.close()


def problem_of(event):
    """What a pipeline event says went wrong outside a single image: no or one line."""
    text = getattr(event, "error", None) or getattr(event, "message", None)
    if text is None:
        return []
    module = getattr(event, "module", None)
    return [f"{module.module_name}: {text}" if module else str(text)]


def outcome(pipeline, measurements, number):
    error = pipeline.failures.get(number) or incomplete(pipeline, measurements, number)
    if error:
        return {"error": error, "objects": {}}
    names = [name for name in measurements.get_object_names() if name not in NOT_OBJECTS]
    return {
        "error": None,
        "objects": {name: rows_of(measurements, name, number) for name in names},
    }


def incomplete(pipeline, measurements, number):
    """Why an image can't be trusted although no module raised, or None.

    CellProfiler leaves the cells of a failed or skipped image blank; it never writes 1.
    """
    for object_name, feature, *_ in pipeline.get_measurement_columns():
        if object_name != "Image":
            continue
        expected = feature.startswith(("ModuleError_", "Count_"))
        value = measurements.get_measurement("Image", feature, number) if expected else None
        if expected and (value is None or math.isnan(value)):
            return f"CellProfiler left no {feature}"
        if feature.startswith("ModuleError_") and value != 0:
            return f"CellProfiler reports {feature} {value}"
    return None


def rows_of(measurements, name, number):
    """One dict per object of an image: every number CellProfiler has for it, null if none."""
    columns = {}
    for feature in measurements.get_feature_names(name):
        values = measurements.get_measurement(name, feature, number)
        if values.dtype.kind in "fiub":
            columns[feature] = values.tolist()
    count = int(measurements.get_measurement("Image", f"Count_{name}", number))
    return [
        {feature: finite(values[row]) for feature, values in columns.items() if row < len(values)}
        for row in range(count)
    ]


def finite(value):
    return value if math.isfinite(value) else None
