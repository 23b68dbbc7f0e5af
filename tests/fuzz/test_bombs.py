"""Small files that would grow without end: refused by their headers, in flat memory.

Each is read by a process of its own, whose peak of memory the kernel knows.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

SIDE = 60_000  # 3.6 thousand million pixels
NOISE = np.random.default_rng(3).integers(1, 255, (64, 96), dtype=np.uint8)

READING = """
import json, resource, sys, time
import numpy, imagecodecs, tifffile, PIL.JpegImagePlugin
from spheroidd.errors import ImageError
from spheroidd.intake.imagefile import read_image
said = {}
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    try:
        read_image(path)
        words, permanent = "it was read", False
    except ImageError as error:
        words, permanent = str(error), error.permanent
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    said[path] = [words, permanent, grown / 1024, time.thread_time() - began]
print(json.dumps(said))
"""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int = SIDE) -> bytes:
    """All its zeros are there: a megabyte of them, compressed, again and again."""
    packer = zlib.compressobj()
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    pixels = start + block * (side * (side + 1) >> 20)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg(**options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_header(again: bool = False) -> bytes:
    """Its header says so; or a second header, after a harmless one."""
    data = jpeg()
    at = data.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    frame = data[at : at + 5] + struct.pack(">HH", SIDE, SIDE) + data[at + 9 : end]
    return data[:end] * again + data[:at] * (not again) + frame + data[end:]


def jpeg_scans() -> bytes:
    """A hundred thousand empty scans, each a walk over all pixels."""
    data = jpeg(progressive=True)
    at = data.rindex(b"\xff\xda")
    header = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    return data[:-2] + (header + b"\x11\x22") * 100_000 + data[-2:]


def tiff() -> bytes:
    """Deflated strips of sixty thousand zeros each."""
    stream = io.BytesIO()
    rows = SIDE
    strip = zlib.compress(bytes(SIDE))
    tifffile.imwrite(
        stream,
        iter([strip] * rows),
        shape=(SIDE, SIDE),
        dtype=np.uint8,
        compression="zlib",
        rowsperstrip=1,
        bigtiff=False,
    )
    return stream.getvalue()


def tiff_directories() -> bytes:
    """Half a million directories, one pointing to the next."""
    tags = struct.pack("<HHII", 256, 3, 1, 16) + struct.pack("<HHII", 257, 3, 1, 16)
    size = 2 + len(tags) + 4
    count = 500_000
    links = [8 + size * number for number in range(1, count)] + [0]
    body = b"".join(struct.pack("<H", 2) + tags + struct.pack("<I", link) for link in links)
    return b"II*\0" + struct.pack("<I", 8) + body


def xml_entities() -> bytes:
    """The thousand million laughs, where OME keeps its XML."""
    entities = '<!ENTITY l0 "ha">' + "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)
    )
    stream = io.BytesIO()
    text = f"<?xml version='1.0'?><!DOCTYPE OME [{entities}]><OME>&l9;</OME>"
    tifffile.imwrite(stream, NOISE, description=text, metadata=None)
    return stream.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "60000.png": (png, "60000 × 60000 pixels (3600 megapixels); the limit is 120 megapixels"),
    "60000.jpg": (jpeg_header, "60000 × 60000 pixels (3600 megapixels); the limit is 120"),
    "second.jpg": (lambda: jpeg_header(again=True), "60000 × 60000 pixels"),
    "scans.jpg": (jpeg_scans, "scans; the limit is 500"),
    "60000.tif": (tiff, "60000 × 60000 pixels (3600 megapixels); the limit is 120 megapixels"),
    "directories.tif": (tiff_directories, "a stack of 500000 images"),
    "sparse.tif": (lambda: b"", f"{5 << 30} bytes; the limit is {1 << 30}"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bool, float, float]]:
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _) in BOMBS.items():
        (folder / name).write_bytes(make())
    os.truncate(folder / "sparse.tif", 5 << 30)
    (folder / "laughs.tif").write_bytes(xml_entities())
    done = subprocess.run(
        [sys.executable, "-c", READING, *map(str, sorted(folder.iterdir()))],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    return {Path(path).name: tuple(told) for path, told in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_for_good_before_it_is_decoded(
    said: dict[str, tuple[str, bool, float, float]], name: str
) -> None:
    words, permanent, megabytes, seconds = said[name]
    assert BOMBS[name][1] in words
    assert permanent
    assert megabytes < 80, "a file is read whole, and no more than that"
    assert seconds < 10


def test_entities_in_metadata_are_not_expanded(
    said: dict[str, tuple[str, bool, float, float]],
) -> None:
    words, _, megabytes, seconds = said["laughs.tif"]
    assert words == "it was read"
    assert megabytes < 20
    assert seconds < 5
