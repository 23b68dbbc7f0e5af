"""One watched folder, in plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Literal

from spheroidd.intake.naming import NamePattern


@dataclass(frozen=True)
class Folder:
    """Where to look, and how to read what is there; the units are in the names."""

    root: Path
    pattern: NamePattern
    extensions: Sequence[str]
    observer: Literal["auto", "native", "polling"]
    settle_seconds: float
    poll_seconds: float
    scan_seconds: float
    interval_minutes: float | None
    timezone: tzinfo | None
    pixel_size_um: float | None
