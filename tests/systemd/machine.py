"""A machine of its own for a real systemd: namespaces, and a root folder that is all its own."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

BOOT = Path(__file__).with_name("boot.sh")
SYSTEMD = Path("/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "setpriv", "pivot_root", "timeout", "systemctl", "useradd")
NOT_ALLOWED = 77
AT_MOST_SECONDS = 400  # then it is killed, whatever becomes of the test


class Machine:
    """One booted systemd. Commands run inside; `path` reaches its files from outside."""

    def __init__(self, starter: "subprocess.Popen[bytes]", pid: int) -> None:
        self._starter = starter
        self.pid = pid  # systemd's, as the real machine sees it

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self.pid}/root{inside}")

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command inside, by root."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid",
             "--cgroup", *command],
            capture_output=True, text=True, timeout=150, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PAGER": "cat"},
        )  # fmt: skip
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr, self.log())
        return done

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(names)}").stdout
        return dict(line.split("=", 1) for line in lines.splitlines())

    def journal(self, unit: str, *words: str) -> list[dict[str, Any]]:
        """A unit's entries, the oldest first."""
        lines = self.run("journalctl", "--unit", unit, "--output=json", "--all", *words).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def log(self) -> str:
        """The last of what systemd and the services said."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--all", "journalctl", "--lines=60", "--no-pager"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self._starter.poll() is None, "systemd has ended"
            assert time.monotonic() < end, f"not in {seconds:.0f} s: {self.log()}"
            time.sleep(0.2)


@contextlib.contextmanager
def booted(folder: Path, *needed: Path) -> Iterator[Machine]:
    """A real systemd as PID 1 of namespaces that end with it; skips where that can't be.

    Args:
        folder: empty; holds nothing but mount points that nobody outside sees.
        needed: folders of the real machine that must be there.
    """
    _skip_without_tools()
    cgroup = _own_cgroup(f"spheroidd-test-{os.getpid()}")
    for name in ("layers", "root"):
        (folder / name).mkdir()
    console = folder / "console"
    starter = _start(folder, cgroup, console, needed)
    try:
        yield Machine(starter, _systemd_of(starter, console))
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in psutil.Process(starter.pid).children(recursive=True)[:2]:
                one.send_signal(signal.SIGKILL)  # PID 1's end is the end of all the others
        starter.kill()
        starter.wait(60)
        _remove_cgroup(cgroup)


def _skip_without_tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a systemd in namespaces of its own")
    if not SYSTEMD.exists():
        pytest.skip("systemd is not installed here")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


def _own_cgroup(name: str) -> Path:
    """A cgroup below ours, which becomes the root of what systemd sees."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [words for words in mounts if words[words.index("-") + 1] == "cgroup2"]
    ours = [
        line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
    ]
    if not roots or not ours:
        pytest.skip("there is no cgroup2 here")
    below = os.path.relpath(ours[0], roots[0][3])
    cgroup = Path(roots[0][4], below, name)
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    return cgroup


def _remove_cgroup(cgroup: Path) -> None:
    """All of it; the kernel takes a moment to notice that the last process is gone."""
    end = time.monotonic() + 20
    while cgroup.exists():
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        assert time.monotonic() < end, f"{cgroup} stays"
        time.sleep(0.05)


def _start(
    folder: Path, cgroup: Path, console: Path, needed: tuple[Path, ...]
) -> "subprocess.Popen[bytes]":
    into = f'echo 0 > "{cgroup}/cgroup.procs" && exec "$@"'
    with console.open("wb") as output:
        return subprocess.Popen(
            ["sh", "-c", into, "sh", "timeout", "--signal=KILL", str(AT_MOST_SECONDS),
             "unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork",
             "--kill-child", "sh", str(BOOT), str(folder), *map(str, needed)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def _systemd_of(starter: "subprocess.Popen[bytes]", console: Path) -> int:
    """The process id of the booted systemd, once it answers."""
    end = time.monotonic() + 60
    while True:
        text = console.read_text(errors="replace")
        status = starter.poll()
        if (
            status is not None
            and "booting" not in text
            and (status == NOT_ALLOWED or text.startswith("unshare:"))
        ):
            pytest.skip(f"a systemd can't be started here: {text.strip()[-300:]}")
        assert status is None, f"systemd has ended with {status}: {text[-3000:]}"
        assert time.monotonic() < end, f"systemd did not come up: {text[-3000:]}"
        inside = [one.pid for one in psutil.Process(starter.pid).children(recursive=True)]
        for pid in itertools.islice(inside, 1, None):
            if "booting" in text and Path(f"/proc/{pid}/root/run/systemd/private").exists():
                return pid
        time.sleep(0.1)


def folders_of_the_program(home: Path) -> list[Path]:
    """Where Python, CellProfiler's Python and the program itself lie."""
    engine = (home / "engine" / "bin" / "python").resolve().parents[1]
    checkout = Path(__file__).resolve().parents[2]
    return [checkout, Path(sys.prefix), Path(sys.base_prefix), home.resolve(), engine]
