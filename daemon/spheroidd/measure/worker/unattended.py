"""What a pipeline may not do with nobody watching, and how it is kept in a batch's folder."""


class PipelineError(Exception):
    """The pipeline can't be run as it is, whatever the images; `hint` says what to do."""

    def __init__(self, message, hint=""):
        super().__init__(message)
        self.hint = hint


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


def place_of(module):
    # `ImagesFromMemory` is number 1, in place of all input modules.
    return f"{module.module_name} (module {module.module_num - 1} after the input modules)"


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
    if module.is_aggregation_module():
        # An area would depend on which images happened to arrive together.
        raise PipelineError(
            f"{place_of(module)} puts several images together, but here each is measured by "
            "itself, as it arrives; remove or disable it, or set it to work on each image"
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
