"""What a command imports. Modules are counted, not seconds: those depend on the machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spheroidd.store.database import Database

# What takes a noticeable part of a second each, or brings such things with it.
HEAVY = frozenset(
    {
        "rembg", "numpy", "scipy", "skimage", "numba", "pymatting", "onnxruntime", "openvino",
        "matplotlib", "PIL", "tifffile", "imagecodecs", "apprise", "prometheus_client",
        "sqlite_utils", "structlog", "watchdog", "rich.progress", "rich.live",
    }
)  # fmt: skip
# The configuration's classes; pydantic itself typer takes to check a command's options with.
SETTINGS = frozenset({"spheroidd.config", "yaml"})
DRAWING = frozenset({"rich.markdown", "pygments"})  # a page of help

# What may not be imported, and how many modules may be, our own and other people's (Python's
# own differ from version to version). typer and rich are 75 to 90 of them, pydantic 45, a page
# of help 95, YAML and the configuration 25. A library that slips in is many more.
TABLE = {
    "--version": (HEAVY | SETTINGS | DRAWING | {"pydantic"}, 115),
    "--help": (HEAVY | SETTINGS | {"pydantic"}, 225),
    "status": (HEAVY | DRAWING, 195),
    "export": (HEAVY | DRAWING, 195),
    "(completion)": (HEAVY | SETTINGS | DRAWING, 165),
}


def imported(*words: str, **environment: str) -> tuple[set[str], str]:
    """All modules that a command imports, but those of Python itself, and what it says."""
    program = Path(sys.executable).with_name("spheroidd")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(program), *words],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    others = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    return others, done.stdout


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    """A configuration with a database that knows one image."""
    path = write_config()
    (path.parent / "state").mkdir()
    database = Database(path.parent / "state" / "spheroidd.db")
    with database.write() as sql:
        sql.execute(
            "INSERT INTO images (root, path, size, mtime_ns, seen_at)"
            " VALUES ('/e', '/e/P/A1/1.png', 1, 1, '2026-01-01T00:00:00.000+00:00')"
        )
    database.close()
    return path


@pytest.mark.parametrize("command", TABLE)
def test_a_command_imports_what_it_needs(command: str, config: Path) -> None:
    heavy, most = TABLE[command]
    words = command.split()
    if command == "(completion)":
        asked = {"COMP_WORDS": "spheroidd sta", "COMP_CWORD": "1"}
        modules, said = imported(_SPHEROIDD_COMPLETE="complete_bash", **asked)
        assert said.split() == ["status"]
    elif words[0] in ("status", "export"):
        modules, _ = imported(*words, "-c", str(config))
    else:
        modules, _ = imported(*words)
    assert "spheroidd.cli" in modules
    assert heavy & modules == set()
    assert len(modules) <= most, sorted(modules)
