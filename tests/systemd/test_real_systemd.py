"""The unit under a real systemd that has namespaces and a root folder of its own.

Installed, started, killed, reloaded, starved of its ping, stopped: what systemd itself says.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import CONFIG, EXPORT, STATE, UNIT, Service
from machine import booted, folders_of_the_program

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"

SHARE = "/srv/share"
# Nobody wants to wait 20 s for a restart, nor for the other tests that run beside this one.
QUICK = "[Service]\nRestartSec=1\nNice=0\nCPUWeight=100\n"
# Starts sooner, where masks do not matter.
WITHOUT_MODEL: dict[str, Any] = {
    "segmentation": {"model": "none"},
    "measurement": {"pipeline": "threshold", "batch": {"max_images": 4, "max_wait_seconds": 0.2}},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def untouched() -> Iterator[None]:
    """Old files of the real machine, where a systemd that starts would clean up or write."""
    marks = []
    for folder in ("/tmp", "/var/tmp", "/run", "/etc", "/var/lib"):
        handle, name = tempfile.mkstemp(dir=folder, prefix="spheroidd-test-")
        os.close(handle)
        os.utime(name, (0, 0))
        marks.append(Path(name))
    users = Path("/etc/passwd").read_bytes()
    try:
        yield
        assert all(mark.exists() for mark in marks)
        assert Path("/etc/passwd").read_bytes() == users
        for place in ("/etc/systemd/system/spheroidd.service", "/etc/spheroidd", "/run/spheroidd"):
            assert not Path(place).exists(), place
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


@pytest.fixture
def service(tmp_path: Path, home: Path) -> Iterator[Service]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a systemd in namespaces of its own")
    needed = folders_of_the_program(home)
    if hidden := [path for path in (VENV, *needed) if path.is_relative_to("/tmp")]:
        pytest.skip(f"the unit has a /tmp of its own (PrivateTmp), which hides {hidden[0]}")
    with booted(tmp_path, *needed) as machine:
        one = Service(machine)
        one.install(VENV, home.resolve())
        yield one


def in_its_place(service: Service, *command: str) -> str:
    """What a command says that runs as the service's user, among the service's own mounts."""
    pid = service.machine.run(
        "nsenter", f"--target={service.main}", "--mount",
        "setpriv", "--reuid=spheroidd", "--regid=spheroidd", "--clear-groups", "--no-new-privs",
        *command, check=False,
    )  # fmt: skip
    return pid.stdout + pid.stderr


def test_it_measures_harms_nothing_and_is_started_again_when_it_hangs(
    untouched: None, service: Service
) -> None:
    machine = service.machine
    service.drop_in("quick.conf", QUICK + "WatchdogSec=12\n")
    service.feed("A1", 2)
    service.systemctl("enable", "--now")
    # `enable --now` came back: READY=1 was said.
    assert service.active
    assert machine.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    service.await_measured(2)
    machine.wait_until(lambda: "2 measured" in service.show("StatusText"))
    assert "trouble" not in service.show("StatusText")
    assert min(service.areas()) > 1000
    it_can_do_no_harm(service)

    put_drop_ins_beside_it(service)
    before = service.main
    machine.run("kill", "-STOP", str(before))
    machine.wait_until(lambda: service.show("NRestarts") == "1" and service.active, 90)
    said = [str(entry["MESSAGE"]) for entry in machine.journal(UNIT)]
    assert any("Watchdog timeout" in line for line in said)
    assert any("most recent call first" in line for line in said), "where every thread stood"
    assert service.main not in (0, before)

    it_has_its_secret_and_no_devices(service)
    # A share that comes when the service is there already, as automounts do, and read-only.
    machine.run("mount", "-t", "tmpfs", "share", SHARE)
    service.feed("C1", 2, SHARE)
    machine.run("mount", "-o", "remount,ro", SHARE)
    service.await_measured(4)
    assert min(service.areas()) > 1000, "rembg and CellProfiler live with less, too"

    service.systemctl("stop")
    assert (service.show("Result"), service.show("ActiveState")) == ("success", "inactive")
    assert service.say(event="stopped")[-1]["priority"] == 6
    assert not processes(service)
    assert "localhost:1/secret" not in str(machine.journal(UNIT))


def put_drop_ins_beside_it(service: Service) -> None:
    """For the next start: no devices, alerts to the outside, and one more folder."""
    for name in ("cpu-only", "alerts"):
        text = (REPOSITORY / "systemd" / "drop-ins" / f"{name}.conf").read_text()
        service.drop_in(f"{name}.conf", text)
    secret = service.machine.path("/etc/spheroidd/alerts")
    secret.write_text("json://localhost:1/secret\n")
    secret.chmod(0o600)
    service.machine.run("mkdir", SHARE)
    service.configure(SHARE)


def test_a_kill_a_reload_and_a_wrong_configuration(service: Service) -> None:
    machine = service.machine
    service.drop_in("quick.conf", QUICK)
    service.configure(**WITHOUT_MODEL)
    service.systemctl("start")
    it_loses_nothing_by_a_kill(service)

    before = service.main
    machine.run("mkdir", SHARE)
    service.feed("B1", 1, SHARE)
    service.configure(SHARE, **WITHOUT_MODEL)
    good = machine.path(CONFIG).read_text()
    service.systemctl("reload")
    service.await_measured(7)
    machine.wait_until(lambda: service.active)
    assert service.main == before, "the same process goes on"

    machine.path(CONFIG).write_text(good.replace("settle_seconds", "settle_minutes"))
    assert service.systemctl("reload", check=False).returncode != 0, "whoever asked is told"
    machine.wait_until(lambda: "settle_minutes" in service.show("StatusText"))
    assert [one["priority"] for one in service.say() if "settle_minutes" in str(one)] == [3]
    assert (service.active, service.main) == (True, before)
    service.feed("B2", 1, SHARE)
    service.await_measured(8)

    assert service.systemctl("restart", check=False).returncode != 0
    machine.wait_until(lambda: service.show("ActiveState") == "failed")
    assert (service.show("ExecMainStatus"), service.show("Result")) == ("78", "exit-code")
    assert service.show("SubState") == "failed", "not about to be started again"
    assert not processes(service)


def it_loses_nothing_by_a_kill(service: Service) -> None:
    machine, before, old = service.machine, service.main, set(processes(service))
    assert len(old) >= 2, "the daemon and CellProfiler's worker"
    service.feed("A2", 6)
    machine.wait_until(lambda: bool(service.say(event="image complete")))
    machine.run("kill", "-KILL", str(before))
    machine.wait_until(lambda: service.show("NRestarts") == "1" and service.active)
    assert service.main not in (0, before)
    assert not old & set(processes(service)), "nothing of the first one is left"
    service.await_measured(6)
    assert len(service.areas()) == 6


def processes(service: Service) -> list[int]:
    group = service.machine.path("/sys/fs/cgroup" + (service.show("ControlGroup") or "/none"))
    listed = group / "cgroup.procs"
    # Written as this test sees them, outside of the machine's own numbers.
    return [int(line) for line in listed.read_text().split()] if listed.exists() else []


def it_can_do_no_harm(service: Service) -> None:
    """No rights, and nothing that it could write to but its own folders."""
    status = service.machine.path(f"/proc/{service.main}/status").read_text()
    said = dict(line.split(":\t", 1) for line in status.splitlines())
    assert said["NoNewPrivs"] == "1"
    assert said["Seccomp"] == "2"
    assert {int(said[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    user = service.machine.run("id", "--user", "spheroidd").stdout.strip()
    assert set(said["Uid"].split()) == {user} != {"0"}

    mounts = service.machine.path(f"/proc/{service.main}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert {"rw", "noexec"} <= set(options[STATE])

    for place in (EXPORT, f"{EXPORT}/P/A1", "/etc", "/usr", "/root", "/opt/spheroidd"):
        assert "Read-only file system" in in_its_place(service, "touch", f"{place}/new"), place
    image = f"{EXPORT}/P/A1/A1_001.png"
    service.machine.run("chmod", "666", image)
    assert "Read-only file system" in in_its_place(service, "rm", "-f", image)
    assert "Read-only file system" in in_its_place(service, "truncate", "--size=0", image)
    assert in_its_place(service, "touch", f"{STATE}/new") == ""
    assert in_its_place(service, "cp", "/bin/true", f"{STATE}/new") == ""
    assert "Permission denied" in in_its_place(service, f"{STATE}/new")
    assert "of-its-own" not in in_its_place(service, "ls", "/tmp"), (
        "another /tmp than the machine's"
    )
    service.machine.path(f"{STATE}/new").unlink()


def it_has_its_secret_and_no_devices(service: Service) -> None:
    process = service.machine.path(f"/proc/{service.main}")
    variables = process.joinpath("environ").read_bytes().split(b"\0")
    [folder] = [one for one in variables if one.startswith(b"CREDENTIALS_DIRECTORY=")]
    told = in_its_place(service, "cat", folder.partition(b"=")[2].decode() + "/alerts")
    assert told == "json://localhost:1/secret\n"
    assert "Permission denied" in in_its_place(service, "cat", "/etc/spheroidd/alerts")
    devices = set(in_its_place(service, "ls", "/dev").split())
    assert {"null", "urandom"} <= devices
    assert not {name for name in devices if name.startswith(("nvidia", "sd", "vd", "mem"))}
