"""The commands as people type them: output, exit codes, what they say when something is missing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from spheroidd.store.database import Database

WriteConfig = Callable[..., Path]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spheroidd", *words],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def one_failed_image(state: Path, path: str = "/e/P/A1/1.png") -> None:
    """A database at rest that knows one image."""
    database = Database(state / "spheroidd.db")
    with database.write() as sql:
        sql.execute(
            "INSERT INTO images (root, path, size, mtime_ns, seen_at, state, failed_from, reason)"
            " VALUES ('/e', ?, 1, 1, '2026-01-01T00:00:00.000+00:00', 'failed', 'waiting', 'torn')",
            [path],
        )
    database.close()


def test_help_teaches_and_wrong_usage_is_2() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "demo",
        "run",
        "check",
        "status",
        "export",
        "retry",
        "model",
        "engine",
        "simulate",
    ):
        assert word in done.stdout
    assert run("--version").stdout.startswith("spheroidd 0.")
    assert run("run").returncode == 2
    assert run("frobnicate").returncode == 2
    assert run("status", "--nonsense").returncode == 2


def test_check_prints_the_effective_configuration(write_config: WriteConfig) -> None:
    done = run("check", "-c", str(write_config()))
    assert done.returncode == 0
    assert "threshold: 0.5" in done.stdout
    assert "isnet-general-use" in done.stdout
    missing = run("check", "-c", str(write_config(watch={"path": "/nowhere/at/all"})))
    assert "/nowhere/at/all is not there" in missing.stderr


def test_a_wrong_configuration_is_78_without_a_traceback(write_config: WriteConfig) -> None:
    done = run("check", "-c", str(write_config(segmentation={"threshold": 7})))
    assert done.returncode == 78
    assert "segmentation.threshold is 7: must be less than 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_shows_what_each_file_becomes(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config(watch={"interval_minutes": 30})
    for name in ("P, (1)/A1/d2.png", "P, (1)/A1/d10.png", "lost.png", "P, (1)/A1/notes.txt"):
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("png"):
            Pillow.fromarray(np.full((9, 9), 7, np.uint8)).save(path)
        else:
            path.write_text("x")
    (tmp_path / "export" / "P, (1)" / "A1" / "d3.jpg").write_bytes(b"no image")
    before = sorted(tmp_path.rglob("*"))
    done = run("check", "-c", str(config), "--names")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if "P, (1)/A1" in line]
    names = ("d2", "d10", "d3", "notes")  # what is used, in its order, then what is not
    assert [name for line in lines for name in names if f"/{name}." in line] == list(names)
    assert "interval" in lines[0]
    assert [line.startswith("not used: ") for line in lines] == [False, False, True, True]
    assert "3 not used" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before  # a dry run leaves nothing


def test_before_the_first_run_the_readers_say_what_to_do(write_config: WriteConfig) -> None:
    config = str(write_config())
    for command in ("status", "export", "retry"):
        done = run(command, "-c", config)
        assert done.returncode == 1
        assert "spheroidd run" in done.stderr


def test_model_list_is_json_with_name_and_path(home: Path) -> None:
    models = json.loads(run("model", "list", "--json").stdout)
    by_name = {model["name"]: model for model in models}
    assert by_name["u2netp"]["path"] == str(home / "models" / "u2netp" / "u2netp.onnx")
    assert "isnet-general-use" in by_name
    assert all("path" in model for model in models)


def test_verify_says_what_is_wrong_by_its_exit_code() -> None:
    assert run("model", "verify", "u2netp").returncode == 0
    done = run("model", "verify", "u2nett")
    assert done.returncode == 1
    assert "u2netp" in done.stderr


def test_engine_check() -> None:
    done = run("engine", "check")
    assert done.returncode == 0
    assert "CellProfiler 4.2.8" in done.stdout


def test_simulate_writes_images_and_their_truth(tmp_path: Path) -> None:
    done = run(
        "simulate", "--to", str(tmp_path / "e"), "--wells", "2", "--frames", "1",
        "--interval", "0", "--width", "240", "--height", "160",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "e").rglob("*.jpg"))) == 2
    assert (tmp_path / "e" / "truth.csv").read_text().count("\n") == 3


def test_the_demo_does_not_overwrite_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    done = run("demo", "--to", str(tmp_path))
    assert done.returncode == 1
    assert "something else" in done.stderr
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.parametrize("command", ["run", "check", "status"])
def test_a_missing_configuration_says_where_to_begin(command: str, tmp_path: Path) -> None:
    done = run(command, "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 78
    assert "config.example.yaml" in done.stderr


def test_retry_finds_an_image_below_a_linked_folder(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config()
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "export")
    one_failed_image(tmp_path / "state", f"{tmp_path}/link/P/A1/1.png")
    wanted = f"{tmp_path}/link/P/../P/A1/1.png"
    assert "no failed images" in run("retry", "-c", str(config), "--path", "/e/1.png").stdout
    assert "1 failed images" in run("retry", "-c", str(config), "--path", wanted).stdout


def test_export_where_nothing_can_be_written_or_read_on(write_config: WriteConfig) -> None:
    config = write_config()
    (config.parent / "state").mkdir()
    one_failed_image(config.parent / "state")
    done = run("export", "-c", str(config), "-o", "/nonexistent/x.csv")
    assert done.returncode == 1
    assert "/nonexistent/x.csv can't be written: No such file" in done.stderr
    assert "Traceback" not in done.stderr
    left, end = os.pipe()
    os.close(left)  # as `| head` does once it has its lines
    done = subprocess.run(
        [sys.executable, "-m", "spheroidd", "export", "-c", str(config)],
        stdout=end, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(end)
    assert done.stderr == ""


AsNobody = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def as_nobody() -> AsNobody:
    """Runs Python as a user who owns nothing."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be somebody else")

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return subprocess.run(
            [*nobody, sys.executable, *words],
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip

    if go("-c", "import spheroidd.cli").returncode != 0:
        pytest.skip("other users can't run this Python")
    return go


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others can look into; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_who_may_only_read_sees_the_status_of_a_stopped_daemon(
    as_nobody: AsNobody, open_folder: Path
) -> None:
    config, state = open_folder / "c.yaml", open_folder / "state"
    config.write_text(f"watch: [{{path: {open_folder}/export}}]\nstate_dir: {state}\n")
    state.mkdir()
    one_failed_image(state)
    for command in ("status", "export"):
        done = as_nobody("-m", "spheroidd", command, "-c", str(config))
        assert done.returncode == 0, done.stderr
        assert "P/A1/1.png" in done.stdout or command == "export"
    assert [path.name for path in state.iterdir()] == ["spheroidd.db"]

    # A log without its shared memory: a copy, or what a crash of the machine left.
    (state / "spheroidd.db-wal").write_bytes(b"x" * 64)
    done = as_nobody("-m", "spheroidd", "status", "-c", str(config))
    assert done.returncode == 1
    assert "sudo -u spheroidd" in done.stderr
    state.chmod(0o700)
    done = as_nobody("-m", "spheroidd", "status", "-c", str(config))
    assert done.returncode == 1
    assert "sudo -u spheroidd" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("folder_mode", "file_mode"), [(0o755, 0o644), (0o777, 0o644), (0o755, 0o666)]
)
def test_who_may_not_write_is_told_whose_work_it_is(
    folder_mode: int, file_mode: int, as_nobody: AsNobody, open_folder: Path
) -> None:
    config, state = open_folder / "c.yaml", open_folder / "state"
    config.write_text(f"watch: [{{path: {open_folder}/export}}]\nstate_dir: {state}\n")
    state.mkdir()
    one_failed_image(state)
    (state / "spheroidd.db").chmod(file_mode)
    state.chmod(folder_mode)
    before = (state / "spheroidd.db").read_bytes()
    done = as_nobody("-m", "spheroidd", "retry", "-c", str(config))
    assert done.returncode == 1, done.stderr
    assert "sudo -u spheroidd" in done.stderr
    assert "write" in done.stderr
    assert "damaged" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (state / "spheroidd.db").read_bytes() == before


def test_a_lock_of_another_user_is_told_in_words(as_nobody: AsNobody, open_folder: Path) -> None:
    config, state = open_folder / "c.yaml", open_folder / "state"
    config.write_text(f"watch: [{{path: {open_folder}/export}}]\nstate_dir: {state}\n")
    state.mkdir()
    (state / "spheroidd.lock").touch(0o644)
    state.chmod(0o777)
    done = as_nobody("-m", "spheroidd", "run", "--until-idle", "-c", str(config))
    assert done.returncode == 1
    assert "spheroidd.lock can't be opened: Permission denied" in done.stderr
    assert "Run spheroidd as the user" in done.stderr
    assert "Traceback" not in done.stderr
