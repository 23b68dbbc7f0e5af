"""A daemon left alone: what it takes, image after image, while a simulated instrument writes.

    python bench/soak.py [--images 5000 | --minutes 60] [--speed 60] [--refine]

Every image goes the whole way: file, mask, CellProfiler, area, flags.  With --minutes the
instrument takes pictures at `--speed` × a Cell-IQ's pace (a plate of 48 wells every 3 hours);
with --images as fast as the daemon measures them, at most 48 ahead.  Pictures are small, so that
thousands fit into an hour: what is looked for is growth, not speed.  Prints a table, writes
bench/out/soak.json and soak.png, and ends with 1 where memory, files or threads grow.
"""

import argparse
import json
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import matplotlib as mpl
import psutil
import yaml
from rich.console import Console
from rich.table import Table

from spheroidd import __version__
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan

mpl.use("Agg")
from matplotlib import pyplot as plt

OUT = Path(__file__).parent / "out"
SIZE = (192, 256)
WELLS = 48
AHEAD = 48
ROUND_SECONDS = 3 * 3600.0
WARM_IMAGES = 500  # until then caches fill
MOST_GROWTH = 0.05
console = Console(width=None if sys.stdout.isatty() else 220)


@dataclass(frozen=True)
class Sample:
    """Both processes at one moment; memory and sizes in MB, latency in seconds."""

    seconds: float
    images: int
    daemon_mb: float
    worker_mb: float
    daemon_files: int
    worker_files: int
    daemon_threads: int
    worker_threads: int
    database_mb: float
    latency_p50: float
    latency_p95: float
    latency_max: float


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="spheroidd-soak-") as name:
        folder = Path(name)
        config = configure(folder, refine=options.refine)
        measured = Measured(folder / "state" / "spheroidd.db")
        with running(config, folder / "log") as daemon, instrument(folder, options, measured) as it:
            samples = list(watch(daemon, measured, it, options))
        errors = sum('"level": "error"' in line for line in (folder / "log").open())
    table(samples)
    growth = grown(samples)
    record(samples, growth, options, errors)
    console.print(f"{samples[-1].images} images, {errors} errors in the log")
    for what, share in growth.items():
        console.print(f"{what} after the first {WARM_IMAGES}: {share:+.1%}")
    if errors or any(share > limit_of(what) for what, share in growth.items()):
        console.print("[red]it grows, or it failed; see bench/out/soak.png")
        sys.exit(1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, help="as fast as they are measured")
    parser.add_argument("--minutes", type=float, help="at --speed × an instrument's pace")
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--refine", action="store_true", help="the second look, too")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    options = parser.parse_args()
    if options.images is None and options.minutes is None:
        options.images = 5000
    return options


