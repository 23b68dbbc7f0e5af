"""Rows that several rooms' tests start from, complete where a test does not care."""

from typing import Any

from spheroidd.intake.naming import natural_key
from spheroidd.store.database import timestamp
from spheroidd.store.images import Admission

NOW = 1_700_000_000.0


def admission(well: str = "A1", name: str = "1.jpg", **said: Any) -> Admission:
    """What intake would have learned of one image; the content differs as the file does."""
    usual: dict[str, Any] = {
        "plate": "P", "well": well, "name": name, "timepoint": None, "field": None,
        "channel": None, "captured_at": timestamp(NOW), "captured_from": "name",
        "plate_key": "P", "well_key": natural_key(well), "time_key": timestamp(NOW),
        "sha256": f"{well}/{name}", "size": 1, "mtime_ns": 1, "width": 40, "height": 30,
        "bit_depth": 8, "pixel_size_um": None,
    }  # fmt: skip
    return Admission(**{**usual, **said})
