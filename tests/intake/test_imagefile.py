"""Image files are read in full or refused with a reason; nothing in between."""

import hashlib
import io
import logging
import os
import struct
import threading
import warnings
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spheroidd.errors import ImageError
from spheroidd.intake.imagefile import choose_scale, decode, read_image, scale_to_8bit

# Times without a zone, as instruments write them.
local = datetime.fromisoformat

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
RANDOM = np.random.default_rng(7)
GRAY = RANDOM.integers(1, 255, (48, 64), dtype=np.uint8)
GRAY16 = RANDOM.integers(300, 4000, (48, 64), dtype=np.uint16)
RGB = RANDOM.integers(1, 255, (48, 64, 3), dtype=np.uint8)
RGB16 = RANDOM.integers(300, 60000, (48, 64, 3), dtype=np.uint16)

GEN5 = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<BTIImageMetaData Version="29"><System><Date>01/01/01</Date></System>
<ImageReference><Well>F2</Well><Date>{date}</Date><Time>16:09:30</Time></ImageReference>
<ImageAcquisition><PixelWidth>{width}</PixelWidth><ImageWidthMicrons>{um}</ImageWidthMicrons>
</ImageAcquisition></BTIImageMetaData>"""
OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<AcquisitionDate>{when}</AcquisitionDate><Pixels ID="Pixels:0" PhysicalSizeX="650"
PhysicalSizeXUnit="{unit}"/></Image></OME>"""


def jpeg(pixels=GRAY, mode=None, **options):
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def png(image=GRAY, **options):
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        out, "PNG", **options
    )
    return out.getvalue()


def tiff(pixels=GRAY16, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **{"metadata": None, **options})
    return out.getvalue()


def refused(data, match, *, permanent=False, **options):
    with pytest.raises(ImageError, match=match) as caught:
        decode(data, **options)
    assert caught.value.permanent is permanent
    assert caught.value.hint
    assert str(caught.value).isprintable()


# --- JPEG


def test_jpeg_gray_and_colour():
    gray = decode(jpeg())
    assert (gray.pixels.dtype, gray.pixels.shape, gray.format) == (np.uint8, (48, 64), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(jpeg())))
    assert np.array_equal(gray.pixels, expected)
    colour = np.asarray(Image.open(io.BytesIO(jpeg(RGB, progressive=True))))
    assert np.array_equal(decode(jpeg(RGB, progressive=True)).pixels, colour)


def test_jpeg_colour_of_equal_channels_is_gray():
    assert decode(jpeg(GRAY, "RGB", subsampling=0)).pixels.shape == (48, 64)


def test_jpeg_cmyk_becomes_rgb():
    data = jpeg(RGB, "CMYK")
    pixels = decode(data).pixels
    assert pixels.shape == (48, 64, 3)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_every_truncation_of_a_jpeg_is_refused(options):
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "x" * 60
    data = jpeg(exif=thumbnail, **options)
    # A thumbnail's own end marker, inside the header, must not pass for the image's.
    inner = jpeg(GRAY[:8, :8])
    block = b"\xff\xe2" + struct.pack(">H", len(inner) + 2) + inner
    data = data[:2] + block + data[2:]
    assert decode(data).pixels.shape == (48, 64)
    for end in range(len(data)):
        with pytest.raises(ImageError) as caught:
            decode(data[:end])
        assert not caught.value.permanent


