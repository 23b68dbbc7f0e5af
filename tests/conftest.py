"""What many tests stand on: real images, the real small model, a log that can be read."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from spheroidd.home import installation_home

# Tests that import rembg themselves need not wait for numba either; see segment/rembg_home.py.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def home() -> Path:
    """Where `make setup` puts the model and CellProfiler's environment."""
    return installation_home()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real images; they are test material and never part of the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real images are not here ({folder})")
    return folder


@pytest.fixture
def captured_log() -> tuple[Any, list[dict[str, Any]]]:
    """A logger and the list of events it was told."""
    events: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: Any) -> Any:
        events.append({"level": level, **event})
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[keep]), events


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration for folders under tmp_path; sections are given as dictionaries."""

    def write(**sections: Any) -> Path:
        export = tmp_path / "export"
        export.mkdir(exist_ok=True)
        watch = {"path": str(export), "settle_seconds": 0.2, **sections.pop("watch", {})}
        settings = {"watch": [watch], "state_dir": str(tmp_path / "state"), **sections}
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML
        return path

    return write
