"""How large a pixel is: what a file says, what is not believed, and what is an error."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from watched import NOW, Bench

from spheroidd.errors import ImageError
from spheroidd.intake.imagefile import decode

Make = Callable[..., Bench]
PIXELS = np.random.default_rng(7).integers(1, 255, (48, 64), dtype=np.uint8)
OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="Pixels:0" {}/></Image></OME>"""
GEN5 = (
    """<BTIImageMetaData Version="29"><ImageAcquisition>{}</ImageAcquisition></BTIImageMetaData>"""
)


def tiff(description: str | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    said = None if description is None else description.encode()
    tifffile.imwrite(out, PIXELS, **{"metadata": None, "description": said, **options})
    return out.getvalue()


def size_of(*arguments: Any, **options: Any) -> float | None:
    return decode(tiff(*arguments, **options)).pixel_size_um


@pytest.mark.parametrize(
    ("said", "um"),
    [
        ('PhysicalSizeX="0.65"', 0.65),  # the schema's own unit is µm
        ('PhysicalSizeX="0.65" PhysicalSizeXUnit="\u00b5m"', 0.65),
        ('PhysicalSizeX="0.65" PhysicalSizeXUnit="\u03bcm"', 0.65),
        ('PhysicalSizeX="650" PhysicalSizeXUnit="nm"', 0.65),
        ('PhysicalSizeX="0.00065" PhysicalSizeXUnit="mm"', 0.65),
        ('PhysicalSizeX="6.5e-5" PhysicalSizeXUnit="cm"', 0.65),
        ('PhysicalSizeX="6.5E-7" PhysicalSizeXUnit="m"', 0.65),
        ('PhysicalSizeX="6500" PhysicalSizeXUnit="\u00c5"', 0.65),
        ('PhysicalSizeX="6500" PhysicalSizeXUnit="\u212b"', 0.65),
        ('PhysicalSizeX="650000" PhysicalSizeXUnit="pm"', 0.65),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="thou"', 25.4),
        ('SizeX="64" SizeY="48" PhysicalSizeX="0.65" PhysicalSizeY="0.65"', 0.65),
        ('SizeX="128" SizeY="96" PhysicalSizeX="0.65"', None),  # of the image before scaling
        ('PhysicalSizeX="0.65" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeX="0.65" PhysicalSizeXUnit="reference frame"', None),
        ('PhysicalSizeX="0"', None),
        ('PhysicalSizeX="-0.65"', None),
        ('PhysicalSizeX="nan"', None),
        ('PhysicalSizeX="1e9"', None),
        ('PhysicalSizeY="0.65"', None),
    ],
)
def test_ome(said: str, um: float | None) -> None:
    assert size_of(OME.format(said)) == (None if um is None else pytest.approx(um))


def test_ome_of_several_series_gives_the_size_of_this_one() -> None:
    other = '<Pixels SizeX="640" SizeY="480" PhysicalSizeX="0.1"/>'
    text = OME.format('SizeX="64" SizeY="48" PhysicalSizeX="0.65"')
    text = text.replace("<Pixels", f"{other}<Pixels", 1)
    assert size_of(text) == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("said", "um"),
    [
        ("<PixelWidth>64</PixelWidth><ImageWidthMicrons>44.8</ImageWidthMicrons>", 0.7),
        ("<PixelWidth>64</PixelWidth><ImageWidthMicrons>44.8</ImageWidthMicrons>"
         "<PixelHeight>48</PixelHeight><ImageHeightMicrons>33.6</ImageHeightMicrons>", 0.7),
        ("<PixelWidth>1992</PixelWidth><ImageWidthMicrons>1389</ImageWidthMicrons>", None),
    ],
)  # fmt: skip
def test_gen5(said: str, um: float | None) -> None:
    assert size_of(GEN5.format(said)) == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    ("data", "across", "down"),
    [
        (tiff(OME.format('PhysicalSizeX="0.65" PhysicalSizeY="0.7"')), "0.65", "0.7"),
        (tiff(OME.format('PhysicalSizeX="0.65" PhysicalSizeY="650" PhysicalSizeYUnit="mm"')),
         "0.65", "") ,
        (tiff(GEN5.format(
            "<PixelWidth>64</PixelWidth><ImageWidthMicrons>64</ImageWidthMicrons>"
            "<PixelHeight>48</PixelHeight><ImageHeightMicrons>96</ImageHeightMicrons>")), "1", "2"),
        (tiff(resolution=(1e4 / 0.5, 1e4 / 0.8), resolutionunit="CENTIMETER"), "0.5", "0.8"),
    ],
    ids=["ome", "ome absurd", "gen5", "tags"],
)  # fmt: skip
def test_pixels_that_are_not_square(data: bytes, across: str, down: str) -> None:
    if not down:  # a size beyond reason is as good as none
        assert decode(data).pixel_size_um == pytest.approx(float(across))
        return
    with pytest.raises(ImageError, match=f"{across} µm wide and {down} µm high") as caught:
        decode(data)
    assert caught.value.permanent
    assert "square" in caught.value.hint


def test_sizes_that_differ_by_rounding_keep_the_area() -> None:
    assert size_of(OME.format('PhysicalSizeX="0.6450" PhysicalSizeY="0.6461"')) == pytest.approx(
        math.sqrt(0.6450 * 0.6461), rel=1e-12
    )