def test_jpeg_zero_tails_are_refused():
    data = jpeg()
    for keep in (len(data) // 3, len(data) // 2, len(data) - 2, len(data) - 1):
        refused(data[:keep] + bytes(len(data) - keep), "end marker is missing")
    # Beyond the end marker zeros are only space.
    assert np.array_equal(decode(data + bytes(4096)).pixels, decode(data).pixels)


def test_jpeg_with_12_bits_is_refused_for_good():
    data = imagecodecs.jpeg8_encode(GRAY16, bitspersample=12)
    refused(data, "12 bits", permanent=True)


# --- PNG


@pytest.mark.parametrize(
    ("image", "expected", "depth"),
    [
        (Image.fromarray(GRAY), GRAY, 8),
        (Image.fromarray(GRAY16), GRAY16, 16),
        (Image.fromarray(RGB), RGB, 8),
        (Image.fromarray(RGB).convert("RGBA"), RGB, 8),
        (Image.fromarray(GRAY).convert("LA"), GRAY, 8),
        (Image.fromarray(GRAY).convert("P"), GRAY, 8),
        (Image.fromarray(GRAY > 99), np.where(GRAY > 99, 255, 0), 1),
    ],
    ids=["L", "I;16", "RGB", "RGBA", "LA", "P", "1"],
)
def test_png_kinds(image, expected, depth):
    raster = decode(png(image))
    assert np.array_equal(raster.pixels, expected)
    assert raster.pixels.dtype in (np.uint8, np.uint16)
    assert (raster.bit_depth, raster.format) == (depth, "PNG")


def test_png_with_16_bit_colour_keeps_its_bits():
    assert np.array_equal(decode(imagecodecs.png_encode(RGB16)).pixels, RGB16)


def test_png_damage():
    data = png()
    for end in range(len(data)):
        with pytest.raises(ImageError) as caught:
            decode(data[:end])
        assert not caught.value.permanent
    refused(data[:-20] + bytes(20), "PNG is")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    refused(bytes(flipped), "checksum is wrong")


def test_png_animation_is_refused_for_good():
    frames = [Image.fromarray(GRAY), Image.fromarray(GRAY.T.copy().reshape(48, 64))]
    refused(png(frames[0], save_all=True, append_images=frames[1:]), "animated", permanent=True)


# --- TIFF


@pytest.mark.parametrize("pixels", [GRAY, GRAY16, RGB, RGB16], ids=["L", "L16", "RGB", "RGB16"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 7}, {"tile": (16, 32)}, {"bigtiff": True}])
def test_tiff_kinds(pixels, compression, byteorder, layout):
    raster = decode(tiff(pixels, compression=compression, byteorder=byteorder, **layout))
    assert np.array_equal(raster.pixels, pixels)
    assert raster.pixels.dtype == pixels.dtype
    assert raster.pixels.dtype.isnative
    assert (raster.bit_depth, raster.format) == (pixels.dtype.itemsize * 8, "TIFF")


def test_tiff_with_predictor_and_planes():
    assert np.array_equal(decode(tiff(compression="lzw", predictor=True)).pixels, GRAY16)
    planar = tiff(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode(planar).pixels, RGB)


def test_tiff_with_jpeg_inside():
    gray = decode(tiff(GRAY, compression="jpeg")).pixels
    assert np.abs(gray.astype(int) - GRAY).mean() < 5
    colour = decode(tiff(RGB, compression="jpeg", photometric="ycbcr")).pixels
    assert colour.shape == RGB.shape
    assert np.abs(colour.mean(axis=(0, 1)) - RGB.mean(axis=(0, 1))).max() < 5
    planes = np.moveaxis(RGB, -1, 0)
    planar = decode(tiff(planes, compression="jpeg", photometric="rgb", planarconfig="separate"))
    assert np.abs(planar.pixels.astype(int) - RGB).mean() < 5


def test_damaged_lzw_does_not_crash_the_process():
    data = bytearray(tiff(compression="lzw"))
    start = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].dataoffsets[0]
    for at in range(start, len(data), 97):
        damaged = data.copy()
        damaged[at : at + 3] = b"\xff\xee\xdd"
        image_or_error(bytes(damaged))


def test_tiff_miniswhite_is_turned_round():
    assert np.array_equal(decode(tiff(255 - GRAY, photometric="miniswhite")).pixels, GRAY)
    assert np.array_equal(decode(tiff(65535 - GRAY16, photometric="miniswhite")).pixels, GRAY16)


