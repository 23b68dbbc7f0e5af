"""One watched folder with its intake, stepped by hand."""

from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.stage import Intake
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger

NOW = 1_700_000_000.0
PATTERN = r"(?P<plate>[^/]+)/(?:.+/)?(?P<well>[^/]+)/(?P<name>[^/]+)$"


class Bench:
    """One intake on one folder, with a clock that only moves when told."""

    def __init__(self, tmp_path: Path, log: Any, **settings: Any) -> None:
        self.root = tmp_path / "export"
        self.root.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "root": self.root,
            "pattern": NamePattern(PATTERN),
            "extensions": ("jpg", "png", "tif"),
            "observer": "polling",
            "settle_seconds": 5.0,
            "poll_seconds": 60.0,
            "scan_seconds": 300.0,
            "interval_minutes": None,
            "timezone": UTC,
            "pixel_size_um": None,
            **settings,
        }
        self.database = Database(tmp_path / "spheroidd.db")
        self.ledger = Ledger(self.database)
        self.clock = 0.0
        self.intake = Intake(
            Folder(**values),
            self.ledger,
            Health(self.database),
            log,
            monotonic=lambda: self.clock,
        )
        self.intake.start(NOW)

    def step_all(self) -> None:
        for _ in range(1000):
            if not self.intake.step(NOW + self.clock):
                return
        raise AssertionError("it never comes to rest")

    def pass_time(self, seconds: float, *, scan: bool = False) -> None:
        self.clock += seconds
        if scan:
            self.intake.rescan()
        self.step_all()

    def arrive(self, seconds: float = 6.0) -> None:
        """A scan sees what is there, and the settling time passes."""
        self.pass_time(1, scan=True)
        self.pass_time(seconds)

    def picture(self, name: str, size: tuple[int, int] = (60, 40), seed: int = 0) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 255, size[::-1], dtype=np.uint8)
        Pillow.fromarray(noise).save(path)
        return path

    def rows(self, columns: str = "*") -> list[dict[str, Any]]:
        return self.database.rows(f"SELECT {columns} FROM images ORDER BY id")
