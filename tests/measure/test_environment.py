"""CellProfiler's environment: which Python is taken, what is run, what is said if it fails."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spheroidd.errors import EngineError
from spheroidd.measure import environment


@pytest.fixture
def python310(cellprofiler: Path) -> Path:
    """The interpreter that the real environment stands on."""
    return (cellprofiler.parent / cellprofiler.readlink()).resolve()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing is found: an empty PATH, no pyenv, no uv."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "versions" / "3.11.1"))
    monkeypatch.setattr(environment, "_uv", lambda: None)
    return tmp_path


def test_what_is_installed(cellprofiler: Path, home: Path) -> None:
    info = environment.check(home)
    assert info == environment.EnvironmentInfo(cellprofiler, "4.2.8.1", True)
    assert environment.engine_python(home) == cellprofiler


def test_a_second_install_does_nothing(cellprofiler: Path, home: Path) -> None:
    before = (home / "engine").stat().st_ino
    said: list[str] = []
    assert environment.install(home, report=said.append) == cellprofiler
    assert len(said) == 1
    assert "up to date" in said[0]
    assert (home / "engine").stat().st_ino == before


def test_missing_and_broken_environments_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"not installed.*spheroidd engine install"):
        environment.check(tmp_path)
    script(environment.engine_python(tmp_path), "exit 1")
    with pytest.raises(EngineError, match=r"broken.*spheroidd engine install"):
        environment.check(tmp_path)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may enter any folder, so it becomes somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_an_environment_out_of_reach_is_not_called_missing(tmp_path: Path) -> None:
    script(environment.engine_python(tmp_path / "locked"), "exit 0")
    (tmp_path / "locked").chmod(0)
    with (
        somebody_else(),
        pytest.raises(EngineError, match=r"Permission denied.*access.*engine install --python"),
    ):
        environment.check(tmp_path / "locked")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="File name too long"):
        environment.check(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "versions", ["pyenv/versions", "seen/versions", "versions"], ids=["told", "on PATH", "our own"]
)
def test_a_broken_shim_on_path_is_passed_over(
    versions: str, bare: Path, python310: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shims = bare / "seen" / "shims"
    monkeypatch.setenv("PATH", str(shims))
    script(shims / "python3.10", "echo 'pyenv: python3.10: command not found'; exit 127")
    real = bare / versions / "3.10.99" / "bin" / "python3.10"
    real.parent.mkdir(parents=True)
    real.symlink_to(python310)
    assert environment.find_python(bare, None).samefile(python310)


def test_another_python_under_the_name_is_passed_over(bare: Path, python310: Path) -> None:
    script(bare / "bin" / "python3.10", f'exec {sys.executable} "$@"')
    with pytest.raises(EngineError, match="--python"):
        environment.find_python(bare, None)
    script(bare / "bin" / "python3.10", f'exec {python310} "$@"')
    assert environment.find_python(bare, None).samefile(python310)


def test_a_configured_python_is_taken_or_refused(bare: Path, python310: Path) -> None:
    assert environment.find_python(bare, python310).samefile(python310)
    script(bare / "bin" / "python3.10", f'exec {python310} "$@"')
    for wrong in (Path(sys.executable), bare / "nowhere", bare):
        with pytest.raises(EngineError, match=r"not a working CPython 3\.10"):
            environment.find_python(bare, wrong)


def test_uv_is_asked_to_download_as_the_last_resort(
    bare: Path, python310: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = script(
        bare / "uv",
        f"""[ "$2" = install ] || exit 2
        bin="$UV_PYTHON_INSTALL_DIR/cpython-3.10.18-linux-x86_64-gnu/bin"
        mkdir -p "$bin" && ln -s {python310} "$bin/python3.10" """,
    )
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    said: list[str] = []
    found = environment.find_python(bare / "home", None, said.append)
    assert found.samefile(python310)
    assert (bare / "home" / "python").is_dir()
    assert "download" in said[0]


def test_a_download_that_fails_says_what_else_to_do(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = script(bare / "uv", "echo 'error: no route to host'; exit 2")
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    with pytest.raises(EngineError, match=r"pyenv install 3.10.*engine install --python") as caught:
        environment.find_python(bare, None)
    assert "no route to host" in str(caught.value.__cause__)


def test_only_pinned_wheels_come_in(tmp_path: Path) -> None:
    for uv in (tmp_path / "uv", None):
        *_, install = environment.install_commands(uv, Path("/py"), tmp_path / "env")
        for flag in ("--no-deps", "--require-hashes", "--only-binary"):
            assert flag in install
        assert install[install.index("--only-binary") + 1] == ":all:"
        assert str(environment.REQUIREMENTS) in install
        assert str(tmp_path / "env" / "bin" / "python") in install


def test_a_failed_build_leaves_the_old_one_and_says_why(
    bare: Path, python310: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = bare / "home"
    script(environment.engine_python(home), "exit 0")
    uv = script(bare / "uv", "echo 'error: hash mismatch'; mkdir -p \"$5\"; exit 2")
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    said: list[str] = []
    with pytest.raises(EngineError, match="hash mismatch"):
        environment.install(home, python=python310, report=said.append)
    assert "error: hash mismatch" in said
    assert environment.engine_python(home).exists()


def test_lock_is_for_this_cellprofiler_alone() -> None:
    text = environment.REQUIREMENTS.read_text(encoding="utf-8")
    names = [line.split("==")[0].lower() for line in text.splitlines() if "==" in line]
    assert {"cellprofiler", "cellprofiler-core", "numpy", "scipy"} <= set(names)
    left_out = {"wxpython", "mysqlclient", "python-javabridge", "python-bioformats", "prokaryote"}
    assert not left_out & set(names)
    assert text.count("--hash=sha256:") >= len(names)
