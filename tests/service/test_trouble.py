"""Bad input and bad circumstances: a clear message, a recorded state, and the rest goes on."""

import os
import re
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image as Pillow

from daemons import Daemon
from made_up import measured
from spheroidd.store.database import Database

pytestmark = pytest.mark.timeout(300)


def one_of(pictures: Path) -> bytes:
    return sorted(pictures.rglob("*.jpg"))[0].read_bytes()


def test_bad_files_fail_alone(daemon: Daemon, pictures: Path) -> None:
    daemon.configure()
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    good = one_of(pictures)
    well = daemon.export / "bad, plate (é)" / "A 1"
    well.mkdir(parents=True)
    bad: dict[str, bytes] = {
        "truncated.jpg": good[:-2000],
        "zeros.jpg": good[: len(good) // 2] + bytes(len(good) // 2),
        "empty.jpg": b"",
        "text.jpg": b"Dear colleague, the images are on the other drive.",
        "png header.png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    }
    for name, content in bad.items():
        (well / name).write_bytes(content)
    (well / "folder.jpg").mkdir()
    os.mkfifo(well / "pipe.jpg")
    (well / 'it\'s "good",\nreally.jpg').write_bytes(good)
    Path(os.fsdecode(os.fsencode(well) + b"/\xff\xfe.jpg")).write_bytes(good[:-1] + b"\xd9")
    (daemon.export / "nameless.jpg").write_bytes(good)

    daemon.command("run", "--until-idle", check=3)

    assert len(daemon.exported()) == 6 + 2
    failed = daemon.rows("SELECT path, reason FROM images WHERE state = 'failed'")
    assert {Path(row["path"]).name for row in failed} == {*bad, "nameless.jpg"}
    assert all(row["reason"] for row in failed)
    shown = daemon.command("status").stdout
    assert "truncated.jpg" in shown
    assert "spheroidd retry" in shown or "tried again at" in shown
    names = daemon.command("check", "--names").stdout
    assert "bad, plate (é)" in names


def test_a_27_megapixel_image_is_measured(daemon: Daemon, pictures: Path) -> None:
    daemon.configure()
    with Pillow.open(sorted(pictures.rglob("*.jpg"))[0]) as small:
        large = small.resize((6400, 4300), Pillow.Resampling.BILINEAR)
    (daemon.export / "P" / "A1").mkdir(parents=True)
    large.save(daemon.export / "P" / "A1" / "1.tif")
    daemon.command("run", "--until-idle")
    [row] = daemon.exported()
    assert float(row["area_px"]) > 100_000


def test_a_stopped_daemon_finishes_or_hands_back_and_leaves_no_orphan(
    daemon: Daemon, pictures: Path
) -> None:
    daemon.configure(measurement={"batch": {"max_images": 3, "max_wait_seconds": 0}})
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    daemon.start()
    daemon.wait_until(lambda: daemon.count("segmented") + daemon.count("measured") > 0)
    assert daemon.process is not None
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    assert children, "CellProfiler's worker"
    assert daemon.end(signal.SIGTERM) == 0
    assert daemon.rows("SELECT id FROM images WHERE claimed_at IS NOT NULL") == []
    assert not [child for child in children if child.is_running()]
    daemon.command("run", "--until-idle")
    assert len(daemon.exported()) == 6


def test_a_killed_worker_is_replaced_and_nothing_is_lost(daemon: Daemon, pictures: Path) -> None:
    daemon.configure(measurement={"batch": {"max_images": 1, "max_wait_seconds": 0}})
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    daemon.start()
    daemon.wait_until(lambda: daemon.count("measured") >= 1)
    assert daemon.process is not None
    [worker] = psutil.Process(daemon.process.pid).children(recursive=True)
    worker.kill()
    daemon.wait_until(lambda: daemon.count("measured") == 6)
    assert daemon.end() == 0
    assert daemon.count("failed") == 0


def test_systemd_hears_ready_status_and_stopping(daemon: Daemon, pictures: Path) -> None:
    daemon.configure()
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(daemon.folder / "notify"))
        receiver.settimeout(60)
        daemon.start(NOTIFY_SOCKET=str(daemon.folder / "notify"))
        while not told or not told[-1].startswith("STATUS="):
            told.append(receiver.recv(4096).decode())
        assert told[0] == "READY=1"
        assert len(daemon.rows("SELECT id FROM images")) == 6, "ready means: all files are known"
        assert sum(int(number) for number in re.findall(r"\d+", told[-1])) == 6
        assert "measured" in told[-1]
        assert daemon.end() == 0
        while told[-1] != "STOPPING=1":
            told.append(receiver.recv(4096).decode())


def test_a_second_daemon_on_the_same_state_is_refused(daemon: Daemon) -> None:
    daemon.configure()
    daemon.start()
    daemon.wait_until(lambda: any(line["event"] == "ready" for line in daemon.log()))
    done = daemon.command("run", "--until-idle", check=1)
    assert "Another spheroidd" in done.stderr
    assert daemon.end() == 0


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown model": ({"segmentation": {"model": "u2nett"}}, 1, "u2netp"),
    "a model that is not fetched": (
        {"segmentation": {"model": "birefnet-dis"}}, 1, "spheroidd model fetch birefnet-dis",
    ),
    "a model file that is missing": ({"segmentation": {"model": "my/own.onnx"}}, 1, "own.onnx"),
    "an accelerator that is not there": (
        {"segmentation": {"model": "u2netp", "device": "cuda", "require": True}}, 1, "CUDA",
    ),
    "a pipeline that is missing": ({"measurement": {"pipeline": "my.cppipe"}}, 78, "my.cppipe"),
    "a setting that does not exist": ({"segmentation": {"modle": "x"}}, 78, "segmentation.modle"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_can_not_start_says_what_to_do(daemon: Daemon, what: str) -> None:
    sections, code, told = WRONG[what]
    daemon.configure(**sections)
    done = daemon.command("run", "--until-idle", check=code)
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda text: "This is not a pipeline at all.\n", "pipeline"),
        (lambda text: text.replace("MeasureObjectSizeShape:", "MeasureDreams:"), "MeasureDreams"),
        (lambda text: text.replace("Mask", "Fluorescence"), "Fluorescence"),
    ],
)
def test_a_wrong_pipeline_is_refused_at_start(daemon: Daemon, edit: Any, told: str) -> None:
    from spheroidd.measure.pipelines import pipeline_path

    wrong = daemon.folder / "wrong.cppipe"
    wrong.write_text(edit(pipeline_path("mask").read_text()))
    daemon.configure(measurement={"pipeline": str(wrong)})
    done = daemon.command("run", "--until-idle", check=78)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_folder_waits_for_ever_but_is_no_idle(daemon: Daemon, pictures: Path) -> None:
    daemon.configure(watch={"scan_seconds": 1})
    daemon.export.rmdir()
    done = daemon.command("run", "--until-idle", check=1)
    assert str(daemon.export) in done.stderr.replace("\n", "")
    daemon.start()
    daemon.wait_until(lambda: any(line["event"] == "folder degraded" for line in daemon.log()))
    shutil.copytree(pictures, daemon.export)
    daemon.wait_until(lambda: daemon.count("measured") == 6)
    assert daemon.end() == 0


def test_a_state_folder_that_can_not_be_written_is_told(daemon: Daemon) -> None:
    daemon.configure(state_dir="/proc/spheroidd")
    done = daemon.command("run", "--until-idle", check=1)
    assert "state_dir" in done.stderr


def test_a_well_that_can_not_be_judged_is_told_and_no_success(daemon: Daemon) -> None:
    daemon.configure(segmentation={"model": "none"}, measurement={"pipeline": "threshold"})
    daemon.state.mkdir()
    with Database(daemon.state / "spheroidd.db") as database:
        for well in ("A1", "A2"):
            measured(database, well, 0)
        with database.write() as sql:
            sql.execute("UPDATE segmentations SET evidence = '{' WHERE image_id = 1")
    done = daemon.command("run", "--until-idle", check=3)
    assert "can't be judged" in done.stderr + done.stdout
    assert daemon.rows("SELECT well FROM unjudged WHERE well <> ''") == [{"well": "A1"}]
    daemon.start()
    daemon.wait_until(
        lambda: "can't be judged (see the log): P/A1" in daemon.command("status").stdout
    )