def test_tiff_alpha_one_bit_and_palette():
    rgba = np.dstack([RGB, GRAY])
    assert np.array_equal(decode(tiff(rgba, extrasamples="unassalpha")).pixels, RGB)
    expected = np.where(GRAY > 99, 255, 0)
    assert np.array_equal(decode(tiff(GRAY > 99, photometric="minisblack")).pixels, expected)
    assert np.array_equal(decode(tiff(GRAY <= 99, photometric="miniswhite")).pixels, expected)
    colours = np.tile(np.arange(256, dtype=np.uint16)[::-1] * 257, (3, 1))
    turned = tiff(GRAY, photometric="palette", colormap=colours)
    assert np.array_equal(decode(turned).pixels, 255 - GRAY)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiff(GRAY.astype(np.float32)), "32-bit floating-point"),
        (tiff(GRAY.astype(np.int32)), "32-bit signed"),
        (tiff(GRAY.astype(np.int16)), "16-bit signed"),
        (tiff(GRAY, compression="zstd"), "ZSTD"),
        (tiff(np.dstack([RGB, GRAY]), photometric="separated"), "4 samples per pixel"),
        (tiff(np.stack([GRAY, GRAY])), "stack of 2"),
        (tiff(np.stack([GRAY] * 3), imagej=True, metadata={"axes": "ZYX"}), "stack of 3"),
        (tiff(np.stack([GRAY] * 3), metadata={"axes": "TYX"}, photometric="minisblack"), "stack"),
    ],
    ids=["float", "int32", "int16", "zstd", "cmyk", "pages", "imagej", "shaped"],
)
def test_tiff_kinds_that_are_refused_for_good(data, said):
    refused(data, said, permanent=True)


def test_tiff_imagej_single_plane():
    assert np.array_equal(decode(tiff(GRAY, imagej=True, metadata={})).pixels, GRAY)


def test_tiff_with_thumbnails_and_pyramid():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(GRAY, subifds=1, metadata=None)
        writer.write(GRAY[::2, ::2], subfiletype=1, metadata=None)
        writer.write(GRAY[::4, ::4], subfiletype=1, metadata=None)
    assert np.array_equal(decode(out.getvalue()).pixels, GRAY)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg"])
def test_tiff_truncations_are_refused(compression):
    data = tiff(GRAY, compression=compression, rowsperstrip=8)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    last = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
    for end in {*range(0, last, 13), last - 1}:
        with pytest.raises(ImageError) as caught:
            decode(data[:end])
        assert not caught.value.permanent


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg"])
@pytest.mark.parametrize("rows", [8, 48])
def test_tiff_zero_tails_are_refused(compression, rows):
    data = tiff(GRAY, compression=compression, rowsperstrip=rows)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    last = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
    for keep in (0.3, 0.6, 0.9):
        cut = page.dataoffsets[0] + int((last - page.dataoffsets[0]) * keep)
        refused(data[:cut] + bytes(last - cut) + data[last:], "TIFF is|end marker")


def test_tiff_that_is_really_black_below_is_taken_when_told_so():
    dark = GRAY16.copy()
    dark[-4:] = 0
    refused(tiff(dark), r"of its 48 rows, one after another, are zeros")
    assert np.array_equal(decode(tiff(dark), accept_zeros=True).pixels, dark)
    # An encoder has written those zeros itself, so there is no doubt.
    assert np.array_equal(decode(tiff(dark, compression="lzw")).pixels, dark)


@pytest.mark.parametrize("tag", [273, 279])
def test_tiff_with_a_strip_that_is_not_there(tag):
    data = bytearray(tiff(GRAY16, rowsperstrip=12))
    where = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].tags[tag].valueoffset
    data[where + 4 : where + 8] = bytes(4)
    refused(bytes(data), "pixels are missing")


def test_tiff_decoder_does_not_log(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageError):
        decode(tiff()[:200])
    assert not caplog.records


# --- size


def test_dimensions_are_held_against_the_limit_before_decoding():
    bomb = png()
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = bomb[:16] + header + checksum + bomb[33:]
    refused(bomb, r"100000 × 100000 .*10000 megapixels.*limit is 120", permanent=True)
    wide = bytearray(tiff(GRAY))
    page = tifffile.TiffFile(io.BytesIO(bytes(wide))).pages[0]
    for tag in (256, 257):
        where = page.tags[tag].valueoffset
        wide[where : where + 2] = struct.pack("<H", 65000)
    refused(bytes(wide), "65000 × 65000", permanent=True)
    large = jpeg()
    frame = large.index(b"\xff\xc0")
    large = large[: frame + 5] + struct.pack(">HH", 60000, 60000) + large[frame + 9 :]
    refused(large, "60000 × 60000", permanent=True)
    refused(jpeg(), "64 × 48 .*limit is 0.003", permanent=True, max_megapixels=0.003)


@pytest.mark.parametrize("encode", [jpeg, png, tiff])
def test_27_megapixels_pass(encode):
    large = np.tile(GRAY, (94, 94))[:4500, :6000]
    pixels = decode(encode(large)).pixels
    assert pixels.shape == (4500, 6000)


