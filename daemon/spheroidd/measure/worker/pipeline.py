"""Load one CellProfiler pipeline, fit it with our images, and say what is wrong with it."""

import hashlib
import io
import re
from pathlib import Path

from cellprofiler_core.pipeline import Pipeline
from cellprofiler_core.setting import ValidationError
from crop import fit_for_crop
from images import ImagesFromMemory
from inputs import (
    INPUT_MODULES,
    asked_for,
    declared_types,
    kind_of,
    match,
    refuse_loaded_objects,
)
from unattended import PipelineError, make_unattended, place_of

AREA = "AreaShape_Area"


class RecordingPipeline(Pipeline):
    """A pipeline that refuses what it can't know, and remembers which module failed where."""

    def __init__(self):
        super().__init__()
        self.failures = {}
        self.seen = None  # called with each image's workspace at its end

    def setup_module(self, attribute_string, module_name, **rest):
        module = super().setup_module(attribute_string, module_name, **rest)
        saved = re.search(r"variable_revision_number:(\d+)", attribute_string)
        if int(saved[1]) > module.variable_revision_number:
            # CellProfiler would read the settings in the order of its own revision.
            raise ValueError(f"{module_name} was saved by a newer CellProfiler than this one")
        return module

    def run_module(self, module, workspace):
        try:
            module.run(workspace)
            if self.seen and module is self.modules()[-1]:
                self.seen(workspace)
        except Exception as error:
            number = workspace.measurements.image_set_number
            self.failures[number] = f"{module.module_name}: {error or type(error).__name__}"
            raise


def load(path, given):
    """A checked pipeline, with `ImagesFromMemory` in place of its input modules.

    `given` is the configuration's word on image names: {the pipeline's name: one of OFFERED}.
    Returns (pipeline, its input module, sha256 of the file).  Raises PipelineError.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PipelineError(f"it can't be read: {error.strerror}") from error
    pipeline = parse(content)
    types = declared_types(pipeline)
    for module in list(pipeline.modules(False)):
        if module.module_name in INPUT_MODULES:
            pipeline.remove_module(module.module_num)
    source = ImagesFromMemory()
    source.set_module_num(1)
    pipeline.add_module(source)
    # Before the check, which would have ExportToDatabase look for its database.
    make_unattended(pipeline)
    matched = match(asked_for(pipeline, types), types, given)
    source.wanted = {
        name: (offered, *kind_of(name, types, pipeline)) for name, offered in matched.items()
    }
    refuse_loaded_objects(pipeline, types)
    check(pipeline)
    require_areas(pipeline)
    source.on_crop = fit_for_crop(pipeline, source.wanted)
    return pipeline, source, hashlib.sha256(content).hexdigest()


def parse(content):
    if not content.startswith(b"CellProfiler Pipeline:"):
        raise PipelineError("it is not a CellProfiler pipeline (.cppipe)")
    pipeline = RecordingPipeline()
    try:
        # `loadtxt`, because `load` drops unknown modules with no more than a log line.
        pipeline.loadtxt(io.StringIO(content.decode("utf-8")), raise_on_error=True)
    except Exception as error:
        raise PipelineError(f"CellProfiler can't read it: {error}") from error
    return pipeline


def check(pipeline):
    """Raise PipelineError for the first module that can't run with these settings."""
    for module in pipeline.modules():
        try:
            module.test_valid(pipeline)
        except ValidationError as error:
            raise PipelineError(f"{place_of(module)}: {error.message}") from error


def objects_of(pipeline):
    """The names of the objects the pipeline makes, in the order of its modules."""
    return list(pipeline.get_provider_dictionary("objectgroup"))


def measured_of(pipeline):
    """Those of `objects_of` whose area the pipeline measures."""
    columns = pipeline.get_measurement_columns()
    measured = {name for name, feature, *_ in columns if feature == AREA}
    return [name for name in objects_of(pipeline) if name in measured]


def require_areas(pipeline):
    """Raise PipelineError where no area can come out: it would be taken for an empty image."""
    objects = objects_of(pipeline)
    if not objects:
        raise PipelineError(
            "it makes no objects; add IdentifyPrimaryObjects, and MeasureObjectSizeShape after it"
        )
    if not measured_of(pipeline):
        raise PipelineError(
            f"it measures no area ({AREA}); add MeasureObjectSizeShape for {' or '.join(objects)}"
        )