@pytest.mark.parametrize(
    ("unit", "per_unit", "um"),
    [
        ("um", 1 / 0.65, 0.65),
        ("micron", 1 / 0.65, 0.65),
        ("\\u00B5m", 1 / 0.65, 0.65),
        ("mm", 1000 / 0.65, 0.65),
        ("nm", 1 / 650, 0.65),
        ("um", 1 / 25, 25),  # named outright, so no doubt about a coarse one
        ("inch", 72, None),
        ("inch", 96, None),
        ("inch", 300, None),
        ("cm", 28.35, None),
        ("cm", 1e4 / 0.65, 0.65),
        ("pixel", 1, None),
        (None, 1 / 0.65, None),
    ],
)
def test_imagej(unit: str | None, per_unit: float, um: float | None) -> None:
    metadata = {} if unit is None else {"unit": unit}
    out = io.BytesIO()
    tifffile.imwrite(out, PIXELS, imagej=True, metadata=metadata, resolution=(per_unit, per_unit))
    found = decode(out.getvalue()).pixel_size_um
    assert found == (None if um is None else pytest.approx(um, rel=1e-4))


@pytest.mark.parametrize(
    ("per_unit", "unit", "um"),
    [
        (72, "INCH", None),
        (96, "INCH", None),
        (300, "INCH", None),
        (2400, "INCH", None),
        (4800, "INCH", None),
        (25400 / 0.65, "INCH", 0.65),
        (28.346, "CENTIMETER", None),
        (118.11, "CENTIMETER", None),
        (1e4 / 0.65, "CENTIMETER", 0.65),
        (10000, "CENTIMETER", 1.0),
        (1e4 / 0.65, "NONE", None),
        (1, "NONE", None),
    ],
)
def test_resolution_tags(per_unit: float, unit: str, um: float | None) -> None:
    found = size_of(resolution=(per_unit, per_unit), resolutionunit=unit)
    assert found == (None if um is None else pytest.approx(um, rel=1e-4))


def test_rubbish_in_the_resolution_tags_is_no_size() -> None:
    for pair in ((0, 1), (1, 0), (0, 0)):
        extra = [(282, 5, 1, pair, True), (283, 5, 1, pair, True), (296, 3, 1, 3, True)]
        assert size_of(extratags=extra) is None


def test_xml_knows_more_than_the_resolution_tags() -> None:
    text = OME.format('PhysicalSizeX="0.65"')
    assert size_of(text, resolution=(1e4, 1e4), resolutionunit="CENTIMETER") == 0.65


# -- in a watched folder --------------------------------------------------------------------


def write(b: Bench, name: str, um: float | None) -> Path:
    path = b.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(name.encode())).integers(1, 255, (48, 64), dtype=np.uint8)
    text = None if um is None else OME.format(f'PhysicalSizeX="{um}"').encode()
    tifffile.imwrite(path, noise, description=text, metadata=None)
    return path


@pytest.mark.parametrize(
    ("configured", "said", "stored"),
    [
        (None, None, None),
        (None, 0.65, 0.65),
        (0.65, None, 0.65),
        (0.65, 0.65, 0.65),
        (0.65, 0.6535, 0.65),  # within 1 %: rounding, and the configuration is the one meant
    ],
)
def test_either_will_do(
    configured: float | None,
    said: float | None,
    stored: float | None,
    bench: Any,
) -> None:
    b = bench(pixel_size_um=configured)
    write(b, "P/A1/1.tif", said)
    b.arrive()
    assert [(row["state"], row["pixel_size_um"]) for row in b.rows()] == [("ready", stored)]


def test_a_conflict_is_an_error_with_both_values_and_no_area(bench: Make) -> None:
    b = bench(pixel_size_um=0.65)
    write(b, "P/A1/1.tif", 1.3)
    write(b, "P/A1/2.tif", 0.65)
    b.arrive()
    wrong, right = b.rows()
    assert (wrong["state"], right["state"]) == ("failed", "ready")
    assert "0.65 µm in the configuration and 1.3 µm in the file" in wrong["reason"]
    assert "pixel_size_um" in wrong["reason"]
    assert str(b.root) in wrong["reason"]
    assert wrong["pixel_size_um"] is None
    assert wrong["next_try_at"] is None, "waiting doesn't mend it"
    b.pass_time(86400, scan=True)
    b.ledger.retry_due(NOW + b.clock)
    b.arrive()
    assert b.rows()[0]["state"] == "failed"


def test_a_conflict_is_looked_at_again_at_start(bench: Make) -> None:
    b = bench(pixel_size_um=0.65)
    write(b, "P/A1/1.tif", 1.3)
    b.arrive()
    b.intake.stop()
    b.database.close()
    again = bench(pixel_size_um=0.65)  # nothing mended yet
    again.ledger.look_again(NOW)
    again.arrive()
    assert again.rows()[0]["state"] == "failed"
    again.intake.stop()
    again.database.close()
    mended = bench(pixel_size_um=None)
    mended.ledger.look_again(NOW)
    mended.arrive()
    assert [(row["state"], row["pixel_size_um"]) for row in mended.rows()] == [("ready", 1.3)]


def test_a_magnification_that_changes_is_kept_image_by_image(bench: Make) -> None:
    b = bench()
    write(b, "P/A1/1.tif", 1.3)
    write(b, "P/A1/2.tif", 0.65)
    b.arrive()
    assert [(row["state"], row["pixel_size_um"]) for row in b.rows()] == [
        ("ready", 1.3), ("ready", 0.65)
    ]  # fmt: skip
