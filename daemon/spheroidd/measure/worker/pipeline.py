"""Load one CellProfiler pipeline, fit it with our images, and say what is wrong with it."""

import hashlib
import io
import re
from pathlib import Path

from cellprofiler_core.pipeline import Pipeline
from cellprofiler_core.setting import ValidationError
from cellprofiler_core.setting.multichoice import ImageNameSubscriberMultiChoice
from cellprofiler_core.setting.subscriber import Subscriber
from images import COLOR, GRAYSCALE, MASK, OFFERED, ImagesFromMemory

INPUT_MODULES = ("Images", "Metadata", "NamesAndTypes", "Groups", "LoadData")
# How NamesAndTypes calls its image types; "Mask" is what CellProfiler 2 wrote.
KINDS = {
    "Grayscale image": GRAYSCALE,
    "Color image": COLOR,
    "Binary mask": MASK,
    "Mask": MASK,
}
# LoadData knows no image types: there an image is color if one of these takes it in.
COLOR_MODULES = ("ColorToGray", "UnmixColors")


class PipelineError(Exception):
    """The pipeline can't be run as it is, whatever the images."""


class RecordingPipeline(Pipeline):
    """A pipeline that refuses what it can't know, and remembers which module failed where."""

    def __init__(self):
        super().__init__()
        self.failures = {}

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
        except Exception as error:
            number = workspace.measurements.image_set_number
            self.failures[number] = f"{module.module_name}: {error or type(error).__name__}"
            raise


def load(path):
    """A checked pipeline, with `ImagesFromMemory` in place of its input modules.

    Returns (pipeline, its input module, sha256 of the file).  Raises PipelineError.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PipelineError(f"it can't be read: {error.strerror}") from error
    pipeline = parse(content)
    types = named_types(pipeline)
    for module in list(pipeline.modules(False)):
        if module.module_name in INPUT_MODULES:
            pipeline.remove_module(module.module_num)
    source = ImagesFromMemory()
    source.set_module_num(1)
    pipeline.add_module(source)
    check(pipeline)
    used = {name for module in pipeline.modules() for name in subscribed(module)}
    source.kinds = {name: kind_of(name, types, pipeline) for name in OFFERED if name in used}
    if not source.kinds:
        raise PipelineError(f"it uses no image; on offer: {', '.join(OFFERED)}")
    make_unattended(pipeline)
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


def named_types(pipeline):
    """NamesAndTypes' own choice: {image name: (type, full scale)}, empty without that module."""
    types = {}
    for module in pipeline.modules():
        grouping = {"Groups": "wants_groups", "LoadData": "wants_image_groupings"}
        setting = grouping.get(module.module_name)
        if setting and getattr(module, setting).value:
            raise PipelineError(
                f"{module.module_name} groups the images, but they come in batches while the "
                "experiment runs; switch grouping off"
            )
        if module.module_name == "NamesAndTypes":
            types.update(types_of(module))
    return types


def types_of(names_and_types):
    module = names_and_types
    if module.process_as_3d.value:
        raise PipelineError("NamesAndTypes is set to process images as 3D")
    if module.assignment_method == "All images":
        rows = [
            (
                module.single_image_provider,
                module.single_load_as_choice,
                module.single_rescale,
                module.manual_rescale,
            )
        ]
    else:
        rows = [
            (one.image_name, one.load_as_choice, one.rescale, one.manual_rescale)
            for one in module.assignments + module.single_images
        ]
    return {
        name.value: (load_as.value, full_scale.value if rescale == "Manual" else 255.0)
        for name, load_as, rescale, full_scale in rows
    }


def kind_of(name, types, pipeline):
    """(kind, full scale) of one image, as `ImagesFromMemory` wants it."""
    if name in types:
        load_as, full_scale = types[name]
        if load_as not in KINDS:
            raise PipelineError(
                f"NamesAndTypes loads '{name}' as '{load_as}'; possible are {', '.join(KINDS)}"
            )
        return KINDS[load_as], full_scale
    for module in pipeline.modules():
        if module.module_name in COLOR_MODULES and name in subscribed(module):
            return COLOR, 255.0
    return GRAYSCALE, 255.0


def subscribed(module):
    """The names of the images that a module's visible settings take in."""
    names = []
    for setting in module.visible_settings():
        if isinstance(setting, ImageNameSubscriberMultiChoice):
            names += setting.selections
        elif isinstance(setting, Subscriber) and setting.group == "imagegroup":
            if isinstance(setting.value, list):
                names += setting.value
            elif not setting.is_blank:
                names.append(setting.value)
    return names


def check(pipeline):
    """Raise PipelineError for the first module that can't run with these settings."""
    for module in pipeline.modules():
        where = f"{module.module_name} (module {module.module_num} after the input modules)"
        provided = pipeline.get_provider_dictionary("imagegroup", module)
        for name in subscribed(module):
            if name not in provided:
                raise PipelineError(
                    f"{where} uses the image '{name}', which nothing provides; "
                    f"spheroidd offers {', '.join(OFFERED)}"
                )
        try:
            module.test_valid(pipeline)
        except ValidationError as error:
            raise PipelineError(f"{where}: {error.message}") from error


def make_unattended(pipeline):
    """Keep what modules write inside the batch's own folder, and never ask whether to.

    A batch that is measured again after a crash writes the same files again.
    """
    for module in pipeline.modules():
        if module.module_name == "ExportToSpreadsheet":
            module.wants_overwrite_without_warning.value = True
            module.directory.dir_choice = "Default Output Folder"
        elif module.module_name == "SaveImages":
            module.overwrite.value = True
