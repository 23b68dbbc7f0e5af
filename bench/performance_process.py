"""A command in a process of its own: how long it takes, and how much of the processor."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 2000  # characters of a failed command's output


@dataclass(frozen=True)
class Cost:
    """Seconds from start to end, and CPU seconds (user and system) of it and its children."""

    wall: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def per(self, images: int) -> tuple[float, float]:
        return self.wall / images, self.cpu / images


def timed(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Cost:
    """Run a command to its end; what it says goes to `log`.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    began = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **(environment or {})},
        )
    return ended(process, began, log)


def ended(process: "subprocess.Popen[bytes]", began: float, log: Path) -> Cost:
    """Wait for a process that was started at `began` (perf_counter). Raises RuntimeError."""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen waits for it once more
    if process.returncode:
        said = log.read_text(errors="replace")[-_SHOWN:]
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)
