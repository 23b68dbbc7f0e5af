"""The real daemon tells a real receiver what happens to it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon
from receivers import Webhook
from spheroidd.store.database import Database
from spheroidd.store.health import Health

pytestmark = pytest.mark.timeout(300)


def begin(daemon: Daemon, **environment: str) -> Path:
    """Start the daemon whose alerts look often; returns its log."""
    log = daemon.folder / "daemon.log"
    with log.open("a") as stream:
        daemon.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("talkative.py")), "run", "-c",
             str(daemon.config)],
            stdout=stream, stderr=stream, text=True, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    return log


def test_people_are_told_that_it_can_not_start(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time in another process, as systemd starts them."""
    monkeypatch.setenv("NO_PROXY", "*")
    with Webhook() as webhook:
        right: dict[str, Any] = {
            "segmentation": {"model": "u2netp", "refine": False},
            "alerts": {"targets": [webhook.url]},
        }

        def ended(**environment: str) -> int:
            begin(daemon, **environment)
            assert daemon.process is not None
            return daemon.process.wait(100)

        daemon.configure(**right)
        daemon.state.mkdir()
        (daemon.state / "spheroidd.db").write_bytes(b"this was a database" * 1000)
        assert [ended(), ended()] == [1, 1]
        assert webhook.titles == ["spheroidd can't start"]
        assert "spheroidd.db" in webhook.messages[0]["message"]

        daemon.configure(**right, segmentatoin={"model": "none"})
        given = {"SPHEROIDD_ALERTS": webhook.url, "STATE_DIRECTORY": str(daemon.state)}
        assert ended(**given) == 78
        assert webhook.titles == ["spheroidd can't start"] * 2
        assert "segmentatoin: no such setting" in webhook.messages[1]["message"]

        daemon.configure(**right)
        (daemon.state / "spheroidd.db").unlink()
        log = begin(daemon)
        daemon.wait_until(lambda: len(webhook.titles) == 3, 60)
        assert webhook.titles[2].startswith("spheroidd runs again; it was away for")
        assert "it could not start: " in webhook.messages[2]["message"]
        assert daemon.end() == 0
        assert len(webhook.titles) == 3, webhook.titles
        assert not (daemon.state / "cannot-start.json").exists()
        kept = log.read_text()
        for word in Webhook.SECRETS:
            assert word not in kept


def test_people_are_told_of_what_happens_to_the_daemon(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with Webhook() as webhook:
        targets = tmp_path / "targets"
        targets.write_text(f"{webhook.url}\n")
        targets.chmod(0o600)
        daemon.configure(
            watch={"scan_seconds": 1},
            segmentation={"model": "u2netp", "refine": False},
            alerts={"targets_file": str(targets), "failures_per_hour": 1},
        )
        daemon.state.mkdir()
        with Database(daemon.state / "spheroidd.db") as database:  # the last one was killed
            health = Health(database)
            health.started(time.time() - 9000, pid=1, version="0")
            health.update(time.time() - 8000, phase="running")
        log = begin(daemon)

        def told(title: str) -> None:
            daemon.wait_until(lambda: any(title in one for one in webhook.titles), 60)

        told("spheroidd runs again; it was away for 2 h 1")
        daemon.export.rename(tmp_path / "away")
        told("No way to the folder")
        (tmp_path / "away").rename(daemon.export)
        told("can be read again")
        well = daemon.export / "P" / "A1"
        well.mkdir(parents=True)
        (well / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
        told("1 image failed within an hour")
        shutil.rmtree(daemon.export / "P")
        assert daemon.end() == 0
        assert len(webhook.titles) == 4, webhook.titles
        kept = log.read_text()
        kept += "".join(
            file.read_bytes().decode("latin-1") for file in daemon.state.glob("spheroidd.db*")
        )
        for word in Webhook.SECRETS:
            assert word not in kept
