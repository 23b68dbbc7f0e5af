"""`doctor`: a whole, real installation is well; each thing that can be wrong is found alone."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image as Pillow

from spheroidd.config_file import load_config
from spheroidd.doctor import folders, machine, records, tools
from spheroidd.doctor.checks import Check, checks, examine
from spheroidd.doctor.finding import Finding, Installation, Survey
from spheroidd.store.backups import backup_name
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.system.lock import only_one

WriteConfig = Callable[..., Path]
Install = Callable[..., Installation]
MODEL = {"model": "u2netp"}


@pytest.fixture
def install(write_config: WriteConfig, home: Path) -> Install:
    def make(home: Path = home, **sections: Any) -> Installation:
        return Installation(load_config(write_config(segmentation=MODEL, **sections)), home)

    return make


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spheroidd", "doctor", *words],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def picture(path: Path, age: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((30, 40), 200, np.uint8)).save(path)
    os.utime(path, (time.time() - age,) * 2)


def one(found: Finding | Iterable[Finding]) -> Finding:
    [finding] = [found] if isinstance(found, Finding) else list(found)
    return finding


def is_wrong(found: Finding | Iterable[Finding], said: str, level: str = "wrong") -> Finding:
    finding = one(found)
    assert finding.level == level, finding
    assert said in finding.found, finding
    assert finding.next_step, "what to do is missing"
    return finding


def test_a_whole_installation_is_well(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config(segmentation=MODEL, alerts={"targets": ["json://user:secret@localhost"]})
    picture(tmp_path / "export" / "P" / "A1" / "1.png")
    before = sorted(tmp_path.rglob("*"))
    done = doctor("-c", str(config), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    for what in ("configuration", "Python", "user", "onnxruntime", "model u2netp",
                 "run of u2netp", "CellProfiler", "pipeline mask", f"folder {tmp_path}/export",
                 "inotify", "state folder", "disk", "database", "backups", "alerts"):  # fmt: skip
        assert found[what]["level"] == "ok", found[what]
    assert "s an image on" in found["run of u2netp"]["found"]
    assert found["daemon"]["level"] == "warning"
    assert "systemctl start" in found["daemon"]["next_step"]
    assert "secret" not in done.stdout + done.stderr
    assert sorted(tmp_path.rglob("*")) == before, "it only looks"


def test_what_is_wrong_is_told_with_what_to_do(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPHEROIDD_HOME", str(tmp_path / "nothing here"))
    done = doctor("-c", str(write_config(segmentation=MODEL)))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    [at] = [n for n, line in enumerate(lines) if line.startswith("wrong    model u2netp: ")]
    assert lines[at + 1] == "         → Run `spheroidd model fetch u2netp`."
    assert any(line.startswith("ok       state folder") for line in lines), "it went on"
    assert lines[-1].startswith("3 wrong, ")
    done = doctor("-c", str(write_config(segmentation={"threshold": 7})))
    assert done.returncode == 78
    assert "threshold is 7" in done.stdout
    assert "ok       Python" in done.stdout


def test_no_check_stops_the_others() -> None:
    free = threading.Event()
    began: list[str] = []
    made = [
        Check("fails", lambda: 1 / 0),  # type: ignore[arg-type, return-value]
        Check("hangs", lambda: free.wait(60) and [], seconds=0.2),  # type: ignore[arg-type]
        Check("works", lambda: Finding("works", "ok", "")),
    ]
    found = list(examine(made, began.append))
    free.set()
    assert [(finding.what, finding.level) for finding in found] == [
        ("fails", "wrong"), ("hangs", "wrong"), ("works", "ok"),
    ]  # fmt: skip
    assert "division by zero" in found[0].found
    assert "no answer in 0.2 s" in found[1].found
    assert began == ["fails", "hangs", "works"]


def test_every_check_is_on_the_list_and_has_a_name(install: Install) -> None:
    names = [check.name for check in checks(install())]
    assert len(set(names)) == len(names) >= 14
    assert {check.name for check in checks(None)} <= set(names)


# -- tools ---------------------------------------------------------------------------------


def test_two_onnxruntimes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tools.packages().level == "ok"
    folder = tmp_path / "onnxruntime_directml-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-directml\n"
                                     "Version: 1.0\n")  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    is_wrong(tools.packages(), "overwrite each other")


def test_models_that_are_missing_or_damaged(install: Install, tmp_path: Path) -> None:
    here = install(home=tmp_path / "home")
    is_wrong(tools.models(here), "are not at")
    file = tmp_path / "home" / "models" / "u2netp" / "u2netp.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"rubbish")
    assert "model fetch u2netp" in is_wrong(tools.models(here), "is damaged").next_step
    is_wrong(tools.speed(here), "is damaged")
    is_wrong(tools.cellprofiler(here), "not installed")


def test_an_accelerator_that_can_not_be_had(write_config: WriteConfig, home: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    wanted = {**MODEL, "device": "cuda", "require": True}
    here = Installation(load_config(write_config(segmentation=wanted)), home)
    assert "offers no CUDA" in is_wrong(tools.speed(here), "s an image on CPU").next_step


def test_a_pipeline_that_can_not_be_used(
    write_config: WriteConfig, home: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.cppipe"
    broken.write_text("CellProfiler Pipeline: http://www.cellprofiler.org\nVersion:5\n")
    config = write_config(segmentation=MODEL, measurement={"pipeline": str(broken)})
    found = list(tools.cellprofiler(Installation(load_config(config), home)))
    assert found[0].level == "ok"
    is_wrong(found[1], "broken.cppipe")


# -- folders -------------------------------------------------------------------------------


def watched(here: Installation) -> list[Finding]:
    return list(folders.watched(here, here.config.watch[0]))


def test_watched_folders(install: Install, tmp_path: Path) -> None:
    export = tmp_path / "export"
    is_wrong(watched(install(watch={"path": str(tmp_path / "none")})), "No such file")
    here = install()
    is_wrong(watched(here), "no image in it", "warning")
    picture(export / "P" / "A1" / "1.png", age=60)
    assert one(watched(here)).level == "ok"
    assert here.surveys[export] == Survey(1, 3, native=True)
    picture(export / "P" / "A1" / "2.png", age=-3600)
    is_wrong(watched(here), "2.png is from the future, by 60 min", "warning")
    picture(export / "stray.png", age=-7200)
    is_wrong(watched(here), "no plate and well")
    (export / "stray.png").unlink()
    if os.geteuid() != 0:
        (export / "P" / "A1" / "2.png").chmod(0)
        is_wrong(watched(here), "2.png can't be read")


def test_the_state_folder_and_its_disk(install: Install, tmp_path: Path) -> None:
    here = install()
    is_there, room = folders.state(here)
    assert (is_there.level, room.level) == ("ok", "ok")
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").mkdir()
    assert next(iter(folders.state(here))).level == "ok"
    assert list((tmp_path / "state").iterdir()) == []
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("a file in its place")
    is_wrong(next(iter(folders.state(here))), "can't be written: Not a directory")
    (tmp_path / "state").unlink()
    is_wrong(list(folders.state(install(disk={"reserve_gb": 1e9})))[1], "are left alone")


# -- records -------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterable[Database]:
    (tmp_path / "state").mkdir()
    with Database(tmp_path / "state" / "spheroidd.db") as db:
        yield db


def test_a_damaged_database(install: Install, database: Database, tmp_path: Path) -> None:
    here = install()
    assert "0 images" in records.database(here).found
    (tmp_path / "state" / "backups").mkdir()
    name = backup_name(time.time() - 3 * 86400)
    (tmp_path / "state" / "backups" / name).write_bytes(b"")
    is_wrong(records.backups(here), "72.0 h old, though one is due every 24 h", "warning")
    database.close()
    content = bytearray(database.path.read_bytes())
    content[3 * 4096 : 5 * 4096] = b"\x55" * (2 * 4096)
    database.path.write_bytes(content)
    assert name in is_wrong(records.database(here), "damaged").next_step


def test_backups(install: Install, database: Database, tmp_path: Path) -> None:
    is_wrong(records.backups(install()), "none in", "warning")
    is_wrong(records.backups(install(backup={"every_hours": None})), "by themselves", "warning")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / backup_name(time.time() - 3600)).write_bytes(b"")
    found = records.backups(install(backup={"folder": str(tmp_path / "copies")}))
    assert (found.level, found.next_step) == ("ok", "")
    assert "the newest 1.0 h old" in found.found


def test_the_daemon_and_its_parts(install: Install, database: Database) -> None:
    here, health, now = install(), Health(database), time.time()
    is_wrong(records.daemon(here), "never run", "warning")
    health.started(now - 900, pid=os.getpid(), version="1")
    is_wrong(records.daemon(here), "ended without a word 900 s ago")
    with only_one(here.state.lock):
        assert records.lock_holder(here.state.lock) == os.getpid()
        is_wrong(records.daemon(here), f"process {os.getpid()} lives, but")
        health.update(now, phase="running")
        Conditions(database).tell(
            [Condition("disk", "full", "make room", urgent=True), Condition("engine")], now
        )
        fine, disk = records.daemon(here)
        assert fine.level == "ok"
        assert disk.next_step == is_wrong(disk, "full").next_step == "make room"
    assert records.lock_holder(here.state.lock) is None
    health.ended(now, "failed", "no model")
    is_wrong(records.daemon(here), "no model", "warning")


def test_alerts_are_counted_and_never_shown(install: Install, tmp_path: Path) -> None:
    is_wrong(records.alerts(install()), "nobody is told", "warning")
    secrets = tmp_path / "targets"
    secrets.write_text("json://user:secret@localhost\n# nobody\nmailto://u:secret@example.org\n")
    secrets.chmod(0o600)
    found = one(records.alerts(install(alerts={"targets_file": str(secrets)})))
    assert (found.level, found.found) == ("ok", "2 addresses")
    is_wrong(records.alerts(install(alerts={"targets_file": "/nowhere"})), "can't be read")


# -- machine -------------------------------------------------------------------------------


def test_the_clock() -> None:
    now = time.time()
    is_wrong(machine.clock(0.0, (0.0, time.monotonic())), "1970-01-01")
    is_wrong(machine.clock(now, (now - 90, time.monotonic())), "set by +90 s", "warning")


def test_inotify_limits(install: Install, tmp_path: Path) -> None:
    here = install()
    assert "polled" in machine.inotify(here, tmp_path).found
    here.surveys[Path("/e")] = Survey(10, 60, native=True)
    assert "tells no limits" in machine.inotify(here, tmp_path).found
    (tmp_path / "max_user_instances").write_text("128\n")
    for limit, level in ((1000, "ok"), (100, "warning"), (60, "wrong")):
        (tmp_path / "max_user_watches").write_text(f"{limit}\n")
        found = machine.inotify(here, tmp_path)
        assert found.level == level
        assert ("max_user_watches" in found.next_step) == (level != "ok")


def test_another_user_is_told_whose_eyes_count(install: Install, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, 65534)
    found = is_wrong(machine.user(install()), "but the service is", "warning")
    assert "sudo -u" in found.next_step


def test_the_unit(install: Install) -> None:
    found = machine.unit(install())
    if Path("/run/systemd/system").is_dir():
        assert found.level == "ok" or found.next_step
    else:
        assert found.found == "systemd does not run here"
