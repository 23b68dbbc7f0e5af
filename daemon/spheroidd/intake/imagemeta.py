"""What a file says about its own time of capture and pixel size.

Nothing in here raises: metadata that can't be read is as good as none.
"""

import math
import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

_EARLIEST_YEAR = 1980  # before that it is a clock that was never set
_LONGEST_XML = 4 << 20
_LONGEST_IFD = 4096
_LARGEST_PIXEL_UM = 1000.0
_SMALLEST_PIXEL_UM = 1e-3  # smaller than any microscope resolves
_EXIF_IFD, _DATETIME, _ORIGINAL, _OFFSET, _ORIGINAL_OFFSET = 0x8769, 0x132, 0x9003, 0x9010, 0x9011
# µ and Å have two code points each.
_UM_PER_UNIT = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0,
    "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometers": 1.0, "nm": 1e-3, "pm": 1e-6,
    "\u00c5": 1e-4, "\u212b": 1e-4, "in": 25400.0, "inch": 25400.0, "inches": 25400.0, "thou": 25.4,
}  # fmt: skip
# TIFF's resolution tags were made for printers and are filled in by programs that know of no
# microscope: 72 and 96 dots per inch, 300, 2400 (10.6 µm).  Above this it is one of those.
_LARGEST_FROM_RESOLUTION_UM = 10.0
_PRINTERS_DPI = (72, 96, 100)
_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4}  # inch, centimetre; 1 is "none"
Size = tuple[float, float]

# EXIF and TIFF write colons; some microscope software writes dashes or nothing.
_DATE = re.compile(r"(\d{4})[:\-/]?(\d\d)[:\-/]?(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.\d*)?")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")


def exif_time(block: bytes) -> datetime | None:
    """The time in an EXIF block, or in a classic TIFF file, which is built alike.

    DateTimeOriginal, else DateTime (tag 306); with a zone where the block gives its offset.
    """
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[block[:4]]
        main = dict(_entries(block, order, struct.unpack_from(order + "I", block, 4)[0]))
        detail: dict[int, bytes] = {}
        if len(pointer := main.get(_EXIF_IFD, b"")) == 4:
            detail = dict(_entries(block, order, struct.unpack(order + "I", pointer)[0]))
    except (KeyError, struct.error):
        return None
    original = _date(_text(detail.get(_ORIGINAL, b"")), _text(detail.get(_ORIGINAL_OFFSET, b"")))
    return original or _date(_text(main.get(_DATETIME, b"")), _text(detail.get(_OFFSET, b"")))


def tag_time(value: object) -> datetime | None:
    """The time in the value of TIFF tag 306."""
    return _date(value) if isinstance(value, str) else None


def describe(description: str, width: int, height: int) -> tuple[datetime | None, Size | None]:
    """Time and µm per pixel, across and down, from TIFF tag 270 as Gen5, OME and ImageJ fill it.

    Gen5 has BTIImageMetaData with ImageReference/Date (month/day/year) and Time, and
    ImageAcquisition/PixelWidth and ImageWidthMicrons; this is how Bio-Formats' family of readers
    takes it, Agilent publishes no description.  OME-XML has Image/AcquisitionDate and
    Pixels/@PhysicalSizeX with its unit (schema 2016-06; µm if it names none).  For ImageJ see
    `resolution`.

    Args:
        width: of the image in pixels; a pixel size meant for another width or height
            is not used.
    """
    root = _parse(description)
    if root is None:
        return None, None
    gen5 = next(_named(root, "BTIImageMetaData"), None)
    if gen5 is not None:
        return _gen5_time(gen5), _gen5_pixel_size(gen5, width, height)
    when = next((_iso(element.text) for element in _named(root, "AcquisitionDate")), None)
    sizes = (_ome_pixel_size(element, width, height) for element in _named(root, "Pixels"))
    return when, next(filter(None, sizes), None)


def resolution(description: str, x: object, y: object, unit: object) -> Size | None:
    """µm per pixel, across and down, from TIFF's resolution tags (282, 283 and 296).

    ImageJ leaves 296 at "none" and names the unit of 282 and 283 in tag 270, as `unit=micron`.
    Without that, inches and centimetres are believed where they can only mean a microscope.

    Args:
        x: pixels per unit as a fraction, (numerator, denominator); y too.
    """
    per_x, per_y = _fraction(x), _fraction(y)
    if per_x is None or per_y is None:
        return None
    um, named = _UM_PER_RESOLUTION_UNIT.get(unit if isinstance(unit, int) else 0), False
    if description.startswith("ImageJ="):
        um = _imagej_unit(description)
        named = um is not None and um < 1e4  # inches and centimetres are the tags' own
    if um is None:
        return None
    size = _plausible(um / per_x), _plausible(um / per_y)
    if size[0] is None or size[1] is None:
        return None
    dots = round(per_x, 3)
    if not named and (
        max(size[0], size[1]) > _LARGEST_FROM_RESOLUTION_UM
        or (um == _UM_PER_RESOLUTION_UNIT[2] and any(dots % dpi == 0 for dpi in _PRINTERS_DPI))
    ):
        return None
    return size[0], size[1]


