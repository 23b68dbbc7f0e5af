"""CellProfiler's own environment: find a CPython 3.10, install into it, check it.

CellProfiler can't share an environment with rembg (numpy 1.23 against numpy 2), so it
lives under `<home>/engine`, built from the wheels that `worker/requirements.txt` pins by
hash.  Only `worker/worker.py` ever runs in there.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spheroidd.errors import EngineError

WORKER = Path(__file__).parent / "worker" / "worker.py"
REQUIREMENTS = WORKER.with_name("requirements.txt")
# Part of the stamp: a higher number makes `install` build anew though nothing is re-pinned.
LAYOUT = 1
STAMP = "spheroidd.json"
INSTALL_HINT = "Run `spheroidd engine install`."
PYTHON_HINT = (
    "Install CPython 3.10 (your distribution's python3.10 package, or `pyenv install 3.10`) "
    "and run `spheroidd engine install --python PATH` with the path of its executable."
)

# uv trusts the system's certificates too: an inspecting proxy has its own in there.
_CERTIFICATES = {"UV_SYSTEM_CERTS": "1"}

Report = Callable[[str], None]


@dataclass(frozen=True)
class EnvironmentInfo:
    """What is installed: the environment's Python, CellProfiler's version, and whether
    it was built from the requirements of this spheroidd."""

    python: Path
    cellprofiler: str
    current: bool


def engine_python(home: Path) -> Path:
    """The Python that runs the worker, whether or not it is installed yet."""
    return home / "engine" / "bin" / "python"


def check(home: Path) -> EnvironmentInfo:
    """Look at the environment under `home`.  Raises EngineError where there is no usable one."""
    python = engine_python(home)
    try:
        python.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise EngineError(f"CellProfiler is not installed under '{home}'.", INSTALL_HINT) from None
    except OSError as error:
        # It is a link: the Python it leads to may lie in a home folder closed to us.
        raise EngineError(
            f"CellProfiler's Python '{python}' can't be looked at: {error.strerror}.",
            "Give this user access to it, or run `spheroidd engine install --python PATH` "
            "with a CPython 3.10 that this user may run.",
        ) from error
    version = _python_says(
        python, "__import__('importlib.metadata').metadata.version('cellprofiler')"
    )
    if version is None:
        raise EngineError(f"CellProfiler's environment under '{home}' is broken.", INSTALL_HINT)
    return EnvironmentInfo(python, version, _stamp_of(home / "engine") == _wanted_stamp())


def install(home: Path, *, python: Path | None = None, report: Report) -> Path:
    """Build the environment under `home`, unless it is there and up to date.

    Args:
        home: folder that belongs to spheroidd; created if missing.
        python: a CPython 3.10 to build on; searched for if None.
        report: called with each step, one line at a time.

    Returns the environment's Python.  Raises EngineError.
    """
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    target = home / "engine"
    with _locked(home / "engine.lock"):
        if _up_to_date(target):
            report(f"CellProfiler's environment is up to date: {target}")
            return engine_python(home)
        base = find_python(home, python, report)
        building = home / "engine.new"
        shutil.rmtree(building, ignore_errors=True)
        report(f"Building CellProfiler's environment on {base}")
        for command in install_commands(_uv(), base, building):
            _run(command, report)
        report("Starting CellProfiler once")
        _try_out(building)
        (building / STAMP).write_text(json.dumps(_wanted_stamp()), encoding="utf-8")
        _swap(building, target)
    info = check(home)
    report(f"CellProfiler {info.cellprofiler} is installed: {target}")
    return info.python


def install_commands(uv: Path | None, base: Path, folder: Path) -> list[list[str]]:
    """The commands that fill `folder`, with uv or else with `base`'s own pip.

    Wheels only, each checked against its hash: no compiler runs and nothing unpinned comes in.
    """
    python = str(folder / "bin" / "python")
    pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]
    if uv:
        return [
            [str(uv), "venv", "--no-project", "--python", str(base), str(folder)],
            [str(uv), "pip", "install", "--python", python, *pinned],
        ]
    return [
        [str(base), "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--disable-pip-version-check", *pinned],
    ]


def find_python(home: Path, configured: Path | None, report: Report = lambda _: None) -> Path:
    """The executable of a CPython 3.10 that really runs.

    Tried in this order: `configured` (nothing else if given), python3.10 on PATH, pyenv's
    versions, what uv knows; at last uv downloads one into `<home>/python`.
    Raises EngineError if there is none.
    """
    if configured:
        found = _verified(configured)
        if found is None:
            raise EngineError(f"'{configured}' is not a working CPython 3.10.", PYTHON_HINT)
        return found
    uv, environment = _uv(), {"UV_PYTHON_INSTALL_DIR": str(home / "python")}
    for candidate in _candidates(uv, environment):
        if found := _verified(candidate):
            return found
    if uv:
        report("No CPython 3.10 on this machine: asking uv to download one")
        try:
            _run([str(uv), "python", "install", "3.10"], report, environment)
        except EngineError as error:
            raise EngineError(
                "There is no CPython 3.10 on this machine and uv could not download one.",
                PYTHON_HINT,
            ) from error
        for candidate in sorted((home / "python").glob("cpython-3.10*/bin/python3.10")):
            if found := _verified(candidate):
                return found
    raise EngineError("CellProfiler needs CPython 3.10, and none was found.", PYTHON_HINT)


def _candidates(uv: Path | None, environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and (Path(folder) / "python3.10").is_file():
            yield Path(folder) / "python3.10"
    # pyenv puts shims on PATH that refuse to run unless 3.10 is the version in use.
    for versions in _pyenv_versions():
        yield from sorted(versions.glob("3.10*/bin/python3.10"), reverse=True)
    if uv and (found := _ask([str(uv), "python", "find", "--no-project", "3.10"], environment)):
        yield Path(found)


def _pyenv_versions() -> Iterator[Path]:
    """Where pyenv may keep its Pythons: its root as told, as seen on PATH, or as our own
    Python shows it; the home folder alone is not enough (a service has another one)."""
    yield Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder).name == "shims":
            yield Path(folder).parent / "versions"
    yield Path(sys.base_prefix).parent


def _verified(candidate: Path) -> Path | None:
    """The real executable behind a candidate, if it runs and is a CPython 3.10."""
    answer = _python_says(
        candidate,
        "'%s %d.%d ' % (__import__('platform').python_implementation(), *sys.version_info[:2])"
        " + sys._base_executable",
    )
    prefix = "CPython 3.10 "
    return Path(answer.removeprefix(prefix)) if answer and answer.startswith(prefix) else None


def _uv() -> Path | None:
    """The uv of our own environment, else the one on PATH, else None."""
    ours = Path(sys.prefix) / "bin" / "uv"
    found = str(ours) if ours.is_file() else shutil.which("uv")
    return Path(found) if found else None


def _python_says(python: Path, expression: str) -> str | None:
    """The text that an expression gives under some Python, or None if it can't be had."""
    return _ask([str(python), "-I", "-c", f"import sys; sys.stdout.write({expression})"])


