"""How an image gets into CellProfiler: read by Pillow, handed over in memory.

CellProfiler would read files through Java's Bio-Formats, which accepts a truncated JPEG
and measures an area on it.  `ImagesFromMemory` stands where the pipeline's own input
modules were (LoadData, or Images / Metadata / NamesAndTypes / Groups) and gives their
images and metadata.
"""

from pathlib import Path

import numpy
import PIL.Image
import skimage.color
import skimage.io
from cellprofiler_core.image import Image
from cellprofiler_core.module import Module
from place import around, whole

OFFERED = ("Original", "Spheroid", "Mask")
METADATA = ("Plate", "Well", "Timepoint")

GRAYSCALE, COLOR, MASK = "grayscale", "color", "mask"


def read(path):
    """The pixels of one file: uint8, H x W or H x W x 3; one-bit files give 0 and 255."""
    if path.suffix.lower() == ".npy":
        pixels = numpy.load(path, allow_pickle=False)
    else:
        with PIL.Image.open(path) as image:
            if image.mode not in ("1", "L", "RGB"):
                raise ValueError(f"'{path.name}' is a {image.mode} image, not 8-bit gray or RGB")
            pixels = numpy.asarray(image.convert("L") if image.mode == "1" else image)
    if pixels.dtype != numpy.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise ValueError(f"'{path.name}' holds {pixels.dtype} {pixels.shape}, not 8-bit pixels")
    return pixels


def as_kind(pixels, kind, full_scale, part=...):
    """The pixels as CellProfiler would load them for an image type of NamesAndTypes.

    Grayscale and color become float32 with `full_scale` as 1.0, mask becomes bool.  Of the
    image so made only `part` is given, an index of rows and columns.
    """
    if kind == MASK:
        return numpy.array((pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0)[part])
    if kind == GRAYSCALE and pixels.ndim == 3 and is_gray(pixels):
        # rgb2gray's weights would move a gray value by a rounding error,
        # and with it pixels that lie on a threshold.
        pixels = pixels[..., 0]
    if kind == GRAYSCALE and pixels.ndim == 3:
        # All of it: a part could differ by a rounding error, as a matter of its shape.
        return skimage.color.rgb2gray(scaled(pixels, full_scale))[part]
    image = scaled(pixels[part], full_scale)
    return numpy.dstack([image] * 3) if kind == COLOR and image.ndim == 2 else image


def is_gray(pixels):
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return (red == green).all() and (red == blue).all()


def scaled(pixels, full_scale):
    return pixels.astype(numpy.float32) / numpy.float32(full_scale)


class ImagesFromMemory(Module):
    """A CellProfiler input module that is fed by the worker instead of by files.

    `wanted` maps the images the pipeline asks for to (which of OFFERED, kind, full scale).
    `sets` is one dict per image, with key, plate, well, timepoint and files by OFFERED.
    `on_crop`: the pipeline sees the part of the images around what is white on the mask.
    """

    module_name = "ImagesFromMemory"
    category = "File Processing"
    variable_revision_number = 1

    def __init__(self):
        super().__init__()
        self.wanted = {}
        self.sets = []
        self.folder = ""
        self.on_crop = False

    def create_settings(self):
        """No settings: this module is never in a pipeline file."""

    def settings(self):
        return []

    def is_load_module(self):
        return True

    @classmethod
    def is_input_module(cls):
        return True

    def other_providers(self, group):
        return list(self.wanted) if group == "imagegroup" else []

    def is_image_from_file(self, image_name):
        return image_name in self.wanted

    def get_measurement_columns(self, _pipeline):
        text = [f"Metadata_{name}" for name in METADATA]
        text += [f"{column}_{name}" for name in self.wanted for column in ("FileName", "PathName")]
        sizes = [f"{column}_{name}" for name in self.wanted for column in ("Height", "Width")]
        return [("Image", name, "varchar(255)") for name in text] + [
            ("Image", name, "integer") for name in sizes
        ]

    def prepare_run(self, workspace):
        """Say how many images there are and what is known of each before it is read."""
        columns = {f"Metadata_{name}": [] for name in METADATA}
        columns.update({f"FileName_{name}": [] for name in self.wanted})
        columns.update({f"PathName_{name}": [] for name in self.wanted})
        for one in self.sets:
            for name in METADATA:
                value = one.get(name.lower())
                columns[f"Metadata_{name}"].append("" if value is None else storable(str(value)))
            for name, (offered, *_) in self.wanted.items():
                suffix = Path(one["files"].get(offered, "")).suffix
                # SaveImages names its file after this one, so the key keeps equal names
                # from two wells apart; and "same folder as image" must not lead it into
                # the instrument's folder.
                columns[f"FileName_{name}"].append(one["key"] + storable(suffix))
                columns[f"PathName_{name}"].append(self.folder)
        for name, values in columns.items():
            workspace.measurements.add_all_measurements("Image", name, values)
        return True

    def run(self, workspace):
        one = self.sets[workspace.measurements.image_set_number - 1]
        read_as = {}
        for name, (offered, *_) in self.wanted.items():
            if offered not in one["files"]:
                raise ValueError(f"the pipeline uses {offered}, and this image has none")
            pixels = read_as[name] = read(Path(one["files"][offered]))
            workspace.measurements.add_image_measurement(f"Height_{name}", pixels.shape[0])
            workspace.measurements.add_image_measurement(f"Width_{name}", pixels.shape[1])
        place = self.place_of(read_as)
        workspace.measurements.place = place
        for name, (_, kind, full_scale) in self.wanted.items():
            image = Image(
                as_kind(read_as[name], kind, full_scale, place.part),
                path_name=self.folder,
                file_name=workspace.measurements["Image", f"FileName_{name}"],
            )
            workspace.image_set.add(name, image)

    def place_of(self, read_as):
        """What part of the images is seen; they must be of one size."""
        shapes = {pixels.shape[:2] for pixels in read_as.values()}
        if len(shapes) > 1:
            # CellProfiler would cut or pad one of them and say nothing.
            raise ValueError(f"the images of one field differ in size (height, width): {shapes}")
        if not self.on_crop:
            return whole(shapes.pop())
        mask = next(name for name, (*ours, _) in self.wanted.items() if ours == ["Mask", MASK])
        return around(as_kind(read_as[mask], MASK, 1.0), margin=1)

    def volumetric(self):
        return False


imsave = skimage.io.imsave


def save(path, pixels, **options):
    """Takes the place of scikit-image's `imsave`, through which SaveImages writes.

    That one packs a PNG at level 6 and looks for low contrast first.  On a microscope's
    image level 2 gives a file of the same size in an eighth of the time, and where a
    pipeline saves a picture, that is half of what the image costs.
    """
    if str(path).endswith(".png") and not options:
        PIL.Image.fromarray(pixels).save(path, compress_level=2)
    else:
        imsave(path, pixels, **options)


def storable(text):
    """Text that HDF5 and a UTF-8 spreadsheet can hold: lone surrogates and NUL become '?'."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
