"""SIGHUP: another configuration takes over while the service runs, or is refused and said."""

import shutil
import signal
from pathlib import Path

import pytest

from daemons import Daemon

pytestmark = pytest.mark.timeout(300)

REFUSED = "the new configuration can't be used; going on with the old one"


def events(daemon: Daemon, name: str) -> int:
    return sum(line["event"] == name for line in daemon.log())


def test_a_reload_applies_what_is_new_and_refuses_what_is_wrong(
    daemon: Daemon, pictures: Path
) -> None:
    plain = {"model": "u2netp", "refine": False}
    daemon.configure(segmentation=plain)
    shutil.copytree(pictures, daemon.export, dirs_exist_ok=True)
    daemon.start()
    assert daemon.process is not None
    pid = daemon.process.pid
    daemon.wait_until(lambda: daemon.count("measured") == 6)

    good = daemon.config.read_text()
    for wrong, said in (
        ("watch: [", "not valid YAML"),
        (good.replace("u2netp", "u2nett"), "u2nett"),
        (good.replace("state_dir:", "state_dir: /elsewhere #"), "can't change while"),
    ):
        refusals = events(daemon, REFUSED)
        daemon.config.write_text(wrong)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_until(lambda before=refusals: events(daemon, REFUSED) > before)
        reason = [line["reason"] for line in daemon.log() if line["event"] == REFUSED][-1]
        assert said in reason
        daemon.wait_until(
            lambda: bool(
                daemon.rows(
                    "SELECT 1 FROM conditions WHERE name = 'configuration' AND trouble > ''"
                )
            )
        )

    readies = events(daemon, "ready")
    daemon.config.write_text(good.replace("refine: false", "refine: false\n  threshold: 0.4"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_until(lambda: events(daemon, "ready") > readies)
    source = next(daemon.export.rglob("*.png"), None) or next(daemon.export.rglob("*.jpg"))
    shutil.copy(source, source.with_name(f"another{source.suffix}"))
    daemon.wait_until(lambda: daemon.count("measured") == 7)
    daemon.wait_until(lambda: not daemon.rows("SELECT 1 FROM conditions WHERE trouble > ''"))
    newest = daemon.rows("SELECT threshold FROM segmentations ORDER BY id DESC LIMIT 1")
    assert newest[0]["threshold"] == 0.4
    assert daemon.process.pid == pid, "the same process goes on"
    assert daemon.end() == 0


def test_the_command_waits_for_the_daemons_answer(daemon: Daemon, pictures: Path) -> None:
    daemon.configure(segmentation={"model": "u2netp", "refine": False})
    daemon.start()
    daemon.wait_until(lambda: events(daemon, "ready") == 1)
    good = daemon.config.read_text()

    daemon.config.write_text(good.replace("refine: false", "refine: false\n  threshold: 0.4"))
    assert "in force" in daemon.command("reload").stdout
    assert events(daemon, "ready") == 2

    daemon.config.write_text(good.replace("u2netp", "birefnet-dis"))  # known, but not fetched
    refused = daemon.command("reload", check=78).stderr
    assert "birefnet-dis" in refused
    assert "goes on with the old" in refused

    daemon.config.write_text("watch: [")
    pid = daemon.process.pid if daemon.process else 0
    assert "YAML" in daemon.command("reload", "--pid", str(pid), check=78).stderr
    daemon.wait_until(lambda: events(daemon, REFUSED) == 2, 60)
    daemon.config.write_text(good)
    assert daemon.end() == 0
    assert "No daemon is running" in daemon.command("reload", check=1).stderr
