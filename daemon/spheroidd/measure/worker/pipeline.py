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

AREA = "AreaShape_Area"

# Modules that need a person at the screen or reach out of a batch's folder.
REFUSED = {
    "CreateBatchFiles": "prepares runs on a cluster",
    "EditObjectsManually": "needs a person at the screen",
    "ExportToDatabase": "writes to a database that no batch has for itself",
    "IdentifyObjectsManually": "needs a person at the screen",
    "RunImageJMacro": "runs another program",
}
# The same for one choice of a module: the name of its setting, the choice.
REFUSED_CHOICES = {
    "Crop": ("crop_method", "Mouse"),
    "DefineGrid": ("manual_choice", "Mouse"),
    "FlipAndRotate": ("rotate_choice", "Use mouse"),
    "MeasureObjectSkeleton": ("wants_objskeleton_graph", "Yes"),
    "UntangleWorms": ("mode", "Train"),
}


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
    # Before the check, which would have ExportToDatabase look for its database.
    make_unattended(pipeline)
    check(pipeline)
    used = {name for module in pipeline.modules() for name in subscribed(module)}
    source.kinds = {name: kind_of(name, types, pipeline) for name in OFFERED if name in used}
    if not source.kinds:
        raise PipelineError(f"it uses no image; on offer: {', '.join(OFFERED)}")
    require_areas(pipeline)
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
        where = place_of(module)
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


def place_of(module):
    # `ImagesFromMemory` is number 1, in place of all input modules.
    return f"{module.module_name} (module {module.module_num - 1} after the input modules)"


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


def make_unattended(pipeline):
    """Keep what modules write inside the batch's own folder, and never ask whether to.

    A batch that is measured again after a crash writes the same files again.
    Raises PipelineError for modules that can't be kept there.
    """
    saved = {}
    for module in pipeline.modules():
        refuse(module)
        if module.module_name == "ExportToSpreadsheet":
            module.wants_overwrite_without_warning.value = True
            module.directory.value = "Default Output Folder|"
            names = [one.file_name for one in module.object_groups]
            refuse_paths(module, [module.prefix, *names])
        elif module.module_name == "SaveImages":
            module.overwrite.value = True
            module.pathname.value = "Default Output Folder|"
            # It would repeat the path from a base folder to the image, "../.." included.
            module.create_subdirectories.value = False
            refuse_paths(module, [module.single_file_name, module.file_name_suffix])
            other = saved.setdefault(naming_of(module), module)
            if other is not module:
                raise PipelineError(
                    f"{place_of(module)} saves under the same names as {place_of(other)}, and "
                    "spheroidd puts all files of a batch in one folder; give them different names"
                )
        elif module.module_name == "SaveCroppedObjects":
            module.directory.value = "Default Output Folder|"


def refuse(module):
    """Raise PipelineError if the module can't be let run with nobody watching."""
    name = module.module_name
    if name in REFUSED:
        raise PipelineError(f"{place_of(module)} {REFUSED[name]}; remove or disable it")
    if name in REFUSED_CHOICES:
        attribute, choice = REFUSED_CHOICES[name]
        setting = getattr(module, attribute)
        # `is`, because settings compare equal by their values.
        visible = any(setting is one for one in module.visible_settings())
        if visible and setting.value_text == choice:
            raise PipelineError(
                f"{place_of(module)}: '{setting.text}' can't be '{choice}' with nobody watching"
            )
    if name == "CalculateStatistics" and any(one.wants_save_figure for one in module.dose_values):
        raise PipelineError(
            f"{place_of(module)} draws dose-response plots, which a batch has no doses for"
        )


def refuse_paths(module, names):
    """Raise PipelineError for a file name that leads into another folder."""
    for setting in names:
        if any(setting is one for one in module.visible_settings()) and "/" in setting.value:
            raise PipelineError(
                f"{place_of(module)}: '{setting.text}' is a file name and can't hold '/'"
            )


def naming_of(save_images):
    """What tells the files of one SaveImages from those of another.

    Not the image it takes the name from: all images of a field are named by its key.
    """
    module = save_images
    method = module.file_name_method.value
    if method == "From image filename":
        text = module.file_name_suffix.value if module.wants_file_name_suffix else ""
    else:
        text = module.single_file_name.value
    return method, text, module.get_file_format()
