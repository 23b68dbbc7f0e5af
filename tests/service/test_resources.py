"""The database is locked, goes back in time, is damaged; the disk is nearly full, or full."""

import gc
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, kill
from made_up import measured
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan
from spheroidd.store.database import Database
from spheroidd.upkeep.backup import make_backup

pytestmark = pytest.mark.timeout(300)
FAST = {"model": "u2netp", "refine": False}
SMALL_BATCHES = {"batch": {"max_images": 2, "max_wait_seconds": 0.2}}
IMPATIENT = Path(__file__).with_name("impatient.py")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wells, two frames, small ones."""
    folder = tmp_path_factory.mktemp("small")
    shots = plan(mixed_plates(1, 2, seed=3), 2, size=(240, 320))
    Instrument(folder, shots, interval_seconds=0, pieces=1, pause_seconds=0).run(threading.Event())
    (folder / "truth.csv").unlink(missing_ok=True)
    return folder


def images(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*.jpg"))


def bring(small: Path, daemon: Daemon, which: slice = slice(None)) -> None:
    for path in images(small)[which]:
        (daemon.export / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(small / path, daemon.export / path)


def areas(daemon: Daemon) -> dict[str, str]:
    """Where an image lies in the export folder → its area; one row each."""
    rows = daemon.exported()
    found = {str(Path(row["image_path"]).relative_to(daemon.export)): row for row in rows}
    assert len(found) == len(rows), "an image counts once"
    return {path: row["area_px"] for path, row in found.items()}


@pytest.fixture(scope="module")
def undisturbed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The areas as they come when nothing goes wrong."""
    one = Daemon(tmp_path_factory.mktemp("undisturbed"))
    one.configure(segmentation=FAST, measurement=SMALL_BATCHES)
    bring(small, one)
    one.command("run", "--until-idle")
    found = areas(one)
    assert len(found) == 4
    return found


def told(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log() if line["event"] == event]


def troubles(daemon: Daemon) -> str:
    return "; ".join(row["trouble"] for row in daemon.rows("SELECT trouble FROM conditions"))


def nothing_is_half(daemon: Daemon) -> None:
    assert not list(daemon.state.rglob(".*.part"))
    assert not list((daemon.state / "handover").iterdir())
    wrong = "SELECT 1 FROM transitions WHERE to_state IN ('failed', 'superseded')"
    assert daemon.rows(wrong) == [], "no image was to blame"
    for row in daemon.rows("SELECT mask_path FROM segmentations"):
        assert (daemon.state / row["mask_path"]).stat().st_size > 0


# -- locked, backed up, restored ----------------------------------------------------------------


def test_a_locked_database_is_waited_out_and_a_restored_one_caught_up_with(
    daemon: Daemon, small: Path, undisturbed: dict[str, str]
) -> None:
    daemon.configure(segmentation=FAST, measurement=SMALL_BATCHES, watch={"scan_seconds": 2})
    bring(small, daemon, slice(2))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(daemon.folder / "notify"))
        receiver.setblocking(False)
        start_impatient(daemon, NOTIFY_SOCKET=str(daemon.folder / "notify"))
        daemon.wait_until(lambda: daemon.count("measured") == 2)
        backup = Path(daemon.command("backup").stdout.rpartition(" (")[0])
        locked_out(daemon, small, receiver)
    daemon.wait_until(lambda: daemon.count("measured") == 4)
    assert areas(daemon) == undisturbed
    nothing_is_half(daemon)
    refused = daemon.command("restore", str(backup), check=1)
    assert "Another spheroidd" in refused.stderr
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    with Database(daemon.state / "spheroidd.db") as database, database.write() as sql:
        sql.execute("INSERT INTO reviews (at, who, action) VALUES ('2026', 'me', 'confirm')")

    gc.collect()  # this process has read the database, too, and must not be who has it open
    done = daemon.command("restore", str(backup))
    assert "2 images, 2 of them measured, and 0 reviews" in done.stdout
    assert "not in it: 2 measured images and 1 reviews since" in done.stdout
    assert "next: start the daemon" in done.stdout
    [aside] = daemon.state.glob("before-restore-*")
    assert len(list((aside / "images").rglob("*.mask.png"))) == 2
    without_its_files(daemon)
    daemon.command("run", "--until-idle")
    assert areas(daemon) == undisturbed
    assert daemon.rows("SELECT count(*) AS n FROM measurements") == [{"n": 4}]
    assert len(list((daemon.state / "images").rglob("*.mask.png"))) == 2, "those of the new images"
    daemon.command("remeasure", "--plate", daemon.exported()[0]["plate"])
    again = "SELECT count(*) AS n FROM measurements m JOIN runs r ON r.id = m.run_id"
    assert daemon.rows(f"{again} WHERE r.kind = 'again'") == [{"n": 4}]


def start_impatient(daemon: Daemon, **environment: str) -> None:
    with (daemon.folder / "daemon.log").open("a") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, str(IMPATIENT), "run", "-c", str(daemon.config)],
            stdout=log, stderr=log, text=True, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip


def locked_out(daemon: Daemon, small: Path, receiver: socket.socket) -> None:
    """Another program has the database while images come; systemd and the log are told."""
    other = sqlite3.connect(daemon.state / "spheroidd.db", isolation_level=None, timeout=60)
    other.execute("BEGIN EXCLUSIVE")
    bring(small, daemon)
    words: list[str] = []

    def systemd_has_heard() -> bool:
        words.extend(drain(receiver))
        return any("STATUS=" in word and "locked" in word for word in words)

    daemon.wait_until(systemd_has_heard)
    daemon.wait_until(lambda: bool(told(daemon, "a step failed; trying again")))
    assert len(daemon.rows("SELECT 1 FROM images")) == 2, "reading goes on"
    daemon.command("status")
    other.execute("ROLLBACK")
    other.close()


