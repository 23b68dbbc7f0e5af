"""Measuring again beside real results: nothing of before changes, an interruption loses nothing."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as Pillow

from daemons import Daemon
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan

pytestmark = pytest.mark.timeout(300)

IMAGES = 12  # more than a batch
AGAIN = ("--threshold", "0.9")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """Two wells, six frames, measured live; plain masks, which a threshold moves one way."""
    one = Daemon(tmp_path_factory.mktemp("live")).configure(
        segmentation={"model": "u2netp", "refine": False}
    )
    shots = plan(mixed_plates(1, 2, seed=3), 6, size=(270, 480))
    Instrument(one.export, shots, interval_seconds=0, pieces=1, pause_seconds=0).run(
        threading.Event()
    )
    one.command("run", "--until-idle")
    assert len(one.exported()) == IMAGES
    return one


@pytest.fixture(scope="module")
def plate(measured: Daemon) -> str:
    return measured.exported()[0]["plate"]


@pytest.fixture(scope="module")
def undisturbed(measured: Daemon, plate: str, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """Measured again in one go."""
    one = copy_of(measured, tmp_path_factory.mktemp("again"))
    one.command("remeasure", "--plate", plate, *AGAIN)
    return one


@pytest.fixture
def copied(measured: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    yield copy_of(measured, tmp_path)


def copy_of(one: Daemon, folder: Path) -> Daemon:
    """The same watched folder and the same results, in a state folder of its own."""
    other = Daemon(folder)
    other.export = one.export
    shutil.copytree(one.state, other.state)
    settings = yaml.safe_load(one.config.read_text())
    other.config.write_text(yaml.safe_dump({**settings, "state_dir": str(other.state)}))
    return other


def runs(one: Daemon, name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spheroidd", "runs", name, "-c", str(one.config), *words],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def areas_of(one: Daemon, run: int) -> dict[str, tuple[float, str]]:
    """Image → area, and a digest of all that CellProfiler said of its objects."""
    rows = one.rows(
        "SELECT i.path, m.area_px, (SELECT group_concat(o.features) FROM objects o"
        f" WHERE o.measurement_id = m.id) AS objects FROM measurements m"
        f" JOIN images i ON i.id = m.image_id WHERE m.run_id = {run}"
    )
    found = {row["path"]: (row["area_px"], str(row["objects"])) for row in rows}
    assert len(found) == len(rows), "one result per image"
    return found


def files_of(state: Path) -> dict[str, str]:
    return {
        str(path.relative_to(state)): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in ("images", "batches")
        for path in (state / top).rglob("*")
        if path.is_file()
    }


def test_growth_changes_when_the_run_is_chosen_and_not_before(
    measured: Daemon, undisturbed: Daemon, plate: str, tmp_path: Path
) -> None:
    one, before = copy_of(undisturbed, tmp_path), measured.exported()
    assert one.exported() == before
    was, now = files_of(measured.state), files_of(one.state)
    assert {name: now[name] for name in was} == was
    listed: list[dict[str, Any]] = json.loads(runs(one, "list", "--plate", plate, "--json"))
    assert [(row["kind"], row["threshold"], row["images"], row["shown"], row["chosen"])
            for row in listed] == [("live", 0.5, IMAGES, IMAGES, True),
                                   ("again", 0.9, IMAGES, 0, False)]  # fmt: skip
    assert listed[1]["finished_at"]

    told = runs(one, "use", "--plate", plate, "2")
    assert f"{IMAGES} of {IMAGES}" in told
    after = one.exported()
    assert [row["image_path"] for row in after] == [row["image_path"] for row in before]
    smaller = [
        float(a["area_px"]) - float(b["area_px"]) for a, b in zip(after, before, strict=True)
    ]
    assert max(smaller) <= 0, "a higher threshold takes nothing in"
    assert sum(change < 0 for change in smaller) > IMAGES / 2
    outlines = one.rows("SELECT outline_path FROM measurements WHERE current")
    for row in outlines:
        with Pillow.open(one.state / row["outline_path"]) as picture:
            assert picture.size == (480, 270)

    picture_file = tmp_path / "agreement.png"
    told = runs(one, "compare", "--plate", plate, "live", "2", "-o", str(picture_file))
    assert "limits of agreement" in told
    with Pillow.open(picture_file) as picture:
        assert picture.width > 500
    runs(one, "use", "--plate", plate, "live")
    assert one.exported() == before


def test_another_pipeline_alone_keeps_the_masks(copied: Daemon, plate: str) -> None:
    before = copied.rows("SELECT * FROM segmentations")
    other = copied.folder / "other.cppipe"
    shutil.copyfile(pipeline_path("mask"), other)
    copied.command("remeasure", "--plate", plate, "--pipeline", str(other), "--use")
    assert copied.rows("SELECT * FROM segmentations") == before
    assert {row["pipeline"] for row in copied.exported()} == {str(other)}
    assert len(areas_of(copied, 2)) == IMAGES


def test_a_pipeline_that_wants_the_image_on_white_gets_it(copied: Daemon, plate: str) -> None:
    """It was not made before, for nobody wanted it."""
    copied.command("remeasure", "--plate", plate, "--pipeline", "white-background", "--use")
    assert {row["pipeline"] for row in copied.exported()} == {"white-background"}
    assert len(areas_of(copied, 2)) == IMAGES


def test_a_killed_one_goes_on_and_gives_the_same(
    copied: Daemon, undisturbed: Daemon, plate: str
) -> None:
    """And an original that is gone by then costs its own result only, and says so."""
    command = [sys.executable, "-m", "spheroidd", "remeasure", "-c", str(copied.config),
               "--plate", plate, *AGAIN]  # fmt: skip
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        wait_for(process, lambda: len(copied.rows("SELECT 1 FROM runs")) == 2)
        os.killpg(process.pid, signal.SIGSTOP)  # or it might be done before the second one is up
        second = copied.command("remeasure", "--plate", plate, *AGAIN, check=1)
        os.killpg(process.pid, signal.SIGCONT)
        assert "being measured again already" in second.stderr
        wait_for(process, lambda: len(areas_of(copied, 2)) > 0)
        os.killpg(process.pid, signal.SIGKILL)
    done = areas_of(copied, 2)
    assert 0 < len(done) < IMAGES
    assert copied.rows("SELECT finished_at FROM runs WHERE id = 2") == [{"finished_at": None}]
    gone = next(
        Path(row["path"]) for row in copied.rows("SELECT path FROM images ORDER BY id DESC")
        if row["path"] not in done
    )  # fmt: skip
    gone.rename(gone.with_suffix(".away"))
    try:
        copied.command("remeasure", "--plate", plate, *AGAIN, "--use", check=3)
    finally:
        gone.with_suffix(".away").rename(gone)
    expected = areas_of(undisturbed, 2)
    del expected[str(gone)]
    assert areas_of(copied, 2) == expected
    [failure] = copied.rows(
        "SELECT path, f.reason FROM run_failures f JOIN images ON id = image_id"
    )
    assert failure["path"] == str(gone)
    assert failure["reason"]
    shown = {row["image_path"]: float(row["area_px"]) for row in copied.exported()}
    assert shown[str(gone)] == areas_of(undisturbed, 1)[str(gone)][0], "as it was measured live"
    assert {path: shown[path] for path in expected} == {p: a for p, (a, _) in expected.items()}
    left = [path for path in copied.state.rglob("*") if path.name.endswith((".part", ".npy"))]
    assert left == []


def wait_for(process: "subprocess.Popen[bytes]", condition: Any, seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_first_signal_ends_it_well(copied: Daemon, plate: str) -> None:
    command = [sys.executable, "-m", "spheroidd", "remeasure", "-c", str(copied.config),
               "--plate", plate, *AGAIN]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(process, lambda: len(copied.rows("SELECT 1 FROM runs")) == 2)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the same command goes on" in told
    assert copied.rows("SELECT 1 FROM batches WHERE outcome IS NULL") == []
    assert copied.rows("SELECT finished_at FROM runs WHERE id = 2") == [{"finished_at": None}]
