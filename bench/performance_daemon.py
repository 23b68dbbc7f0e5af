"""The real daemon: a flood of images, a whole plate, one image at a time, its start."""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from performance_process import Cost, ended, timed
from spheroidd.store.reader import Reader

COMMAND = [sys.executable, "-m", "spheroidd"]
SETTLE = 1.0  # seconds, where one image comes at a time
_PATIENCE = 300.0
_LOOK_EVERY = 0.01

Line = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Which model the daemon runs, and on what."""

    model: str
    device: str


@dataclass(frozen=True)
class PlateRun:
    """A plate from nothing to its last area; seconds.

    Attributes:
        cost: the daemon and CellProfiler's worker, from exec to exit.
        idle: the same of a start with nothing to do.
        busy: from the first image complete to the last one measured.
        looks: runs of a model per image.
        modules_cpu: CPU seconds per image in CellProfiler's own modules, as it counts them.
    """

    images: int
    cost: Cost
    idle: Cost
    busy: float
    looks: float
    modules_cpu: float


def configure(folder: Path, export: Path, setup: Setup, **sections: dict[str, Any]) -> Path:
    """A configuration in `folder`; sections add to what stands here."""
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    watch = {"path": str(export), "settle_seconds": 0, "interval_minutes": 180}
    segmentation = {"model": setup.model, "device": setup.device}
    settings = {
        "watch": [watch | sections.pop("watch", {})],
        "state_dir": str(folder / "state"),
        "segmentation": segmentation | sections.pop("segmentation", {}),
        "disk": {"reserve_gb": 0.5},
        "logging": {"format": "json"},
        **sections,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def plate(folder: Path, files: Sequence[Path], setup: Setup) -> PlateRun:
    """The daemon as it is configured by default, on a folder that is full already."""
    (export := folder / "export").mkdir(parents=True)
    config = configure(folder / "daemon", export, setup)
    until_idle(config)  # the very first start compiles models, and keeps them
    idle = until_idle(config)[0]
    fill(export, files)
    cost, lines = until_idle(config)
    measured = moments(lines, "measured")
    if len(measured) != len(files):
        raise RuntimeError(f"{len(measured)} of {len(files)} images were measured")
    busy = max(measured) - min(moments(lines, "image complete"))
    state = folder / "daemon" / "state"
    with Reader(state / "spheroidd.db") as reader:
        rows = reader.rows("SELECT evidence FROM segmentations")
    looks = [json.loads(row["evidence"]).get("looks", 1.0) for row in rows]
    return PlateRun(
        images=len(files),
        cost=cost,
        idle=idle,
        busy=busy,
        looks=sum(looks) / len(files),
        modules_cpu=modules_cpu(state) / len(files),
    )


def fill(export: Path, files: Sequence[Path]) -> None:
    """The same files in another folder, by plate, well and name; nothing is copied."""
    for path in files:
        target = export.joinpath(*path.parts[-3:])
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)


def modules_cpu(state: Path) -> float:
    """CPU seconds in CellProfiler's own modules over all images, from its spreadsheets."""
    total = 0.0
    for path in state.rglob("Image.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                total += sum(
                    float(value)
                    for name, value in row.items()
                    if name.startswith("ExecutionTime_") and "ImagesFromMemory" not in name
                )
    return total


def flood(folder: Path, files: Sequence[Path], setup: Setup) -> float:
    """Seconds per image of the daemon's segmentation of a full folder: one look at each image,
    CellProfiler at work beside it: it is given what there is as soon as no full batch is coming."""
    fill(folder / "export", files)
    config = configure(
        folder / "daemon",
        folder / "export",
        setup,
        segmentation={"refine": False},
        measurement={"batch": {"max_images": 1000, "max_wait_seconds": 3600}},
    )
    segmented = moments(until_idle(config)[1], "segmented")
    if len(segmented) != len(files):
        raise RuntimeError(f"{len(segmented)} of {len(files)} images were segmented")
    return (max(segmented) - min(segmented)) / (len(files) - 1)


def until_idle(config: Path) -> tuple[Cost, list[Line]]:
    log = config.with_name("log")
    cost = timed([*COMMAND, "run", "-c", config, "--until-idle"], log)
    return cost, [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]


def moments(lines: list[Line], event: str) -> list[float]:
    """When an event was logged, in seconds since the epoch."""
    stamps = (line["timestamp"] for line in lines if line["event"] == event)
    return [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]


def live(folder: Path, files: list[Path], setup: Setup, seconds: float) -> Iterator[float]:
    """Seconds from an image's last rename to its row, one image at a time, less the settle time.

    Ends early when it has taken `seconds`.
    """
    (export := folder / "export").mkdir(parents=True)
    config = configure(folder / "daemon", export, setup, watch={"settle_seconds": SETTLE})
    with running(config), Reader(folder / "daemon" / "state" / "spheroidd.db") as reader:
        until = time.monotonic() + seconds
        for number, path in enumerate(files, start=1):
            yield _one(path, export / "Bench" / "A1" / f"A1_{number:03d}.jpg", reader) - SETTLE
            if time.monotonic() > until:
                return


def _one(source: Path, target: Path, reader: Reader) -> float:
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_suffix(".part")
    shutil.copyfile(source, arriving)
    arriving.rename(target)
    began = time.perf_counter()
    sql = "SELECT state FROM images WHERE path = :path"
    while time.perf_counter() < began + _PATIENCE:
        rows = reader.rows(sql, {"path": str(target)})
        if rows and rows[0]["state"] == "measured":
            return time.perf_counter() - began
        time.sleep(_LOOK_EVERY)
    raise RuntimeError(f"{target.name} was not measured in {_PATIENCE:.0f} s")


def start_seconds(config: Path, times: int) -> list[float]:
    """From exec to READY=1 on systemd's socket, each time; the first one fills the caches."""
    seconds = []
    for _ in range(times):
        with running(config) as ready:
            seconds.append(ready)
    return seconds


@contextmanager
def running(config: Path) -> Iterator[float]:
    """The daemon in the background; gives the seconds that it took to be ready."""
    log = config.with_name("log")
    (address := config.with_name("notify")).unlink(missing_ok=True)
    # Closed once it has said READY: where nobody reads on, it would wait with what it says next.
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(str(address))
        began = time.perf_counter()
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*COMMAND, "run", "-c", str(config)],
                stderr=stream,
                env={**os.environ, "NOTIFY_SOCKET": str(address)},
            )
        _await_ready(channel, process, log)
        ready = time.perf_counter() - began
    try:
        yield ready
    finally:
        process.send_signal(signal.SIGTERM)
        ended(process, began, log)


def _await_ready(channel: socket.socket, process: "subprocess.Popen[bytes]", log: Path) -> None:
    channel.settimeout(1.0)
    until = time.monotonic() + _PATIENCE
    while process.poll() is None:
        if time.monotonic() > until:
            process.kill()
        with contextlib.suppress(TimeoutError):
            if channel.recv(4096).startswith(b"READY=1"):
                return
    raise RuntimeError(f"the daemon did not get ready: {log.read_text()[-2000:]}")


def command_cpu(config: Path, *arguments: str, times: int = 5) -> list[float]:
    """CPU seconds of a command, each time."""
    log = config.with_name("command.log")
    wanted = [*COMMAND, *arguments]
    return [timed(wanted, log).cpu for _ in range(times)]
