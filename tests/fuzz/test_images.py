"""Damaged images, damaged where their structure is: pixels, or an ImageError; never a crash."""

import io
import struct
from collections.abc import Callable

import numpy as np
import tifffile
from hardness import examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spheroidd.errors import ImageError
from spheroidd.intake.imagefile import decode
from spheroidd.intake.raster import choose_scale, scale_to_8bit

GRAY = np.random.default_rng(0).integers(0, 255, (40, 56), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 255, (40, 56, 3), dtype=np.uint8)
DEEP = GRAY.astype(np.uint16) * 200


def saved(pixels: np.ndarray, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if form == "TIFF":
        tifffile.imwrite(stream, pixels, **options)  # type: ignore[arg-type]
    else:
        exif = Image.Exif()
        exif[306] = "2024:05:07 08:09:10"
        Image.fromarray(pixels).save(stream, form, exif=exif, **options)
    return stream.getvalue()


OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">' + (
    '<Image ID="Image:0"><AcquisitionDate>2024-10-03T14:26:38</AcquisitionDate>'
    '<Pixels SizeX="56" SizeY="40" PhysicalSizeX="0.6" PhysicalSizeY="0.6"/></Image></OME>'
)
SEEDS = [
    saved(GRAY, "JPEG"),
    saved(RGB, "JPEG", progressive=True, restart_marker_blocks=2),
    saved(GRAY, "PNG"),
    saved(DEEP, "PNG"),
    saved(RGB, "PNG"),
    saved(GRAY, "TIFF"),
    saved(DEEP, "TIFF", compression="lzw", predictor=True, byteorder=">"),
    saved(RGB, "TIFF", compression="zlib", tile=(16, 16), bigtiff=True),
    saved(RGB, "TIFF", compression="packbits", planarconfig="separate", rowsperstrip=7),
    saved(RGB, "TIFF", compression="jpeg", rowsperstrip=16),
    saved(GRAY, "TIFF", description=OME, metadata=None, resolution=(1e4, 1e4)),
    saved(GRAY, "TIFF", imagej=True),
]  # fmt: skip
# Where the numbers of a header are edges of what a program may count with.
EDGES = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

Damage = Callable[[bytearray, st.DataObject], None]


def a_number(data: bytearray, draw: st.DataObject) -> None:
    form = draw.draw(st.sampled_from([">B", "<H", ">H", "<I", ">I"]))
    size = struct.calcsize(form)
    at = draw.draw(st.integers(0, min(len(data) - size, 500) if len(data) > size else 0))
    data[at : at + size] = struct.pack(form, draw.draw(st.sampled_from(EDGES)) % 256**size)


def a_byte(data: bytearray, draw: st.DataObject) -> None:
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))


def a_piece_gone(data: bytearray, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 1))
    del data[start : start + draw.draw(st.integers(1, 64))]


def a_piece_moved(data: bytearray, draw: st.DataObject) -> None:
    start, to = (draw.draw(st.integers(0, len(data) - 1)) for _ in range(2))
    piece = data[start : start + draw.draw(st.integers(1, 64))]
    data[to:to] = piece


def a_piece_of_another(data: bytearray, draw: st.DataObject) -> None:
    other = draw.draw(st.sampled_from(SEEDS))
    start = draw.draw(st.integers(0, len(other) - 1))
    at = draw.draw(st.integers(0, len(data) - 1))
    piece = other[start : start + draw.draw(st.integers(1, 200))]
    data[at : at + len(piece)] = piece


def a_run_of_zeros(data: bytearray, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 1))
    length = min(draw.draw(st.integers(1, 300)), len(data) - start)
    data[start : start + length] = bytes(length)


def an_end(data: bytearray, draw: st.DataObject) -> None:
    del data[draw.draw(st.integers(1, len(data))) :]


DAMAGES: list[Damage] = [
    a_number, a_number, a_byte, a_piece_gone, a_piece_moved, a_piece_of_another, a_run_of_zeros,
    an_end,
]  # fmt: skip


@given(seed=st.sampled_from(SEEDS), draw=st.data(), accept_zeros=st.booleans())
@examples(900)
def test_a_damaged_image_is_decoded_or_refused(
    seed: bytes, draw: st.DataObject, accept_zeros: bool
) -> None:
    data = bytearray(seed)
    for _ in range(draw.draw(st.integers(1, 4))):
        if data:
            draw.draw(st.sampled_from(DAMAGES))(data, draw)
    try:
        raster = decode(bytes(data), max_megapixels=0.5, accept_zeros=accept_zeros)
    except ImageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return
    pixels = raster.pixels
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
    assert 0 < pixels.shape[0] * pixels.shape[1] <= 500_000
    assert raster.pixel_size_um is None or raster.pixel_size_um > 0
    if pixels.dtype == np.uint16:
        try:
            scale = choose_scale(pixels)
        except ImageError:
            return
        assert scale_to_8bit(pixels, *scale).shape == pixels.shape
