"""Who may import whom, how large things may grow, and what may never be written."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "daemon" / "spheroidd"

# A room and the rooms it may import; `errors` and the package itself are open to all.
MAY_IMPORT = {
    "errors": set(),
    "config_types": set(),
    "config_upkeep": {"config_types"},
    "config_web": {"config_types"},
    "config": {"config_types", "config_upkeep", "config_web"},
    "config_file": {"config"},
    "home": set(),
    "store": set(),
    "intake": {"store"},
    "segment": {"store"},
    "measure": {"store"},
    "report": {"store"},
    "system": set(),
    "upkeep": {"store"},
    "alerts": {"store"},
    "monitor": {"store", "report"},
    "web": {"store", "report"},
    "doctor": {
        "config",
        "home",
        "store",
        "intake",
        "segment",
        "measure",
        "report",
        "upkeep",
        "alerts",
        "system",
        "assembly",
        "warming",
    },
    "keepers": {"config", "parts", "store", "upkeep", "alerts", "monitor", "system"},
    "parts": {"store", "intake", "segment", "measure", "upkeep", "alerts", "monitor", "system"},
    "simulator": set(),
    "warming": {"config", "store", "segment", "measure"},
    "assembly": {
        "config",
        "keepers",
        "parts",
        "warming",
        "store",
        "intake",
        "segment",
        "measure",
        "upkeep",
        "alerts",
        "monitor",
        "system",
    },
    "reloading": {"alerts", "config"},
    "heartbeat": {"parts", "reloading", "store", "system"},
    "idling": {"heartbeat", "parts"},
    "stopping": {"parts", "system"},
    "service": {
        "alerts",
        "assembly",
        "config",
        "heartbeat",
        "idling",
        "keepers",
        "parts",
        "reloading",
        "stopping",
        "store",
        "system",
    },
    "again": {"store", "segment", "measure"},
    "remeasure": {"again", "assembly", "warming", "config", "store", "intake", "system"},
    "cli": {
        "config",
        "config_file",
        "home",
        "store",
        "intake",
        "segment",
        "measure",
        "service",
        "again",
        "remeasure",
        "assembly",
        "system",
        "report",
        "simulator",
        "upkeep",
        "alerts",
        "doctor",
        "web",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
OURS = [path for path in sorted(PACKAGE.rglob("*.py")) if "worker" not in path.parts]
WORKER = sorted((PACKAGE / "measure" / "worker").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            if module == "spheroidd":
                yield from (f"spheroidd.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    rooms = {
        module.split(".")[1]
        for module in imports(path)
        if module.startswith("spheroidd.") and module != "spheroidd.__version__"
    }
    assert rooms - {room, "errors"} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", WORKER, ids=lambda path: path.name)
def test_the_worker_imports_nothing_of_ours(path: Path) -> None:
    assert not [module for module in imports(path) if module.split(".")[0] == "spheroidd"]


@pytest.mark.parametrize("path", OURS + WORKER, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_grows_too_large(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 330, "a module of about 300 lines wants to be two"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or 0) - node.lineno - docstring.count("\n")
            assert lines <= 48, f"{node.name} is {lines} lines long"


def test_only_the_command_line_prints_or_exits() -> None:
    loud = re.compile(r"\bprint\(|sys\.exit\(|raise SystemExit")
    for path in OURS:
        if room_of(path) not in ("cli",):
            assert not loud.search(path.read_text()), path


def test_sql_stays_in_the_store() -> None:
    words = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b [a-z*(]")
    for path in OURS:
        if room_of(path) != "store":
            assert not words.search(path.read_text()), path


def test_no_vague_module_names() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    assert not [path for path in OURS if path.stem in vague]


def test_no_lock_file_names_a_host() -> None:
    files = subprocess.run(
        ["git", "ls-files", "*.txt", "*.lock", "*.in", "*.toml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert any(name.endswith("cpu.txt") for name in files)
    for name in files:
        assert "://" not in (REPOSITORY / name).read_text(), name
