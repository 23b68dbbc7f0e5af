"""The units and their drop-ins, as `make install` places them, judged by systemd's own tools."""

import ipaddress
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spheroidd import heartbeat, stopping
from spheroidd.measure.process import LADDER
from spheroidd.web import serving

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT, WEB = "spheroidd.service", "spheroidd-web.service"
DROP_INS = ("cifs-nfs", "cpu-only", "alerts", "folders")
# `folders` is for both: the web page writes decisions to the state folder.
WEB_DROP_INS = ("web-lan", "folders")
ALL_DROP_INS = sorted({*DROP_INS, *WEB_DROP_INS})

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)

Lay = Callable[..., Path]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """Units, drop-ins and configuration for a PREFIX of its own, below a DESTDIR."""
    script = REPOSITORY / "systemd" / "place.sh"
    subprocess.run(["sh", str(script), "/srv/sph", str(tmp_path)], timeout=60, check=True)
    return tmp_path


@pytest.fixture
def lay(placed: Path, tmp_path: Path) -> Lay:
    """Lays a unit out with some drop-ins beside it, and programs that `verify` can find."""

    def lay_out(*drop_ins: str, name: str = UNIT) -> Path:
        program = tmp_path / "srv/sph/venv/bin/spheroidd"
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", program)
        text = (placed / "etc/systemd/system" / name).read_text()
        folder = tmp_path / "units"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / f"{name}.d").mkdir(parents=True)
        (folder / name).write_text(text.replace("/srv/sph", f"{tmp_path}/srv/sph"))
        for one in drop_ins:
            shutil.copy(document(placed, f"drop-ins/{one}.conf"), folder / f"{name}.d")
        return folder / name

    return lay_out


def document(placed: Path, name: str) -> Path:
    return placed / "srv/sph/share/doc/spheroidd" / name


def exposure(unit: Path, limit: float) -> float:
    """systemd's figure, which must also be within the limit by its own judgement."""
    done = analyze("security", "--offline=true", f"--threshold={limit * 10:.0f}", str(unit))
    assert done.returncode == 0, done.stdout[-200:]
    found = re.search(r"exposure level for \S+: (\d+\.\d)", done.stdout)
    assert found, done.stdout[-200:]
    return float(found[1])


def protections(unit: Path) -> set[str]:
    lines = analyze("security", "--offline=true", "--json=short", str(unit)).stdout
    return {line["json_field"] for line in json.loads(lines) if line["set"]}


