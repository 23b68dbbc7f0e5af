"""docs/datasette.md: the metadata fits the database, the queries answer, the commands work."""

import asyncio
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from datasette.app import Datasette
from filled import FRAMES, ODD, PLATE

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.store.reading import growth, plate_counts
from spheroidd.store.reviewing import Selection
from spheroidd.store.waiting import waiting as what_waits
from spheroidd.upkeep.backup import back_up_to

DOCS = Path(__file__).parents[2] / "docs"
METADATA = DOCS / "datasette-metadata.yaml"
SAID = yaml.safe_load(METADATA.read_text())["databases"]["spheroidd"]
COMMANDS = re.findall(r"^.*datasette serve .*$", (DOCS / "datasette.md").read_text(), re.M)
ANY = {"plate": PLATE, "well": "A2"}


def ask(database: Path, path: str, *, immutable: bool = False, **query: str) -> Any:
    """What Datasette answers over the file, through its own client."""
    place = {"immutables": [str(database)]} if immutable else {"files": [str(database)]}
    metadata = yaml.safe_load(METADATA.read_text())

    async def asked() -> Any:
        site = Datasette(**place, metadata=metadata, settings={"max_returned_rows": 100_000})
        said = urlencode({"_shape": "array", "_size": "max", **query})
        response = await site.client.get(f"/spheroidd{path}?{said}")
        assert response.status_code == 200, response.text
        return response.json() if ".json" in path else response.text

    return asyncio.run(asked())


# -- the metadata -----------------------------------------------------------------------------


def test_every_table_is_described_or_hidden_and_every_name_is_there(state: StateFolder) -> None:
    connection = sqlite3.connect(state.database)
    there = {
        name: {column[1] for column in connection.execute(f"PRAGMA table_info('{name}')")}
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            " AND name NOT LIKE 'sqlite_%'"
        )
    }
    connection.close()
    assert set(SAID["tables"]) == set(there)
    for name, said in SAID["tables"].items():
        assert said.get("hidden") or (said["title"] and said["description"]), name
        assert set(said.get("columns", {})) <= there[name], name
        unsaid = {column for column in there[name] if re.search(r"area|_um|_px$|hours", column)}
        assert said.get("hidden") or unsaid <= set(said.get("columns", {})), f"{name}: units"
    assert set(SAID["tables"]["growth"]["columns"]) == there["growth"]


def test_pages_show_it(state: StateFolder) -> None:
    page = ask(state.database, "")
    assert "Growth of a plate" in page
    assert "Start with the view growth" in page
    assert "well_changes" not in page.partition("hidden table")[0]
    assert "The same in µm²" in ask(state.database, "/growth")


# -- the queries ------------------------------------------------------------------------------


def test_every_query_answers(state: StateFolder) -> None:
    for name, query in SAID["queries"].items():
        assert query["title"], name
        assert query["description"], name
        assert ask(state.database, f"/{name}.json", **ANY), name


def test_queries_say_what_the_program_says(state: StateFolder) -> None:
    with Reader(state.database) as reader:
        rows = [row for row in growth(reader, PLATE) if not row["excluded"]]
        waiting, _ = what_waits(reader, Selection())
        counts = {row["plate"]: row for row in plate_counts(reader)}
    found = ask(state.database, "/growth_of_a_plate.json", plate=PLATE)
    assert [row["area_um2"] for row in found] == [row["area_um2"] for row in rows]
    assert [row["hours"] for row in found] == [row["hours"] for row in rows]

    found = ask(state.database, "/flagged.json", plate="")
    assert sorted(row["path"] for row in found) == sorted(row["image_path"] for row in waiting)
    assert "several_objects 3.0 (limit 1.0), area_jump 0.9 (limit 0.25)" in {
        row["why"] for row in found
    }
    assert ask(state.database, "/flagged.json", plate=ODD) == []

    for row in ask(state.database, "/plates.json"):
        known = counts[row["plate"]]
        assert [row[name] for name in ("images", "measured", "failed", "excluded")] == [
            known[name] for name in ("seen", "measured", "failed", "excluded")
        ]
    reasons = [row["reason"] for row in ask(state.database, "/failures.json")]
    assert [reason.partition(": ")[2] for reason in reasons] == [
        "It can't be read: denied.", "It is cut short.",
    ]  # fmt: skip
    shapes = ask(state.database, "/shapes_of_a_well.json", **ANY)
    assert [row["solidity"] for row in shapes] == [0.97] * FRAMES
    mean = ask(state.database, "/mean_growth.json", plate=PLATE)
    assert [row["hours"] for row in mean] == [0, 2, 4, 6, 8, 10, 12, 14]
    people = ask(state.database, "/decisions.json")
    assert [(row["who"], row["action"]) for row in people] == [
        ("Ada", "confirm"), ("Ada", "exclude"),
    ]  # fmt: skip


# -- live, or a copy --------------------------------------------------------------------------

COUNT = {"sql": "select count(*) as n from reviews"}


def test_beside_the_daemon_it_sees_what_is_new_and_immutable_does_not(state: StateFolder) -> None:
    """Why the document says not to use `-i` there."""
    with Database(state.database) as daemon:
        with daemon.write() as sql:
            sql.execute("INSERT INTO reviews (at, who, action) VALUES ('now', 'Bo', 'confirm')")
        assert ask(state.database, ".json", **COUNT) == [{"n": 3}]
        assert ask(state.database, ".json", immutable=True, **COUNT) == [{"n": 2}]
        with daemon.write() as sql:
            sql.execute("INSERT INTO reviews (at, who, action) VALUES ('now', 'Cy', 'confirm')")
        assert ask(state.database, ".json", **COUNT) == [{"n": 4}], "nobody was locked out"


def test_it_changes_nothing(state: StateFolder) -> None:
    with pytest.raises(AssertionError, match="must be a SELECT"):
        ask(state.database, ".json", sql="delete from reviews")


@pytest.mark.parametrize("line", COMMANDS, ids=["live", "copy"])
def test_the_commands_work(state: StateFolder, tmp_path: Path, line: str) -> None:
    """As they are written, but for where things lie, and for one question in place of a server."""
    back_up_to(state.database, tmp_path / "copy.db")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy.db").rename(tmp_path / "copy" / "spheroidd.db")
    words = shlex.split(line.removeprefix("sudo -u spheroidd "))
    places = {
        "datasette-metadata.yaml": str(METADATA),
        "/var/lib/spheroidd/spheroidd.db": str(state.database),
    }
    question = "/spheroidd/growth_of_a_plate.json?" + urlencode({"_shape": "array", "plate": ODD})
    command = [places.get(word, word) for word in words[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "datasette", *command, "--get", question],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row["area_px"] for row in json.loads(done.stdout)] == [910.0, 920.0, 930.0, 940.0] * 2