def _entries(block: bytes, order: str, offset: int) -> Iterator[tuple[int, bytes]]:
    """Tags and raw values of one IFD: the ASCII (2) and LONG (4) ones, which are all we read."""
    (count,) = struct.unpack_from(order + "H", block, offset)
    for index in range(min(count, _LONGEST_IFD)):
        at = offset + 2 + 12 * index
        tag, kind, length = struct.unpack_from(order + "HHI", block, at)
        size = {2: length, 4: 4 * length}.get(kind, 0)
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", block, at + 8)[0]
        if 0 < size <= 64:
            yield tag, block[start : start + size]


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode("ascii", "replace").strip()


def _date(text: str, offset: str = "") -> datetime | None:
    written = _DATE.match(text.strip())
    zone = _ZONE.fullmatch(offset)
    if written is None:
        return None
    try:
        when = datetime(*map(int, written.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        if zone is not None:
            apart = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
            when = when.replace(tzinfo=timezone(-apart if zone[1] == "-" else apart))
    except ValueError:
        return None
    return when if when.year >= _EARLIEST_YEAR else None


def _iso(text: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return when if when.year >= _EARLIEST_YEAR else None


def _parse(text: str) -> ElementTree.Element | None:
    # No DTD gets to the parser: entities could expand without end, or name other files.
    if "<" not in text or len(text) > _LONGEST_XML or re.search("<!(DOCTYPE|ENTITY)", text, re.I):
        return None
    try:
        return ElementTree.fromstring(text.strip("\0 \r\n\t\ufeff"))  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Elements by local name: the namespace carries the schema's year, which varies."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _gen5_time(gen5: ElementTree.Element) -> datetime | None:
    date = gen5.findtext("ImageReference/Date", "").strip()
    time = gen5.findtext("ImageReference/Time", "").strip()
    for layout in ("%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S"):
        try:
            return datetime.strptime(f"{date} {time}", layout)  # noqa: DTZ007  local
        except ValueError:
            continue
    return None


def _gen5_pixel_size(gen5: ElementTree.Element, width: int, height: int) -> Size | None:
    across = _gen5_side(gen5, "Width", width)
    down = _gen5_side(gen5, "Height", height)
    return None if across is None else (across, down or across)


def _gen5_side(gen5: ElementTree.Element, side: str, length: int) -> float | None:
    pixels = _number(gen5.findtext(f"ImageAcquisition/Pixel{side}"))
    microns = _number(gen5.findtext(f"ImageAcquisition/Image{side}Microns"))
    if microns is None or pixels != length:
        return None
    return _plausible(microns / length)


def _ome_pixel_size(pixels: ElementTree.Element, width: int, height: int) -> Size | None:
    for side, length in (("SizeX", width), ("SizeY", height)):
        if _number(pixels.get(side, str(length))) != length:
            return None  # of another series, or of the image before it was scaled
    across, down = _ome_side(pixels, "PhysicalSizeX"), _ome_side(pixels, "PhysicalSizeY")
    return None if across is None else (across, down or across)


def _ome_side(pixels: ElementTree.Element, side: str) -> float | None:
    size = _number(pixels.get(side))
    factor = _UM_PER_UNIT.get(pixels.get(f"{side}Unit", "um"))
    return None if size is None or factor is None else _plausible(size * factor)


def _imagej_unit(description: str) -> float | None:
    """µm in the unit that ImageJ names; it writes µ as six characters, \\u00B5."""
    named = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
    if named.get("yunit", named.get("unit")) != named.get("unit"):
        return None
    return _UM_PER_UNIT.get(named.get("unit", "").strip().replace("\\u00B5", "\u00b5"))


def _fraction(value: object) -> float | None:
    """A positive number from a TIFF fraction, None if it is none."""
    above, below = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
    if not isinstance(above, int | float) or not isinstance(below, int | float) or below == 0:
        return None
    number = above / below
    return number if math.isfinite(number) and number > 0 else None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _plausible(size_um: float) -> float | None:
    return size_um if _SMALLEST_PIXEL_UM <= size_um <= _LARGEST_PIXEL_UM else None
