"""The unit and `make install`: verified by systemd's own tools, installed for real."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
UNIT = REPOSITORY / "systemd" / "spheroidd.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists: `verify` looks for it."""
    program = tmp_path / "venv" / "bin" / "spheroidd"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    path = tmp_path / "spheroidd.service"
    path.write_text(UNIT.read_text().replace("/opt/spheroidd", str(tmp_path)))
    return path


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_unit_exposes_little(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout[-200:]


def test_every_setting_of_the_unit_stands_under_a_reason() -> None:
    lines = [line for line in UNIT.read_text().splitlines() if line]
    comments = sum(line.startswith("#") for line in lines)
    assert comments >= 15
    for wanted in ("Type=notify", "RestartPreventExitStatus=78", "KillMode=mixed",
                   "ProtectSystem=strict", "Restart=on-failure"):  # fmt: skip
        assert wanted in lines
    assert not [line for line in lines if line.startswith("RequiresMountsFor")]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_make_install_puts_everything_in_place(tmp_path: Path) -> None:
    """Into a DESTDIR, as a package is made: nothing may name the DESTDIR afterwards."""
    done = subprocess.run(
        ["make", "-C", str(REPOSITORY), "install", f"DESTDIR={tmp_path}", "PREFIX=/srv/sph"],
        capture_output=True, text=True, timeout=380, check=False,
        env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "systemctl enable --now spheroidd" in done.stdout
    root = tmp_path / "srv" / "sph"
    assert (root / "venv/bin/spheroidd").read_text().startswith("#!/srv/sph/venv/bin/python")
    assert (root / "venv/share/spheroidd/engine/bin/python").exists()
    assert (root / "share/doc/spheroidd/README.md").is_file()
    unit = (tmp_path / "etc/systemd/system/spheroidd.service").read_text()
    assert "ExecStart=/srv/sph/venv/bin/spheroidd run -c /etc/spheroidd/config.yaml" in unit
    config = tmp_path / "etc/spheroidd/config.yaml"
    assert config.read_text() == (REPOSITORY / "config.example.yaml").read_text()
    named = subprocess.run(
        ["grep", "-rlI", "--exclude-dir=__pycache__", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert named == ""