def test_100_megapixels_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(jpeg(np.full((10_000, 10_000), 9, np.uint8))).pixels.size == 10**8
        assert Image.MAX_IMAGE_PIXELS is not None  # the process's own limit stays


# --- what is no image


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (bytes(5000), "nothing but zeros"),
        (bytes(5000) + jpeg(), "begins with zeros"),
        (b"time;area\n1;2\n", "looks like text, beginning with 'time;area"),
        ("größe\n".encode() * 400, "looks like text"),
        (b"GIF89a" + bytes(99), "a GIF"),
        (b"PK\x03\x04" + bytes(99), "a ZIP"),
        (b"\x80\x01\x02\x03" * 9, "the bytes 80 01 02 03"),
        (b"\xff\xd8", "the bytes ff d8"),
    ],
)
def test_other_content_is_told_by_its_looks(data, said):
    refused(data, f"not a JPEG, PNG or TIFF image.*{said}")


# --- metadata


def test_exif_time():
    exif = Image.Exif()
    exif[0x132] = "2024:05:07 09:28:49"
    assert decode(jpeg(exif=exif)).taken_at == local("2024-05-07 09:28:49")
    assert decode(png(exif=exif)).taken_at == local("2024-05-07 09:28:49")
    exif.get_ifd(0x8769)[0x9003] = "2024:05:07 08:00:00"
    assert decode(jpeg(exif=exif)).taken_at == local("2024-05-07 08:00")
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    zoned = decode(jpeg(exif=exif)).taken_at
    assert zoned == datetime(2024, 5, 7, 6, tzinfo=UTC)
    assert zoned.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024:05:07 09:28:49", local("2024-05-07 09:28:49")),
        ("20130712 11:22:33.123", local("2013-07-12 11:22:33")),
        ("0000:00:00 00:00:00", None),
        ("1904:01:01 00:00:00", None),
        ("2024:13:07 09:28:49", None),
        ("    :  :     :  :  ", None),
    ],
)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_time(written, expected, bigtiff):
    # tifffile checks the tag's own keyword, so the rubbish is given as an extra tag
    data = tiff(extratags=[(306, 2, 0, written, True)], bigtiff=bigtiff)
    assert decode(data).taken_at == expected


def test_gen5_metadata():
    known = decode(tiff(description=GEN5.format(date="08/30/23", width=64, um=44.8)))
    assert known.taken_at == local("2023-08-30 16:09:30")
    assert known.pixel_size_um == pytest.approx(0.7)
    other = decode(tiff(description=GEN5.format(date="30/08/23", width=1992, um=1389)))
    assert (other.taken_at, other.pixel_size_um) == (None, None)


def test_ome_metadata():
    known = decode(tiff(description=OME.format(when="2024-10-03T14:26:38.7980142", unit="nm")))
    assert known.taken_at == local("2024-10-03 14:26:38.798014")
    assert known.pixel_size_um == pytest.approx(0.65)
    zoned = decode(tiff(description=OME.format(when="2024-10-03T14:26:38Z", unit="pixel")))
    assert zoned.taken_at.utcoffset() == timedelta(0)
    assert zoned.pixel_size_um is None


@pytest.mark.parametrize(
    "description",
    [
        "<!DOCTYPE r [<!ENTITY e 'x'>]><BTIImageMetaData>&e;</BTIImageMetaData>",
        "<BTIImageMetaData><ImageReference>",
        "<a>" * 3000,
        GEN5.format(date="", width="nan", um="inf"),
        GEN5.format(date="x" * 999, width=64, um="-1"),
        OME.format(when="yesterday", unit="parsec"),
        '<?xml version="1.0" encoding="nonsense"?><a/>',
        "images=none\nunit=\\u00B5m",
    ],
)
def test_rubbish_metadata_is_ignored(description):
    raster = decode(tiff(description=description))
    assert (raster.taken_at, raster.pixel_size_um) == (None, None)
    assert np.array_equal(raster.pixels, GRAY16)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_rubbish_exif_is_ignored(block):
    for head in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        body = b"Exif\0\0" + head + block
        data = jpeg()
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
        assert np.array_equal(decode(data).pixels, decode(jpeg()).pixels)


# --- any bytes at all

