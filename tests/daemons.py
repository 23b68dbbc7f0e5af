"""The real daemon in a process of its own."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from spheroidd.store.reader import Reader


class Daemon:
    """Runs commands on one configuration, and the daemon itself in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.export = folder / "export"
        self.state = folder / "state"
        self.config = folder / "config.yaml"
        self.process: subprocess.Popen[str] | None = None
        self._log_file = folder / "daemon.log"

    def configure(self, *, watch: dict[str, Any] | None = None, **sections: Any) -> "Daemon":
        self.export.mkdir(parents=True, exist_ok=True)
        settings = {
            "watch": [{"path": str(self.export), "settle_seconds": 0.5, **(watch or {})}],
            "state_dir": str(self.state),
            "segmentation": {"model": "u2netp"},
            "measurement": {"batch": {"max_images": 8, "max_wait_seconds": 1}},
            **sections,
        }
        # Not `auto`: a trial at every first start costs seconds, and what wins depends on them.
        settings["segmentation"] = {"device": "cpu", **settings["segmentation"]}
        self.config.write_text(yaml.safe_dump(settings))
        return self

    def command(self, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command of the program, with `-c` where it takes a configuration."""
        done = subprocess.run(
            [sys.executable, "-m", "spheroidd", arguments[0], "-c", str(self.config),
             *arguments[1:]],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if check is not None:
            assert done.returncode == check, (done.returncode, done.stdout, done.stderr[-3000:])
        return done

    def start(self, **environment: str) -> None:
        """The daemon in the background; its log is kept."""
        with self._log_file.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spheroidd", "run", "-c", str(self.config)],
                stdout=log, stderr=log, text=True, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(150)

    def log(self) -> list[dict[str, Any]]:
        lines = self._log_file.read_text().splitlines() if self._log_file.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_until(self, condition: Callable[[], bool], seconds: float = 240.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            running = self.process is None or self.process.poll() is None
            text = self._log_file.read_text()[-3000:] if self._log_file.exists() else ""
            assert running, f"the daemon has ended: {text}"
            assert time.monotonic() < end, f"not in {seconds} s: {text}"
            time.sleep(0.1)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        if not (self.state / "spheroidd.db").exists():
            return []
        with Reader(self.state / "spheroidd.db") as reader:
            return reader.rows(sql)

    def count(self, state: str) -> int:
        try:
            return len(self.rows(f"SELECT 1 FROM images WHERE state = '{state}'"))
        except Exception:
            return 0  # the schema is not there yet

    def exported(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.command("export").stdout)))


def kill(one: Daemon) -> None:
    if one.process is not None and one.process.poll() is None:
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