def directives(text: str) -> dict[str, list[str]]:
    """Setting → its values, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"[A-Z]\w+=", line):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), *((name,) for name in DROP_INS), DROP_INS], ids=str)
def test_systemd_finds_nothing_wrong(lay: Lay, drop_ins: tuple[str, ...]) -> None:
    done = analyze("verify", str(lay(*drop_ins)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), *((name,) for name in WEB_DROP_INS)], ids=str)
def test_systemd_finds_nothing_wrong_with_the_web_unit(lay: Lay, drop_ins: tuple[str, ...]) -> None:
    done = analyze("verify", str(lay(*drop_ins, name=WEB)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_verify_reads_drop_ins_so_that_the_test_above_can_fail(lay: Lay) -> None:
    unit = lay()
    (unit.parent / f"{UNIT}.d" / "wrong.conf").write_text("[Service]\nNoSuchSetting=1\n")
    assert "NoSuchSetting" in analyze("verify", str(unit)).stderr


@needs_systemd
def test_little_is_exposed(lay: Lay) -> None:
    assert exposure(lay(), 2.0) <= 2.0
    assert exposure(lay("cifs-nfs", "alerts", "folders"), 2.0) <= 2.0
    assert exposure(lay("cpu-only"), 1.3) <= 1.3
    assert exposure(lay("cpu-only", "cifs-nfs", "folders"), 1.3) <= 1.3
    assert exposure(lay(name=WEB), 1.1) <= 1.1
    assert exposure(lay("web-lan", "folders", name=WEB), 1.3) <= 1.3


@needs_systemd
def test_drop_ins_change_what_they_say_and_no_more(lay: Lay) -> None:
    alone = protections(lay())
    assert {"NoNewPrivileges", "ProtectSystem", "PrivateMounts", "PrivateTmp"} <= alone
    assert not {"PrivateDevices", "PrivateUsers"} & alone, "a GPU could not be used"
    assert protections(lay("cpu-only")) == alone | {"PrivateDevices", "PrivateUsers"}
    assert protections(lay("alerts")) == alone
    assert protections(lay("cifs-nfs", "folders")) == alone


@needs_systemd
def test_the_web_unit_is_allowed_less_than_the_daemon(lay: Lay) -> None:
    daemon, web = protections(lay()), protections(lay(name=WEB))
    assert daemon < web
    assert {"PrivateDevices", "PrivateUsers", "MemoryDenyWriteExecute"} <= web
    assert protections(lay("folders", name=WEB)) == web
    assert protections(lay("web-lan", name=WEB)) == web


def test_paths_follow_the_prefix(placed: Path) -> None:
    unit = (placed / "etc/systemd/system" / UNIT).read_text()
    web = (placed / "etc/systemd/system" / WEB).read_text()
    beside = [document(placed, f"drop-ins/{name}.conf").read_text() for name in ALL_DROP_INS]
    files = [unit, web, *beside]
    assert not [text for text in files if "/opt/spheroidd" in text]
    assert not [text for text in files if str(placed) in text]
    said = directives(unit)
    assert said["ExecStart"] == ["/srv/sph/venv/bin/spheroidd run -c /etc/spheroidd/config.yaml"]
    assert "SPHEROIDD_HOME=/srv/sph/share/spheroidd" in said["Environment"]
    said = directives(web)
    assert said["ExecStart"] == ["/srv/sph/venv/bin/spheroidd web -c /etc/spheroidd/config.yaml"]
    assert said["Documentation"] == ["file:///srv/sph/share/doc/spheroidd/web.md"]
    assert document(placed, "README.md").is_file()
    assert document(placed, "web.md").is_file()
    assert sorted(path.stem for path in document(placed, "drop-ins").iterdir()) == ALL_DROP_INS


def test_the_web_page_is_not_switched_on_by_itself(placed: Path) -> None:
    folder = placed / "etc/systemd/system"
    assert sorted(path.name for path in folder.rglob("*")) == sorted([UNIT, WEB])


def test_placing_again_keeps_a_configuration_and_renews_the_unit(placed: Path) -> None:
    config, unit = placed / "etc/spheroidd/config.yaml", placed / "etc/systemd/system" / UNIT
    assert config.read_text() == (REPOSITORY / "config.example.yaml").read_text()
    config.write_text("mine")
    unit.write_text("old")
    script = REPOSITORY / "systemd" / "place.sh"
    subprocess.run(["sh", str(script), "/opt/spheroidd", str(placed)], timeout=60, check=True)
    assert config.read_text() == "mine"
    assert unit.read_text() == (REPOSITORY / "systemd" / UNIT).read_text()


@pytest.mark.parametrize("name", [UNIT, WEB, *(f"drop-ins/{name}.conf" for name in ALL_DROP_INS)])
def test_every_setting_stands_below_a_reason(name: str) -> None:
    said_why = False
    for line in (REPOSITORY / "systemd" / name).read_text().splitlines():
        if line.startswith("#"):
            said_why = True
        elif not line or line.startswith("["):
            said_why = False
        else:
            assert said_why, line


@pytest.mark.parametrize("name", ALL_DROP_INS)
def test_a_drop_in_says_how_to_put_it_in_place(name: str) -> None:
    text = (REPOSITORY / "systemd" / "drop-ins" / f"{name}.conf").read_text()
    unit = UNIT if name in DROP_INS else WEB
    assert f"sudo cp {name}.conf /etc/systemd/system/{unit}.d/" in text
    assert "systemctl daemon-reload" in text


def test_what_the_service_counts_on() -> None:
    said = directives((REPOSITORY / "systemd" / UNIT).read_text())
    assert said["Type"] == ["notify"]
    assert said["RestartPreventExitStatus"] == ["78"]
    assert said["Restart"] == ["on-failure"]
    assert "PYTHONFAULTHANDLER=1" in said["Environment"], "SIGABRT then says where it was stuck"
    # A share that goes away must not take the service with it.
    drop_in = directives((REPOSITORY / "systemd/drop-ins/cifs-nfs.conf").read_text())
    assert "RequiresMountsFor" not in {*said, *drop_in}
    # Numbers that the program has its share in.
    assert float(said["WatchdogSec"][0]) >= 10 * heartbeat.BEAT_SECONDS
    orderly = stopping._STOP_SECONDS + stopping._HAND_BACK_SECONDS + sum(LADDER)
    assert float(said["TimeoutStopSec"][0]) >= 1.5 * orderly
    # Late disks and cards are waited for, and yet it does not start in a tight loop for ever.
    patience = int(said["StartLimitBurst"][0]) * int(said["RestartSec"][0])
    assert 1800 <= patience <= 3 * 3600


def test_neither_service_hangs_on_the_other() -> None:
    daemon, web = (directives((REPOSITORY / "systemd" / name).read_text()) for name in (UNIT, WEB))
    ties = ("Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "After", "Before",
            "Wants", "PropagatesStopTo", "OnFailure", "JoinsNamespaceOf")  # fmt: skip
    for said in (daemon, web):
        assert not [one for tie in ties for one in said.get(tie, []) if "spheroidd" in one]
    assert web["User"] == daemon["User"], "the database is that user's"
    assert web["StateDirectory"] == daemon["StateDirectory"]


def test_what_the_web_page_counts_on() -> None:
    daemon, web = (directives((REPOSITORY / "systemd" / name).read_text()) for name in (UNIT, WEB))
    assert web["Restart"] == ["on-failure"]
    assert web["RestartPreventExitStatus"] == ["78"], (
        "refusing to be open to all is not tried again"
    )
    assert float(web["TimeoutStopSec"][0]) > serving._GRACE_SECONDS + 10
    assert int(web["LimitNOFILE"][0]) > 2 * serving._MOST_CONNECTIONS
    assert web["LimitCORE"] == ["0"], "it would hold sessions"
    # Who gives way when there is too little: the page, not the daemon.
    assert web["MemoryMax"] == ["1G"]
    assert int(web["OOMScoreAdjust"][0]) > 0
    assert int(web["Nice"][0]) > int(daemon["Nice"][0])
    assert int(web["CPUWeight"][0]) < int(daemon["CPUWeight"][0])
    lan = directives((REPOSITORY / "systemd/drop-ins/web-lan.conf").read_text())
    assert web["IPAddressDeny"] == ["any"], "as the daemon: this machine alone"
    assert lan.keys() == {"IPAddressAllow"}
    networks = [ipaddress.ip_network(one) for one in lan["IPAddressAllow"][0].split()]
    assert all(network.is_private for network in networks)
