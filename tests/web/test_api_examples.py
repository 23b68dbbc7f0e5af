"""docs/api.md can't rot: every example in it is run, against a real server."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import uvicorn
from filled import AT, PLATE, TOKEN
from PIL import Image as Pillow

from spheroidd.report.export import export_file
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.store.reading import GROWTH_COLUMNS
from spheroidd.web.app import Settings, create_app
from spheroidd.web.passwords import hash_token
from spheroidd.web.serving import listen

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, re.S | re.M)
WRITTEN = "http://127.0.0.1:8765"  # the server, as the document has it


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture
def address(state: StateFolder) -> Iterator[str]:
    """A real server on a free port, with a token."""
    site = Settings(state, tokens={"robot": hash_token(TOKEN)})
    app = create_app(site, structlog.get_logger(), lambda: AT)
    opened = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server has ended"
        assert time.monotonic() < end
        time.sleep(0.02)
    yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    opened.close()


@pytest.fixture
def run(address: str, tmp_path: Path) -> Callable[..., str]:
    """Runs an example as it is written, in a folder of its own; what it prints."""

    def go(text: str, *command: str) -> str:
        assert WRITTEN in text
        done = subprocess.run(
            [*command, text.replace(WRITTEN, address)],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
            env={"PATH": os.environ["PATH"], "SPHEROIDD_TOKEN": TOKEN},
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return go


def test_every_language_has_examples() -> None:
    assert len(blocks("python")) >= 3
    assert len(blocks("sh")) >= 2
    assert len(blocks("r")) == 1
    assert {kind for kind, _ in BLOCKS} == {"python", "sh", "r", "json"}
    assert all(set(json.loads(text)) == {"error", "hint"} for text in blocks("json"))


def test_all_of_the_api_is_in_the_table(state: StateFolder) -> None:
    app = create_app(Settings(state), structlog.get_logger())
    reading = {
        path.removeprefix("/api/v1")
        for path, methods in app.openapi()["paths"].items()
        if path.startswith("/api/v1") and "get" in methods
    }
    table = {one.partition("?")[0] for one in re.findall(r"^\| `(/[^`]+)`", DOCUMENT, re.M)}
    assert table == reading


def test_the_python_examples(run: Callable[..., str]) -> None:
    csv_, parquet, pages, deciding = (
        run(text, sys.executable, "-W", "error", "-c") for text in blocks("python")
    )
    assert re.search(r"^hours +", csv_, re.M)
    assert re.search(r"^14\.0 +.*12236", csv_, re.M), csv_
    assert re.search(r"^A1 +10\.0$", parquet, re.M), parquet
    assert re.search(r"H12 +14\.0 +0\.0+ +\[no_spheroid\]", pages), pages
    assert "A2 ['area_jump', 'several_objects'] solidity 0.97" in pages
    assert deciding == "event 3 undone by 4\n"


def test_the_curl_examples(run: Callable[..., str], state: StateFolder, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    table, again, outline = (run(text, "sh", "-euc") for text in blocks("sh"))
    assert table.startswith(",".join(GROWTH_COLUMNS))
    with Reader(state.database) as reader:
        export_file(reader, tmp_path / "exported.csv", PLATE)
    assert (tmp_path / "growth.csv").read_bytes() == (tmp_path / "exported.csv").read_bytes()
    assert again == "200\n304\n"
    assert json.loads((tmp_path / "plate.json").read_text())["plate"] == PLATE
    assert outline == ""
    with Pillow.open(tmp_path / "outline.jpg") as picture:
        assert picture.size == (160, 120)


def test_the_r_example(run: Callable[..., str], address: str) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed")
    [text] = blocks("r")
    assert re.search(r"A1 +14", run(text, "Rscript", "-e"))