VALID = {
    "jpeg": jpeg(), "jpeg-rgb": jpeg(RGB, progressive=True), "png": png(), "png-p":
    png(Image.fromarray(GRAY).convert("P")), "tiff": tiff(), "tiff-lzw": tiff(compression="lzw"),
    "tiff-jpeg": tiff(GRAY, compression="jpeg"), "tiff-big": tiff(bigtiff=True, tile=(16, 16)),
    "tiff-ome": tiff(description=OME.format(when="2024-10-03T14:26:38", unit="um")),
    "tiff-imagej": tiff(GRAY, imagej=True, metadata={}),
}  # fmt: skip


def image_or_error(data):
    try:
        pixels = decode(data, max_megapixels=1).pixels
    except ImageError as error:
        assert str(error).isprintable()
        return None
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    return pixels


@given(st.sampled_from([b"", b"\xff\xd8\xff", VALID["png"][:8], b"II*\0", b"MM\0*"]), st.binary())
@settings(deadline=None, max_examples=300)
def test_random_bytes_give_an_image_error(head, data):
    assert image_or_error(head + data) is None


@given(st.sampled_from(sorted(VALID)), st.data())
@settings(deadline=None, max_examples=1000)
def test_damaged_images_decode_or_give_an_image_error(kind, data):
    damaged = bytearray(VALID[kind])
    header = st.integers(0, min(400, len(damaged) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(header, st.integers(0, len(damaged) - 1)))
        damaged[at] = data.draw(st.integers(0, 255))
    image_or_error(bytes(damaged))
    image_or_error(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


# --- files


@pytest.fixture
def image_path(tmp_path):
    path = tmp_path / "A1_001.JPG"
    path.write_bytes(jpeg())
    return path


def test_a_file_is_read_once_and_left_alone(image_path):
    before = image_path.stat()
    file = read_image(str(image_path))
    assert np.array_equal(file.pixels, decode(jpeg()).pixels)
    assert file.sha256 == hashlib.sha256(jpeg()).hexdigest()
    assert (file.size, file.mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (file.bit_depth, file.format, file.taken_at) == (8, "JPEG", None)
    assert image_path.stat() == before


def test_extensions_do_not_matter(tmp_path):
    path = tmp_path / "A1_001.jpg"
    path.write_bytes(png())
    assert read_image(str(path)).format == "PNG"


@pytest.mark.parametrize("name", [b"\xff\xfe,\n\"'.jpg", "größe µ.jpg".encode()])
def test_any_name_can_be_read_and_told(tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(jpeg())
    assert read_image(path).sha256 == read_image(os.fsdecode(path)).sha256
    Path(os.fsdecode(path)).write_bytes(jpeg()[:-5])
    with pytest.raises(ImageError, match="cut short") as caught:
        read_image(os.fsdecode(path))
    assert str(caught.value).isprintable()
    str(caught.value).encode("utf-8")


def refused_file(path, match, *, permanent, **options):
    with pytest.raises(ImageError, match=match) as caught:
        read_image(str(path), **options)
    assert caught.value.permanent is permanent
    assert caught.value.message.startswith(repr(str(path)))
    assert caught.value.hint


def test_only_regular_files_are_read(tmp_path, image_path):
    folder, link, fifo = tmp_path / "x.jpg", tmp_path / "y.jpg", tmp_path / "z.jpg"
    folder.mkdir()
    link.symlink_to(image_path)
    os.mkfifo(fifo)
    for path in (folder, link, fifo):
        refused_file(path, "not a regular file", permanent=True)


def test_missing_and_unreadable_files_may_come_back(tmp_path, image_path):
    refused_file(tmp_path / "none.jpg", "No such file", permanent=False)
    refused_file(image_path / "below.jpg", "Not a directory", permanent=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(image_path):
    image_path.chmod(0)
    refused_file(image_path, "Permission denied", permanent=False)


def test_large_files_are_not_read(image_path):
    refused_file(image_path, "the limit is 100", permanent=True, max_bytes=100)


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, change):
    path = tmp_path / "A1.jpg"
    path.write_bytes(jpeg())
    real, calls = os.fstat, []

    def fstat(descriptor):
        status = real(descriptor)
        calls.append(status)
        if len(calls) == 1:
            if change == "touch":
                os.utime(path, ns=(1, 1))
            else:
                path.write_bytes(jpeg() + b"more" if change == "grow" else jpeg()[:-9])
        return status

    monkeypatch.setattr("spheroidd.intake.imagefile.os.fstat", fstat)
    refused_file(path, "changed while it was read", permanent=False)


def test_reading_works_from_many_threads(image_path):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(read_image(str(image_path)).sha256))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


# --- 16 bit to 8


def test_scaling_rounds_and_clips():
    counts = np.array([[0, 99, 100, 101, 150, 199, 200, 65535]], np.uint16)
    assert scale_to_8bit(counts, 100, 200).tolist() == [[0, 0, 0, 3, 128, 252, 255, 255]]
    full = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(scale_to_8bit(full, 0, 65535), np.floor(full / 65535 * 255 + 0.5))
    assert scale_to_8bit(RGB16, 0, 65535).shape == RGB16.shape


@pytest.mark.parametrize(("low", "high"), [(5, 5), (-1, 5), (0, 65536), (9, 2)])
def test_scaling_refuses_what_is_no_scale(low, high):
    with pytest.raises(ValueError, match="can't scale"):
        scale_to_8bit(GRAY16, low, high)


def test_scaling_is_for_16_bits():
    with pytest.raises(ValueError, match="uint8"):
        scale_to_8bit(GRAY, 0, 255)
    with pytest.raises(ValueError, match="uint8"):
        choose_scale(GRAY)


def test_a_scale_from_an_empty_well_suits_the_spheroids_that_come():
    empty = RANDOM.integers(1600, 1900, (100, 100), dtype=np.uint16)
    low, high = choose_scale(empty)
    spheroid = empty.copy()
    spheroid[30:70, 30:70] = RANDOM.integers(400, 900, (40, 40), dtype=np.uint16)
    seen = scale_to_8bit(spheroid, low, high)
    assert seen.min() > 0
    assert seen.max() < 255
    assert np.median(seen[:30]) - np.median(seen[30:70, 30:70]) > 100


def test_hot_pixels_do_not_move_the_scale():
    hot = GRAY16.copy()
    hot[0, :3] = 65535
    assert choose_scale(hot)[1] < 5100


def test_a_dark_frame_gives_no_scale():
    with pytest.raises(ImageError, match="black") as caught:
        choose_scale(np.full((9, 9), 3, np.uint16))
    assert not caught.value.permanent


def test_the_brightest_image_has_a_scale():
    assert choose_scale(np.full((9, 9), 65535, np.uint16)) == (0, 65535)


# --- real files


def real(pattern):
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f"the example images ({pattern}) are not on this machine")
    return paths


def test_real_camera_jpegs():
    for path in real("several-objects/images/*.JPG"):
        file = read_image(str(path))
        assert file.pixels.shape == (960, 1280, 3)
        assert file.taken_at.date() == local("2014-11-01").date()


def test_real_cell_iq_frames():
    for path in real("cell-iq-timelapse/export/*/A1/*.jpg"):
        assert read_image(str(path)).pixels.shape == (540, 960)


def test_real_png():
    for path in real("ewing-brightfield/images/*.png"):
        assert read_image(str(path)).pixels.shape == (2056, 2464)


def test_real_16_bit_tiffs_share_any_one_s_scale():
    files = [read_image(str(path)) for path in real("droplet-a673/images/*.tiff")]
    assert {file.pixels.dtype for file in files} == {np.dtype(np.uint16)}
    for chosen in files:
        low, high = choose_scale(chosen.pixels)
        for file in files:
            seen = scale_to_8bit(file.pixels, low, high)
            assert np.mean(seen == 255) < 0.001
            assert np.ptp(np.percentile(seen, [1, 99])) > 80


def test_holes_of_zeros_are_refused_until_the_last_try():
    """What a copy leaves that was written out of order: the end is there, the middle is not."""
    noise = np.random.default_rng(3).integers(0, 255, (200, 300), dtype=np.uint8)
    whole = jpeg(noise)
    third = len(whole) // 3
    refused(whole[:third] + bytes(third) + whole[2 * third :], "hole")
    plain = tiff(np.maximum(noise, 1))
    third = len(plain) // 3
    holed = plain[:third] + bytes(third) + plain[2 * third :]
    refused(holed, "zeros")
    assert decode(holed, accept_zeros=True).pixels.shape == (200, 300)
    assert decode(plain).pixels.shape == (200, 300)
