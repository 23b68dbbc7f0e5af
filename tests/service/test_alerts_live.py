"""The real daemon tells a real receiver what happens to it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import Daemon

from receivers import Webhook
from spheroidd.store.database import Database
from spheroidd.store.health import Health

pytestmark = pytest.mark.timeout(300)


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
        log = tmp_path / "daemon.log"
        with log.open("a") as stream:
            daemon.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("talkative.py")), "run", "-c",
                 str(daemon.config)],
                stdout=stream, stderr=stream, text=True, start_new_session=True,
            )  # fmt: skip

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