def _ask(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str | None:
    """The last line a command prints, or None if it doesn't run, fails, or prints nothing."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**_CERTIFICATES, **os.environ, **(environment or {})},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else None


def _run(
    command: Sequence[str], report: Report, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command, report its output line by line, raise EngineError if it fails."""
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**_CERTIFICATES, **os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                report(line.rstrip())
                last = [*last, line.strip()][-5:]
    if process.returncode:
        said = "\n".join(last)
        raise EngineError(
            f"`{' '.join(map(str, command[:3]))} …` failed with code {process.returncode}:\n{said}",
            "Package index and disk space are the usual causes; then "
            "run `spheroidd engine install` again.",
        )


def _try_out(folder: Path) -> None:
    """Import all of CellProfiler.

    That proves it works here, and leaves its bytecode, which a daemon that may not write
    into this folder would otherwise compile at every start.
    """
    with tempfile.TemporaryDirectory() as scratch:
        worker = [str(WORKER), "--check", "--scratch", scratch]
        _run([str(folder / "bin" / "python"), "-I", *worker], lambda _: None)


def _wanted_stamp() -> dict[str, object]:
    sha256 = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return {"requirements": sha256, "layout": LAYOUT}


def _stamp_of(folder: Path) -> object:
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _up_to_date(folder: Path) -> bool:
    """Stamped with our pins, and its Python still runs (a base Python can be uninstalled)."""
    if _stamp_of(folder) != _wanted_stamp():
        return False
    return _python_says(folder / "bin" / "python", "'runs'") == "runs"


def _swap(building: Path, target: Path) -> None:
    """Put the finished folder in place; a kill in between leaves the old one or none."""
    old = target.with_name("engine.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    building.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two installations at once would build in each other's folder: the second one waits."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