def configure(folder: Path, *, refine: bool) -> Path:
    (folder / "export").mkdir()
    path = folder / "config.yaml"
    settings = {
        "watch": [{"path": str(folder / "export"), "settle_seconds": 1, "interval_minutes": 180}],
        "state_dir": str(folder / "state"),
        "segmentation": {"model": "u2netp", "refine": refine},
        "measurement": {"batch": {"max_images": 24, "max_wait_seconds": 5}},
        "disk": {"reserve_gb": 0.5},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


@contextmanager
def running(config: Path, log: Path) -> Iterator[psutil.Process]:
    """The daemon, ready; stopped in order at the end."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "spheroidd", "run", "-c", str(config)],
            stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        while '"event": "ready"' not in log.read_text():
            if process.poll() is not None:
                sys.exit(f"the daemon has ended: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(150)


@contextmanager
def instrument(
    folder: Path, options: argparse.Namespace, measured: "Measured"
) -> Iterator[threading.Thread]:
    """A simulated instrument on a thread of its own; it waits where it is too far ahead."""
    wanted = options.images or int(options.minutes * 60 * options.speed * WELLS / ROUND_SECONDS)
    shots = plan(mixed_plates(1, WELLS), -(-wanted // WELLS), hours_per_frame=3.0, size=SIZE)
    pause = 0.0 if options.images else ROUND_SECONDS / WELLS / options.speed
    stop = threading.Event()
    written = 0

    def wait_for_the_daemon(*_: object) -> None:
        nonlocal written
        written += 1
        while options.images and written - measured.count() >= AHEAD and not stop.wait(0.2):
            pass

    device = Instrument(folder / "export", shots[:wanted], interval_seconds=pause, pieces=1)
    thread = threading.Thread(target=device.run, args=(stop, wait_for_the_daemon), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()


class Measured:
    """What the database says, over a read-only connection for each question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def count(self) -> int:
        return int(self._ask("SELECT count(*) FROM images WHERE state = 'measured'")[0][0])

    def latencies(self, last: int = 200) -> list[float]:
        """Seconds from seen to measured, of the newest images, sorted."""
        rows = self._ask(
            "SELECT (julianday(measured_at) - julianday(seen_at)) * 86400 FROM images"
            f" WHERE state = 'measured' ORDER BY id DESC LIMIT {last}"
        )
        return sorted(float(row[0]) for row in rows)

    def megabytes(self) -> float:
        files = self._path.parent.glob(f"{self._path.name}*")
        return sum(file.stat().st_size for file in files) / 1e6

    def _ask(self, sql: str) -> list[tuple[float]]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


def watch(
    daemon: psutil.Process, measured: Measured, it: threading.Thread, options: argparse.Namespace
) -> Iterator[Sample]:
    """A sample every few seconds, until all that was written is measured."""
    began = time.monotonic()
    still = 0
    last = -1
    with console.status("starting") as status:
        while it.is_alive() or still < 6:
            time.sleep(options.every)
            sample = sample_of(daemon, measured, time.monotonic() - began)
            still = still + 1 if sample.images == last else 0
            last = sample.images
            status.update(f"{sample.images} images, daemon {sample.daemon_mb:.0f} MB, "
                          f"worker {sample.worker_mb:.0f} MB")  # fmt: skip
            yield sample


def sample_of(daemon: psutil.Process, measured: Measured, seconds: float) -> Sample:
    workers = daemon.children()
    found = measured.latencies() or [0.0]
    return Sample(
        seconds=round(seconds, 1),
        images=measured.count(),
        daemon_mb=daemon.memory_info().rss / 1e6,
        worker_mb=sum(worker.memory_info().rss for worker in workers) / 1e6,
        daemon_files=daemon.num_fds(),
        worker_files=sum(worker.num_fds() for worker in workers),
        daemon_threads=daemon.num_threads(),
        worker_threads=sum(worker.num_threads() for worker in workers),
        database_mb=measured.megabytes(),
        latency_p50=statistics.median(found),
        latency_p95=found[int(0.95 * (len(found) - 1))],
        latency_max=found[-1],
    )


def grown(samples: list[Sample]) -> dict[str, float]:
    """The last tenth's median over that of the first tenth after warming up, less one."""
    warm = [sample for sample in samples if sample.images >= WARM_IMAGES] or samples
    tenth = max(1, len(warm) // 10)
    fields = ("daemon_mb", "worker_mb", "daemon_files", "worker_files", "daemon_threads",
              "worker_threads")  # fmt: skip

    def share(name: str) -> float:
        first, last = (
            statistics.median(getattr(sample, name) for sample in part)
            for part in (warm[:tenth], warm[-tenth:])
        )
        return float(last / first - 1) if first else 0.0

    return {name: share(name) for name in fields}


def limit_of(what: str) -> float:
    return MOST_GROWTH if what.endswith("_mb") else 0.0


def table(samples: list[Sample]) -> None:
    names = list(asdict(samples[0]))
    shown = Table(*(name.replace("_", " ") for name in names), title="spheroidd, left alone")
    step = max(1, len(samples) // 20)
    for sample in [*samples[::step], samples[-1]]:
        shown.add_row(*(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
                        for value in asdict(sample).values()))  # fmt: skip
    console.print(shown)


def record(
    samples: list[Sample], growth: dict[str, float], options: argparse.Namespace, errors: int
) -> None:
    OUT.mkdir(exist_ok=True)
    said = {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "spheroidd": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version[:6]}",
        "options": {key: value for key, value in vars(options).items() if value is not None},
        "growth": growth,
        "errors": errors,
        "samples": [asdict(sample) for sample in samples],
    }
    (OUT / "soak.json").write_text(json.dumps(said, indent=1) + "\n")
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    panels = {
        "memory (MB)": ("daemon_mb", "worker_mb"),
        "open files": ("daemon_files", "worker_files"),
        "threads": ("daemon_threads", "worker_threads"),
        "from seen to measured (s)": ("latency_p50", "latency_p95", "latency_max"),
        "database (MB)": ("database_mb",),
        "images": ("images",),
    }
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=True):
        for name in names:
            across = [s.seconds / 60 if title == "images" else s.images for s in samples]
            label = name.removesuffix("_mb").replace("_", " ")
            axis.plot(across, [getattr(s, name) for s in samples], label=label)
        axis.set(title=title, xlabel="minutes" if title == "images" else "images", ylim=(0, None))
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(OUT / "soak.png", dpi=110)
    console.print(f"{OUT / 'soak.png'}")


if __name__ == "__main__":
    main()
