"""One watched folder whose intake lives: real threads, real time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from spheroidd.intake.answers import Answers
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.stage import Intake
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger
from spheroidd.system.loop import Loop

PATTERN = r"(?P<plate>[^/]+)/(?:.+/)?(?P<well>[^/]+)/(?P<name>[^/]+)$"


def write_picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60), dtype=np.uint8)
    Pillow.fromarray(noise).save(path)
    return path


class Living:
    """Starts at once; `stop` ends its threads."""

    def __init__(
        self,
        root: Path,
        log: Any,
        *,
        answers: Answers | None = None,
        database: Path | None = None,
        **settings: Any,
    ) -> None:
        self.root = root
        values: dict[str, Any] = {
            "root": root,
            "pattern": NamePattern(PATTERN),
            "extensions": ("jpg", "png"),
            "observer": "native",
            "settle_seconds": 0.2,
            "poll_seconds": 0.3,
            "scan_seconds": 300.0,
            "interval_minutes": None,
            "timezone": None,
            "pixel_size_um": None,
            **settings,
        }
        self.database = Database(database or root.with_name(f"{root.name}.db"))
        self.ledger = Ledger(self.database)
        self.intake = Intake(Folder(**values), self.ledger, Health(self.database), log, answers)
        self._loop = Loop("intake", self.intake, log, wake=self.intake.wake)
        self._loop.start()

    def stop(self) -> None:
        self._loop.ask_to_end()
        self._loop.join(10)
        self.intake.stop()
        self.database.close()

    def state_of(self, path: Path) -> str:
        rows = self.database.rows(
            "SELECT state FROM images WHERE path = :path ORDER BY version DESC", {"path": str(path)}
        )
        return rows[0]["state"] if rows else "not seen"

    def health(self) -> dict[str, Any]:
        rows = self.database.rows("SELECT * FROM folders WHERE root = :r", {"r": str(self.root)})
        return rows[0] if rows else {"health": "not scanned"}

    def is_well(self) -> bool:
        self.intake.look(time.time())
        return self.health()["health"] == "ok"

    def is_degraded(self) -> bool:
        self.intake.look(time.time())
        return self.health()["health"] == "degraded"


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came to be"
        time.sleep(0.02)
    return time.monotonic() - began
