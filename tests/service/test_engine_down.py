"""CellProfiler's environment breaks, or no file can be opened, under the running daemon."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from daemons import Daemon
from spheroidd.intake.imagefile import read_image
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan

pytestmark = pytest.mark.timeout(300)
HASTY = Path(__file__).with_name("hasty.py")
BROKEN = "echo 'libz.so.1: cannot open shared object file' >&2; exit 127"
FAST = {"model": "u2netp", "refine": False}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wells, two frames."""
    folder = tmp_path_factory.mktemp("instrument")
    shots = plan(mixed_plates(1, 2, seed=3), 2)
    Instrument(folder, shots, interval_seconds=0, pieces=1, pause_seconds=0).run(threading.Event())
    return folder


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A data home whose CellProfiler can be broken: its Python is a script of the test's."""
    own = tmp_path / "home"
    (own / "engine" / "bin").mkdir(parents=True)
    shutil.copy(home / "engine" / "spheroidd.json", own / "engine")
    for shared in ("models", "cache"):
        if (home / shared).exists():
            (own / shared).symlink_to(home / shared)
    become(own, working(home))
    return own


def working(home: Path) -> str:
    return f'exec "{home}/engine/bin/python" "$@"'


def become(home: Path, what: str) -> None:
    """Replace the engine's Python by a shell script, in one go."""
    python = home / "engine" / "bin" / "python"
    fresh = python.with_name("fresh")
    fresh.write_text(f"#!/bin/sh\n{what}\n")
    fresh.chmod(0o755)
    fresh.replace(python)


def start_hasty(daemon: Daemon, home: Path) -> None:
    with (daemon.folder / "daemon.log").open("a") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, str(HASTY), "run", "-c", str(daemon.config)],
            stdout=log, stderr=log, text=True, start_new_session=True,
            env={**os.environ, "SPHEROIDD_HOME": str(home)},
        )  # fmt: skip


def worker_of(daemon: Daemon) -> psutil.Process:
    assert daemon.process is not None
    [worker] = psutil.Process(daemon.process.pid).children(recursive=True)
    return worker


def told(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log() if line["event"] == event]


def test_the_service_goes_on_segmenting_while_cellprofiler_is_down_and_heals(
    daemon: Daemon, home: Path, own_home: Path, pictures: Path
) -> None:
    daemon.configure(segmentation=FAST)
    start_hasty(daemon, own_home)
    daemon.wait_until(lambda: bool(told(daemon, "ready")))

    become(own_home, BROKEN)
    worker_of(daemon).kill()
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    daemon.wait_until(lambda: bool(told(daemon, "engine.down")))
    daemon.wait_until(lambda: daemon.count("segmented") == 4)
    daemon.wait_until(lambda: "down since" in daemon.command("status", "--json").stdout)
    said = json.loads(daemon.command("status", "--json").stdout)
    assert said["daemon"]["running"]
    assert "next try at" in said["daemon"]["trouble"]
    assert "code 127" in said["daemon"]["trouble"]
    assert said["totals"]["measured"] == 0
    assert any("libz.so.1" in line["error"] for line in told(daemon, "worker.failed"))

    become(own_home, working(home))
    daemon.wait_until(lambda: daemon.count("measured") == 4)
    assert told(daemon, "engine.up")
    daemon.wait_until(
        lambda: "down since" not in daemon.command("status", "--json").stdout, seconds=60
    )
    assert daemon.rows("SELECT * FROM transitions WHERE to_state = 'failed'") == []
    assert daemon.rows("SELECT max(attempts) AS most FROM images") == [{"most": 0}]
    assert daemon.end() == 0


def engine_trouble(daemon: Daemon) -> str:
    rows = daemon.rows("SELECT trouble FROM conditions WHERE name = 'engine'")
    return rows[0]["trouble"] if rows else ""


def test_the_service_starts_and_reloads_while_cellprofiler_is_broken(
    daemon: Daemon, home: Path, own_home: Path, pictures: Path
) -> None:
    become(own_home, BROKEN)
    daemon.configure(segmentation=FAST)
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    start_hasty(daemon, own_home)
    daemon.wait_until(lambda: bool(told(daemon, "ready")))
    daemon.wait_until(lambda: daemon.count("segmented") == 4)
    daemon.wait_until(lambda: "down since" in engine_trouble(daemon))
    assert "code 127" in engine_trouble(daemon)

    assert daemon.process is not None
    daemon.configure(segmentation={**FAST, "threshold": 0.4})
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_until(lambda: len(told(daemon, "ready")) == 2)
    source = next(daemon.export.rglob("*.jpg"))
    shutil.copy(source, source.with_name("another.jpg"))
    daemon.wait_until(lambda: daemon.count("segmented") == 5)
    assert daemon.count("measured") == 0

    become(own_home, working(home))
    daemon.wait_until(lambda: daemon.count("measured") == 5)
    daemon.wait_until(lambda: engine_trouble(daemon) == "")
    assert daemon.rows("SELECT * FROM transitions WHERE to_state = 'failed'") == []
    # The pipeline asks for no image on white, as its text tells; so nothing is segmented twice.
    assert len(daemon.rows("SELECT 1 FROM segmentations WHERE white_path IS NULL")) == 5
    sha256 = hashlib.sha256(pipeline_path("mask").read_bytes()).hexdigest()
    found = daemon.rows("SELECT DISTINCT pipeline_sha256 AS sha FROM batches")
    assert found == [{"sha": sha256}]
    assert daemon.end() == 0


# -- too many open files -----------------------------------------------------------------


def allow_files(daemon: Daemon, number: int | None) -> None:
    """Let the running daemon open so many files in all; None: as many as before."""
    assert daemon.process is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(
        daemon.process.pid, resource.RLIMIT_NOFILE, (soft if number is None else number, hard)
    )


def complaints(daemon: Daemon) -> int:
    return (daemon.folder / "daemon.log").read_text().count("Too many open files")


def test_an_image_is_not_to_blame_where_no_file_can_be_opened(pictures: Path) -> None:
    path = sorted(pictures.rglob("*.jpg"))[0]
    read_image(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            read_image(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_blames_no_image_and_loses_none(daemon: Daemon, pictures: Path) -> None:
    daemon.configure(
        watch={"scan_seconds": 1},
        segmentation=FAST,
        measurement={"batch": {"max_images": 1, "max_wait_seconds": 0}},
    )
    daemon.start()
    daemon.wait_until(lambda: bool(told(daemon, "ready")))

    allow_files(daemon, 3)
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    daemon.wait_until(lambda: complaints(daemon) > 0)
    worker_of(daemon).kill()  # and its successor needs pipes
    allow_files(daemon, None)

    daemon.wait_until(lambda: daemon.count("segmented") + daemon.count("measured") > 0)
    before = complaints(daemon)
    allow_files(daemon, 3)
    daemon.wait_until(lambda: complaints(daemon) > before)
    allow_files(daemon, None)

    daemon.wait_until(lambda: daemon.count("measured") == 4)
    assert daemon.rows("SELECT * FROM transitions WHERE to_state = 'failed'") == []
    assert daemon.rows("SELECT max(attempts) AS most FROM images") == [{"most": 0}]
    assert len(list((daemon.state / "images").rglob("*.outline.jpg"))) == 4, "none is lost either"
    assert daemon.end() == 0
