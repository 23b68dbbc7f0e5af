"""What a check is given, and what it says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spheroidd.config import Config
from spheroidd.store.folder import StateFolder

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was found, what to do (empty: nothing)."""

    what: str
    level: Level
    found: str
    next_step: str = ""


@dataclass(frozen=True)
class Survey:
    """What lies in a watched folder: image files, folders that hold some, whether the kernel
    is to report what happens there."""

    images: int
    folders: int
    native: bool


@dataclass(frozen=True)
class Installation:
    """What is checked.

    Attributes:
        home: where model weights and CellProfiler's environment lie.
        surveys: by watched folder, filled in by the checks that look into them.
    """

    config: Config
    home: Path
    surveys: dict[Path, Survey] = field(default_factory=dict)

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.config.state_dir)
