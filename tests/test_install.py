"""`make setup` and `make install`: what they keep, and what they put where.

The unit is tested in tests/systemd/."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FAKE_PYTHON = """#!/bin/sh
echo "python $*" >> log
"""
# `pip show` says by its exit status whether a package is here.
FAKE_UV = """#!/bin/sh
echo "uv $*" >> log
case "$*" in
    *"pip show"*) for name; do :; done; test -e "has-$name" ;;
    *"pip uninstall"*) rm -f has-onnxruntime has-onnxruntime-gpu ;;
    *"-r -") cat >> tools ;;
    *requirements/cpu.txt) touch has-onnxruntime ;;
    *requirements/gpu.txt) touch has-onnxruntime-gpu ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and the lock files, with programs in .venv that only write down their call."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    for name, script in {"python": FAKE_PYTHON, "uv": FAKE_UV, "spheroidd": "#!/bin/sh\n"}.items():
        program = tmp_path / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    return tmp_path


def make(checkout: Path, *words: str) -> str:
    """The calls that `make` made."""
    log = checkout / "log"
    log.write_text("")
    hidden = ("MAKEFLAGS", "MAKELEVEL", "EXTRA", "MFLAGS")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    subprocess.run(
        ["make", *words], cwd=checkout, env=environment, capture_output=True, timeout=60, check=True
    )
    return log.read_text()


def onnxruntimes(checkout: Path) -> list[str]:
    return sorted(path.name for path in checkout.glob("has-*"))


def test_the_gpu_choice_is_kept_and_there_is_never_more_than_one(checkout: Path) -> None:
    make(checkout, "setup")
    assert onnxruntimes(checkout) == ["has-onnxruntime"]
    assert "uninstall" in make(checkout, "setup", "EXTRA=gpu")
    assert onnxruntimes(checkout) == ["has-onnxruntime-gpu"]
    assert "uv" not in make(checkout, "demo")
    (checkout / "pyproject.toml").touch()
    calls = make(checkout, "demo")
    assert "requirements/gpu.txt" in calls
    assert "uninstall" not in calls
    assert onnxruntimes(checkout) == ["has-onnxruntime-gpu"]
    make(checkout, "setup", "EXTRA=cpu")
    assert onnxruntimes(checkout) == ["has-onnxruntime"]
    assert "uv" not in make(checkout, "setup")
    tools = (checkout / "tools").read_text()
    assert "onnxruntime" not in tools
    assert {"numpy", "pytest", "rembg"} <= {line.split("==")[0] for line in tools.splitlines()}


def test_a_new_uv_or_a_broken_venv_costs_no_model(checkout: Path) -> None:
    model = checkout / ".venv" / "share" / "spheroidd" / "models" / "mine.onnx"
    model.parent.mkdir(parents=True)
    model.write_text("mine")
    make(checkout, "setup")
    (checkout / "requirements" / "uv.txt").touch()
    calls = make(checkout, "setup")
    assert "-r requirements/uv.txt" in calls
    assert "-m venv" not in calls
    (checkout / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "requirements" / "uv.txt").touch()
    new = checkout / "new-python"  # stands for the system's: it makes a venv with a working Python
    new.write_text(
        f'{FAKE_PYTHON}case "$*" in *"-m venv"*) mkdir -p .venv/bin && cp new-python '
        ".venv/bin/python && cp old/* .venv/bin/ ;; esac\n"
    )
    new.chmod(0o755)
    (checkout / "old").mkdir()
    for name in ("uv", "spheroidd"):
        shutil.copy(checkout / ".venv" / "bin" / name, checkout / "old")
    assert "-m venv .venv" in make(checkout, "setup", f"PYTHON={new}")
    assert model.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_make_install_puts_everything_in_place(tmp_path: Path) -> None:
    """Into a DESTDIR, as a package is made, and over an older installation.

    Nothing may name the DESTDIR afterwards; models stay.
    """
    root = tmp_path / "srv" / "sph"
    model = root / "share/spheroidd/models/mine/mine.onnx"
    stale = root / "venv/lib/stale.py"
    for old in (model, stale):
        old.parent.mkdir(parents=True)
        old.write_text("old")
    done = subprocess.run(
        ["make", "-C", str(REPOSITORY), "install", f"DESTDIR={tmp_path}", "PREFIX=/srv/sph"],
        capture_output=True, text=True, timeout=380, check=False,
        env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "systemctl enable --now spheroidd" in done.stdout
    assert (root / "venv/bin/spheroidd").read_text().startswith("#!/srv/sph/venv/bin/python")
    assert (root / "share/spheroidd/engine/bin/python").exists()
    assert not (root / "venv/share/spheroidd").exists()
    assert model.read_text() == "old"
    assert not stale.exists()
    code = "from spheroidd.home import installation_home; print(installation_home())"
    found = subprocess.run(
        [root / "venv/bin/python", "-c", code],
        capture_output=True, text=True, check=True,
        env={key: value for key, value in os.environ.items() if key != "SPHEROIDD_HOME"},
    )  # fmt: skip
    assert found.stdout.strip() == str(root / "share/spheroidd")
    assert (root / "share/doc/spheroidd/README.md").is_file()
    assert (root / "share/doc/spheroidd/drop-ins/cpu-only.conf").is_file()
    assert "/srv/sph/share/doc/spheroidd/drop-ins/" in done.stdout
    unit = (tmp_path / "etc/systemd/system/spheroidd.service").read_text()
    assert "ExecStart=/srv/sph/venv/bin/spheroidd run -c /etc/spheroidd/config.yaml" in unit
    assert "Environment=SPHEROIDD_HOME=/srv/sph/share/spheroidd" in unit
    config = tmp_path / "etc/spheroidd/config.yaml"
    assert config.read_text() == (REPOSITORY / "config.example.yaml").read_text()
    named = subprocess.run(
        ["grep", "-rlI", "--exclude-dir=__pycache__", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert named == ""