def without_its_files(daemon: Daemon) -> None:
    """Nothing that shows results needs the masks, outlines and spreadsheets that it names."""
    for path in (daemon.state / "images").rglob("*.*"):
        path.unlink()
    shutil.rmtree(daemon.state / "batches")
    assert len(areas(daemon)) == 2
    daemon.command("status")
    listed = subprocess.run(
        [sys.executable, "-m", "spheroidd", "review", "list", "-c", str(daemon.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr


def drain(receiver: socket.socket) -> Iterator[str]:
    while True:
        try:
            yield receiver.recv(4096).decode()
        except BlockingIOError:
            return


# -- a damaged database ------------------------------------------------------------------------


def test_a_damaged_database_is_refused_with_the_way_back(daemon: Daemon, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    daemon.configure(backup={"folder": str(elsewhere)})
    daemon.state.mkdir()
    path = daemon.state / "spheroidd.db"
    with Database(path) as database:
        database.sql.execute("PRAGMA synchronous = OFF")
        for hours in range(30):
            measured(database, "A1", hours)
    good = path.read_bytes()
    newest = make_backup(path, elsewhere, 1_700_000_000.0)
    harms = {
        "pages": good[:8192] + os.urandom(16 * 4096) + good[8192 + 16 * 4096 :],
        "cut": good[: len(good) // 2],
    }
    for harm, content in harms.items():
        path.write_bytes(content)
        done = daemon.command("run", "--until-idle", check=1)
        said = done.stderr.replace("\n", " ")
        assert f"spheroidd restore {newest}" in said, harm
        assert "Traceback" not in said + done.stdout
        assert path.read_bytes() == content, "kept as it is"
    for command in ("status", "export"):
        done = daemon.command(command, check=1)
        assert "is damaged" in done.stderr
        assert "spheroidd restore" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    daemon.command("restore", str(newest))
    daemon.command("status")
    assert len(daemon.rows("SELECT 1 FROM images")) == 30


# -- a disk without room ---------------------------------------------------------------------------


class Disk:
    """A small disk of its own, and a file of the test's that fills it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.filler = place / "filler"

    def leave(self, kilobytes: int) -> None:
        """Change the filler so that this much is free."""
        status = os.statvfs(self.place)
        free = status.f_bavail * status.f_frsize
        with self.filler.open("ab") as file:
            size = file.tell() + free - kilobytes * 1024
            if size > file.tell():
                file.write(bytes(size - file.tell()))
            else:
                file.truncate(max(0, size))


@pytest.fixture
def disks(daemon: Daemon) -> Iterator[dict[str, Disk]]:
    """At the state folder, and two for its masks and for CellProfiler's spreadsheets."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs mounts of its own, so root")
    found: dict[str, Disk] = {}
    try:
        for name, size in (("state", "24m"), ("images", "1m"), ("batches", "1m")):
            place = daemon.state if name == "state" else daemon.state / name
            place.mkdir(exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
            done = subprocess.run(mount, check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no mounts here: {done.stderr.strip()}")
            found[name] = Disk(place)
        yield found
    finally:
        kill(daemon)
        for disk in reversed(found.values()):
            subprocess.run(["umount", "-l", disk.place], check=True)


def test_a_disk_without_room_costs_nothing_but_time(
    daemon: Daemon, small: Path, disks: dict[str, Disk], undisturbed: dict[str, str]
) -> None:
    daemon.configure(
        segmentation=FAST, measurement=SMALL_BATCHES, watch={"scan_seconds": 2},
        disk={"reserve_gb": 0.01}, backup={"every_hours": None},
    )  # fmt: skip
    daemon.start()
    daemon.wait_until(lambda: bool(told(daemon, "ready")))

    disks["state"].leave(0)  # not even the database can be written
    bring(small, daemon, slice(1))
    daemon.wait_until(lambda: "database or disk is full" in str(daemon.log()))
    disks["state"].leave(5_000)  # half of the reserve
    daemon.wait_until(lambda: daemon.count("ready") == 1)
    daemon.wait_until(lambda: "are free" in daemon.command("status").stdout)
    assert {line["part"] for line in told(daemon, "paused")} == {"segment", "measure"}
    assert daemon.count("ready") == 1, "entered, and nothing more"
    disks["state"].filler.unlink()
    daemon.wait_until(lambda: daemon.count("measured") == 1)

    disks["images"].leave(0)
    bring(small, daemon, slice(1, 3))
    daemon.wait_until(lambda: "No space left" in troubles(daemon))
    assert daemon.count("measured") == 1
    disks["images"].filler.unlink()
    daemon.wait_until(lambda: daemon.count("measured") == 3)

    daemon.wait_until(lambda: "No space left" not in troubles(daemon))
    disks["batches"].leave(0)
    bring(small, daemon, slice(3, 4))
    daemon.wait_until(lambda: "No space left" in troubles(daemon))
    assert daemon.count("segmented") == 1
    disks["batches"].filler.unlink()
    daemon.wait_until(lambda: daemon.count("measured") == 4)
    daemon.wait_until(lambda: troubles(daemon).strip("; ") == "")

    assert daemon.end() == 0
    assert areas(daemon) == undisturbed
    nothing_is_half(daemon)
