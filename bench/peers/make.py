"""Environments for what the benchmark compares with; each from its own hashed lock.

    python bench/peers/make.py rembg|cellprofiler

makes .venv/peers/rembg, with the real `rembg p`; or .venv/peers/cellprofiler, with CellProfiler
as its users have it: CPython 3.9, its own pins, and Java's Bio-Formats through javabridge, which
is built here and needs a JDK and gcc.  What is there already is left alone.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = Path(sys.prefix) / "peers"


class PeerError(Exception):
    """A peer can't be run here; says why."""


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ("rembg", "cellprofiler"):
        sys.exit(__doc__)
    try:
        print(make(sys.argv[1]))
    except PeerError as error:
        sys.exit(f"error: {error}")


def make(name: str) -> Path:
    """The folder with a peer's commands, made if it isn't there yet.

    Raises:
        PeerError: something is missing on this machine, or the packages can't be had.
    """
    folder = ENVIRONMENTS / name
    lock = HERE / f"{name}.txt"
    wanted = hashlib.sha256(lock.read_bytes() + (HERE / "build.in").read_bytes()).hexdigest()
    stamp = folder / "made-from"
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder / "bin"
    python = Path(sys.executable) if name == "rembg" else python39()
    environment = os.environ | (java() if name == "cellprofiler" else {})
    uv = str(Path(sys.prefix, "bin", "uv"))
    shutil.rmtree(folder, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--no-project", "--python", str(python), str(folder)], environment)
    pinned = ["--no-deps", "--require-hashes", "--build-constraints", str(HERE / "build.in")]
    target = ["--quiet", "--python", str(folder / "bin" / "python")]
    _run([uv, "pip", "install", *target, *pinned, "-r", str(lock)], environment)
    stamp.write_text(wanted)
    return folder / "bin"


def java() -> dict[str, str]:
    """The environment variable that tells where the JDK is.

    Raises:
        PeerError: there is no JDK, or no C compiler.
    """
    for tool, package in (("javac", "a JDK"), ("gcc", "a C compiler")):
        if shutil.which(tool) is None:
            raise PeerError(f"there is no {tool} on this machine: CellProfiler needs {package}")
    found = os.environ.get("JAVA_HOME")
    return {"JAVA_HOME": found or str(Path(shutil.which("javac") or "").resolve().parents[1])}


def python39() -> Path:
    """A CPython 3.9 that runs.

    Raises:
        PeerError: there is none.
    """
    for candidate in _pythons():
        asked = "import sys; print(sys.version_info[:2] == (3, 9))"
        try:
            done = subprocess.run(
                [str(candidate), "-c", asked], capture_output=True, text=True, check=False
            )
        except OSError:
            continue
        if done.stdout.strip() == "True":
            return candidate
    raise PeerError("there is no CPython 3.9 on this machine: CellProfiler's own pins need it")


def _pythons() -> Iterator[Path]:
    """On PATH, and where pyenv keeps its own: its shims refuse what is not in use."""
    if found := shutil.which("python3.9"):
        yield Path(found)
    roots = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"), Path(sys.base_prefix)]
    for versions in (roots[0] / "versions", roots[1].parent):
        yield from sorted(versions.glob("3.9*/bin/python3.9"), reverse=True)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"UV_SYSTEM_CERTS": "1", **environment},
    )
    if done.returncode:
        last = " ".join(done.stderr.split())[-600:]
        raise PeerError(f"`{' '.join(command[:4])} …` failed: {last}")


if __name__ == "__main__":
    main()
