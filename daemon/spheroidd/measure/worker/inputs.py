"""Which images a pipeline asks for, by its own names, and which of ours each name gets.

The pipeline's own input modules (Images, Metadata, NamesAndTypes, Groups, LoadData) find
files; here only the names and image types they declare count.
"""

import json

from cellprofiler_core.setting.multichoice import ImageNameSubscriberMultiChoice
from cellprofiler_core.setting.subscriber import Subscriber
from cellprofiler_core.setting.text.alphanumeric.name import Name
from images import COLOR, GRAYSCALE, MASK, OFFERED
from unattended import PipelineError, place_of

INPUT_MODULES = ("Images", "Metadata", "NamesAndTypes", "Groups", "LoadData")
# How NamesAndTypes calls its image types; "Mask" is what CellProfiler 2 wrote.
KINDS = {
    "Grayscale image": GRAYSCALE,
    "Color image": COLOR,
    "Binary mask": MASK,
    "Mask": MASK,
}
OBJECTS = "Objects"
# LoadData knows no image types: there an image is color if one of these takes it in.
COLOR_MODULES = ("ColorToGray", "UnmixColors")
NO_TEXT_IN_YAML = ("y", "yes", "n", "no", "on", "off", "true", "false", "null")


def declared_types(pipeline):
    """NamesAndTypes' own choice: {image name: (type, full scale)}, empty without that module."""
    types = {}
    for module in pipeline.modules():
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
            (
                one.object_name if one.load_as_choice == OBJECTS else one.image_name,
                one.load_as_choice,
                one.rescale,
                one.manual_rescale,
            )
            for one in module.assignments + module.single_images
        ]
    return {
        name.value: (load_as.value, full_scale.value if rescale == "Manual" else 255.0)
        for name, load_as, rescale, full_scale in rows
    }


def subscribed(module, group="imagegroup"):
    """The names of the images (or another group) that a module's visible settings take in."""
    names = []
    for setting in module.visible_settings():
        if isinstance(setting, ImageNameSubscriberMultiChoice) and group == "imagegroup":
            names += setting.selections
        elif isinstance(setting, Subscriber) and setting.group == group:
            if isinstance(setting.value, list):
                names += setting.value
            elif not setting.is_blank:
                names.append(setting.value)
    return names


def provided(module):
    """The names of the images that a module makes."""
    return set(module.other_providers("imagegroup")) | {
        setting.value
        for setting in module.visible_settings()
        if isinstance(setting, Name) and setting.group == "imagegroup"
    }


def asked_for(pipeline, types):
    """The images that no earlier module makes: {name: the first module that takes it in}.

    `pipeline` has no input modules any more.
    """
    made, asked = set(), {}
    for module in pipeline.modules():
        names = subscribed(module)
        if module.module_name == "MeasureImageQuality" and module.images_choice != "Select...":
            # "All loaded images", whether another module takes them in or not.
            names += [name for name, (load_as, _) in types.items() if load_as != OBJECTS]
        for name in names:
            if name not in made:
                asked.setdefault(name, module)
        made |= provided(module)
    return asked


def match(asked, types, given):
    """What each name gets: {name: one of OFFERED}, in the order in which they are used.

    The configuration's word (`given`) comes first, then the same name, then the same name
    but for upper and lower case, unless another name of the pipeline gets that image already.
    Raises PipelineError for a name that gets nothing, and for one that nobody asks for.
    """
    misspelt = [name for name in given if name not in asked and name not in types]
    if misspelt:
        raise PipelineError(
            f"measurement.images names {listed(misspelt)}, which the pipeline does not ask for; "
            f"it asks for {listed(asked)}",
            "Names count with upper and lower case: mend measurement.images in the configuration.",
        )
    sure = {name: given.get(name, name) for name in asked if name in given or name in OFFERED}
    guessed = {}
    for offered in OFFERED:
        close = [name for name in asked if name not in sure and name.lower() == offered.lower()]
        if len(close) == 1 and offered not in sure.values():
            guessed[close[0]] = offered
    unmatched = [name for name in asked if name not in sure and name not in guessed]
    if unmatched:
        raise PipelineError(
            "it asks for "
            + ", ".join(f"the image '{name}' ({place_of(asked[name])})" for name in unmatched)
            + f", which nothing provides; spheroidd offers {', '.join(OFFERED)}",
            "Say in the configuration, under `measurement:`, what each one is, for example "
            f"`images: {{{suggestion(unmatched, types)}}}`. Original is the image as it was "
            "taken; Spheroid (on white) and Mask need a model.",
        )
    if not asked:
        raise PipelineError(f"it uses no image; on offer: {', '.join(OFFERED)}")
    return {name: sure.get(name) or guessed[name] for name in asked}


def suggestion(names, types):
    """Entries for the configuration, in YAML; a binary image can only be the mask."""
    pairs = []
    for name in names:
        load_as, _ = types.get(name, ("", 0.0))
        plain = name.isidentifier() and name.lower() not in NO_TEXT_IN_YAML
        word = name if plain else json.dumps(name)
        pairs.append(f"{word}: {'Mask' if KINDS.get(load_as) == MASK else 'Original'}")
    return ", ".join(pairs)


def listed(names):
    return ", ".join(f"'{name}'" for name in names) or "none"


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


def refuse_loaded_objects(pipeline, types):
    """Raise PipelineError if a module works on objects that NamesAndTypes reads from a file."""
    for name, (load_as, _) in types.items():
        if load_as == OBJECTS:
            for module in pipeline.modules():
                if name in subscribed(module, "objectgroup"):
                    raise PipelineError(
                        f"{place_of(module)} uses the objects '{name}', which NamesAndTypes "
                        "loads from a file of labels; there is none here",
                        "Load the image as 'Binary mask' and find the objects in it with "
                        "IdentifyPrimaryObjects.",
                    )
