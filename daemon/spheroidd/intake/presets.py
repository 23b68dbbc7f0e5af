"""Name patterns for the instruments that people have, and what a name can say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_PATTERN = r"(?P<plate>[^/]+)/(?:.+/)?(?P<well>[^/]+)/(?P<name>[^/]+)$"


@dataclass(frozen=True)
class ParsedName:
    """What a path says about its image; texts are as written, without blanks around them.

    `taken_at` is naive: the instrument's local time.  `elapsed` counts from the plate's start.
    """

    plate: str
    well: str
    name: str
    timepoint: int | None = None
    field: str | None = None
    channel: str | None = None
    taken_at: datetime | None = None
    elapsed: timedelta | None = None


@dataclass(frozen=True)
class Preset:
    """A ready-made pattern for one instrument, with paths that show what it makes of them."""

    pattern: str
    description: str
    examples: tuple[tuple[str, ParsedName], ...]


PRESETS: Mapping[str, Preset] = {
    "cell-iq": Preset(
        DEFAULT_PATTERN,
        "Cell-IQ, and anything else with a folder per plate and a folder per well "
        "(or position) in it; folders between the two are skipped",
        (
            (
                "20230915 - CQ22 3D/A1/A1_011.jpg",
                ParsedName("20230915 - CQ22 3D", "A1", "A1_011.jpg", timepoint=11),
            ),
            (
                "20230804 - CQ21 2D (AZD, Metf)/JPEG outline/B2/d3.jpg",
                ParsedName("20230804 - CQ21 2D (AZD, Metf)", "B2", "d3.jpg", timepoint=3),
            ),
        ),
    ),
    "incucyte": Preset(
        # Read from the right, because the prefix is free text and may hold underscores.
        r"(?P<name>(?P<plate>[^/]+)_(?P<well>[A-Z]{1,2}\d{1,2})_(?P<field>\d+)_"
        r"(?:(?P<days>\d+)d(?P<hours>\d+)h(?P<minutes>\d+)m"
        r"|(?P<year>\d{4})y(?P<month>\d+)m(?P<day>\d+)d_(?P<hour>\d+)h(?P<minute>\d+)m)"
        r"\.[^./]+)$",
        "Incucyte, with elapsed times or with dates in the names; "
        "the prefix of the name is the plate, whatever the folder",
        (
            (
                "VID1335_A7_1_00d05h00m.jpg",
                ParsedName(
                    "VID1335", "A7", "VID1335_A7_1_00d05h00m.jpg", field="1",
                    elapsed=timedelta(hours=5),
                ),
            ),
            (
                "export/T101_x_A11_1_2023y08m30d_16h09m.tif",
                ParsedName(
                    "T101_x", "A11", "T101_x_A11_1_2023y08m30d_16h09m.tif", field="1",
                    taken_at=datetime(2023, 8, 30, 16, 9),  # noqa: DTZ001  local to the instrument
                ),
            ),
        ),
    ),
    "cytation": Preset(
        # well_step_channel_field[Z plane]_channel_time; the time is negative in a single read.
        r"(?P<plate>[^/]+)/(?P<name>(?P<well>[A-Z]{1,2}\d{1,2})_\d+_\d+_"
        r"(?P<field>\d+(?:Z\d+)?)_(?P<channel>[^/_]+)_(?:(?P<timepoint>\d+)|-\d+)\.[^./]+)$",
        "Cytation and other imagers run by Gen5; the folder is the plate, "
        "and the plane of a Z stack is kept with the field (1Z1)",
        (
            (
                "231012_Plate 1/F2_03_1_1Z1_Bright Field_002.tif",
                ParsedName(
                    "231012_Plate 1", "F2", "F2_03_1_1Z1_Bright Field_002.tif",
                    timepoint=2, field="1Z1", channel="Bright Field",
                ),
            ),
            (
                "exp/Plate 7/A10_02_1_1_Bright Field_001.tif",
                ParsedName(
                    "Plate 7", "A10", "A10_02_1_1_Bright Field_001.tif",
                    timepoint=1, field="1", channel="Bright Field",
                ),
            ),
        ),
    ),
    "imagexpress": Preset(
        # The negative look-ahead keeps the instrument's own folders from being taken for a plate,
        # the shortest prefix keeps w1 from being taken for a well.
        r"(?:^|/)(?!TimePoint_|ZStep_)(?P<plate>[^/]+)/(?:TimePoint_(?P<timepoint>\d+)/)?"
        r"(?P<name>(?:[^/]*?_)??(?P<well>[A-Z]{1,2}\d{1,2})(?:_s(?P<field>\d+))?"
        r"(?:_w(?P<channel>\d))?(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?\.[^./]+)$",
        "ImageXpress; the plate is the folder above TimePoint_N, "
        "thumbnails (_thumb) and ZStep_N folders are left out",
        (
            (
                "HCT 5/TimePoint_3/A01_s1_w1.tif",
                ParsedName(
                    "HCT 5", "A01", "A01_s1_w1.tif", timepoint=3, field="1", channel="1"
                ),
            ),
            (
                "2023-10-12/8811/Exp12_H12_s2_w1.TIF",
                ParsedName("8811", "H12", "Exp12_H12_s2_w1.TIF", field="2", channel="1"),
            ),
        ),
    ),
}  # fmt: skip
