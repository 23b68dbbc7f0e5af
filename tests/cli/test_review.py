"""`spheroidd review` as people type it, beside a daemon that has the database open."""

import csv
import getpass
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from made_up import NOW, RECIPE, measured
from spheroidd.store.database import Database
from spheroidd.store.paths import to_stored
from spheroidd.store.runs import Runs

WriteConfig = Callable[..., Path]
Review = Callable[..., subprocess.CompletedProcess[str]]


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spheroidd", *words],
        capture_output=True, text=True, timeout=100, check=False, env=env,
    )  # fmt: skip


@pytest.fixture
def config(write_config: WriteConfig) -> Path:
    path = write_config()
    (path.parent / "state").mkdir()
    return path


@pytest.fixture
def daemon(config: Path) -> Iterator[Database]:
    """The connection that a daemon keeps open all the time."""
    database = Database(config.parent / "state" / "spheroidd.db")
    for frame in range(3):
        measured(database, "A1", frame / 3, [100.0, 40.0], timepoint=frame + 1)
    measured(database, "A2", 0, [], timepoint=1)
    with database.write() as sql:
        sql.execute(
            "UPDATE measurements SET flags = 'several_objects,low_solidity', checks = ?,"
            " outline_path = 'images/P/A1/' || id || '.png' WHERE n_objects > 0",
            [
                json.dumps(
                    {
                        "several_objects": {"value": 2, "limit": 1, "raised": True},
                        "low_solidity": {"value": 0.61, "limit": 0.8, "raised": True},
                        "area_jump": {"value": 0.01, "limit": 0.2, "raised": False},
                    }
                )
            ],
        )
    yield database
    database.close()


@pytest.fixture
def review(config: Path, daemon: Database) -> Review:
    def go(command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return run("review", command, "-c", str(config), *words)

    return go


def decisions(database: Database) -> list[tuple[str, float, str | None, int]]:
    rows = database.rows(
        "SELECT i.path, m.area_px, m.decision, i.excluded FROM images i"
        " JOIN measurements m ON m.image_id = i.id AND m.current ORDER BY i.id"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def test_list_shows_what_waits_with_numbers_and_limits(
    review: Review, config: Path, daemon: Database
) -> None:
    done = review("list")
    assert done.returncode == 0, done.stderr
    assert "several_objects 2 > 1, low_solidity 0.61 < 0.8" in done.stdout
    assert "area_jump" not in done.stdout
    assert "4 images wait for review" in done.stdout
    rows = json.loads(review("list", "--json", "--flag", "several_objects").stdout)
    assert [(row["well"], row["hours"]) for row in rows] == [
        ("A1", 0), ("A1", 0.3333), ("A1", 0.6667),
    ]  # fmt: skip
    assert rows[0]["outline_path"] == str(config.parent / "state" / "images/P/A1/1.png")
    assert len(json.loads(review("list", "--json", "--limit", "1").stdout)) == 1
    short = review("list", "--limit", "1").stdout
    assert "4 images wait for review; 3 are not shown" in short
    assert "nothing waits" in review("list", "--flag", "flip_flop").stdout
    assert json.loads(review("list", "--json", "--well", "A1", "--from", "0.7").stdout) == []
    misspelt = review("list", "--flag", "area-jump")
    assert misspelt.returncode == 2
    assert "there is no flag 'area-jump'" in misspelt.stderr
    missing = review("list", "--well", "H12")
    assert missing.returncode == 1
    assert "There are: A1, A2." in missing.stderr


def test_an_event_can_not_be_undone_where_another_run_is_shown(
    review: Review, config: Path, daemon: Database
) -> None:
    assert review("choose", "0", "--well", "A1", "--reason", "gone").returncode == 0
    runs = Runs(daemon)
    run = runs.again("P", replace(RECIPE, threshold=0.7), NOW)
    runs.use("P", run)
    assert review("restore", "--event", "1").returncode == 0, "the run has none: live is shown"
    assert review("choose", "0", "--well", "A1", "--reason", "gone").returncode == 0
    with daemon.write() as sql:  # as if the run had measured the first image
        sql.execute("UPDATE measurements SET current = 0 WHERE id = 1")
    refused = review("restore", "--event", "3")
    assert refused.returncode == 1
    assert "in place of 1 results that event 3 settled" in refused.stderr
    assert "spheroidd runs use … --plate 'P' live" in refused.stderr
    assert [row["decision"] for row in daemon.rows("SELECT decision FROM measurements")] == [
        "chosen", "chosen", "chosen", None,
    ]  # fmt: skip
    runs.use("P", None)
    assert review("restore", "--event", "3").returncode == 0


def test_exclude_export_restore(review: Review, config: Path, daemon: Database) -> None:
    done = review("exclude", "--well", "A1", "--to", "0.3333", "--reason", "bubble", "--who", "Ada")
    assert done.returncode == 0, done.stderr
    assert "excluding 2 images of P, well A1, 0 to 0.3333 hours" in done.stderr
    assert f"undo: spheroidd review restore -c {config} --event 1" in done.stdout
    rows = list(csv.DictReader(io.StringIO(run("export", "-c", str(config)).stdout)))
    assert [row["excluded"] for row in rows] == ["1", "1", "0", "0"]
    assert [row["relative_area_pct"] for row in rows] == ["100.0", "100.0", "100.0", ""]
    told = json.loads(run("status", "-c", str(config), "--json").stdout)
    for counts in (*told["plates"], told["totals"]):
        assert (counts["to_review"], counts["excluded"]) == (2, 2)
    assert "to review" in run("status", "-c", str(config)).stdout

    undo = done.stdout.split("undo: spheroidd ")[1].split()
    done = run(*undo)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 had been excluded, confirmed or chosen before" in done.stderr
    assert {row[3] for row in decisions(daemon)} == {0}
    found = json.loads(review("history", "--json").stdout)
    assert [(event["action"], event["who"], event["reason"]) for event in found] == [
        ("exclude", "Ada", "bubble"), ("restore", getpass.getuser(), ""),
    ]  # fmt: skip
    shown = review("history", "--well", "A1").stdout
    assert "bubble" in shown
    assert "2 images of P, well A1, 0 to 0.3333 hours" in shown
    assert "nobody has settled" in review("history", "--well", "A2").stdout


def test_the_printed_undo_puts_back_that_event_alone(review: Review, daemon: Database) -> None:
    review("choose", "2", "--well", "A1", "--time-point", "1")
    done = review("exclude", "--well", "A1", "--reason", "bubble")
    review("exclude", "--well", "A1", "--time-point", "3", "--reason", "out of focus")
    undone = run(*done.stdout.split("undo: spheroidd ")[1].split())
    assert undone.returncode == 0, undone.stderr
    assert "1 of 3 not put back: event 3 changed whether it is excluded after" in undone.stderr
    assert "restored: 2 images of P, well A1, 0 to 0.3333 hours (event 4)" in undone.stdout
    assert [row[1:] for row in decisions(daemon)[:3]] == [
        (40, "chosen", 0), (100, None, 0), (100, None, 1),
    ]  # fmt: skip
    assert review("restore", "--well", "A1").returncode == 0
    assert [row[1:] for row in decisions(daemon)[:3]] == [(100, None, 0)] * 3


def test_confirm_and_choose(review: Review, daemon: Database) -> None:
    assert review("confirm", "--well", "A1", "--time-point", "1").returncode == 0
    assert review("choose", "2", "--path", "/e/P/A1/../A1/A1_0.333333.jpg").returncode == 0
    assert review("choose", "0", "--well", "A1", "--from", "0.6667").returncode == 0
    assert [row[1:3] for row in decisions(daemon)] == [
        (100, "confirmed"), (40, "chosen"), (0, "chosen"), (0, None),
    ]  # fmt: skip
    shown = review("history").stdout
    assert "choose 2" in shown
    assert "choose 0" in shown
    wrong = review("choose", "7", "--well", "A1", "--time-point", "1")
    assert wrong.returncode == 1
    assert "1 (area 100 px), 2 (area 40 px); 0 says" in wrong.stderr
    assert review("choose", "-1", "--well", "A1").returncode == 2
    assert review("choose", str(10**30), "--well", "A1").returncode == 2


def test_what_is_not_said_clearly_is_not_done(review: Review, daemon: Database) -> None:
    before = decisions(daemon)
    everything = review("confirm")
    assert everything.returncode == 2
    assert "--well" in everything.stderr
    assert review("exclude", "--well", "A1").returncode == 2
    blank = review("exclude", "--well", "A1", "--reason", " ")
    assert blank.returncode == 1
    assert "needs a reason" in blank.stderr
    nobody = review("confirm", "--well", "A1", "--who", "")
    assert nobody.returncode == 1
    nothing = review("confirm", "--well", "A1", "--from", "5")
    assert nothing.returncode == 1
    assert "There are 3, from 0 to 0.6667 hours, frames 1 to 3." in nothing.stderr
    assert review("confirm", "--path", "/nowhere.jpg").returncode == 1
    for done in (everything, blank, nobody, nothing):
        assert "Traceback" not in done.stderr
    assert decisions(daemon) == before
    assert json.loads(review("history", "--json").stdout) == []


def test_of_two_plates_one_is_named(review: Review, daemon: Database) -> None:
    measured(daemon, "A1", 0, plate="Q", name="q.jpg")
    done = review("exclude", "--well", "A1", "--reason", "x")
    assert done.returncode == 1
    assert "--plate: P, Q." in done.stderr
    assert review("exclude", "--well", "A1", "--reason", "x", "--plate", "Q").returncode == 0
    assert [row[0] for row in decisions(daemon) if row[3]] == ["/e/P/A1/q.jpg"]
    assert json.loads(review("history", "--json", "--plate", "P").stdout) == []


def test_odd_names_are_found_as_they_are_and_as_they_are_shown(
    review: Review, daemon: Database
) -> None:
    odd = "B 1'\udcff\n[red]"
    measured(daemon, to_stored(odd), 0, plate=to_stored("caf\udce9"), name="odd.jpg")
    for well in (odd, "B 1'\\xff\\n[red]"):
        done = review("exclude", "--plate", "caf\\xe9", "--well", well, "--reason", "[/b] \udcff")
        assert done.returncode == 0, done.stderr
        assert "of caf\\xe9, well B 1'\\xff\\n[red], 0 hours" in done.stdout
    shown = review("history").stdout
    assert "[/b] \\xff" in shown


def test_a_decision_waits_while_the_daemon_writes(review: Review, daemon: Database) -> None:
    left = []

    def write() -> None:
        with daemon.write() as sql:
            sql.execute("UPDATE measurements SET version = '1'")
            held.set()
            time.sleep(3)
            left.append(time.monotonic())

    held = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    held.wait(10)
    done = review("confirm", "--well", "A1")
    assert time.monotonic() > left[0]
    thread.join()
    assert done.returncode == 0, done.stderr
    assert [row[2] for row in decisions(daemon)] == [*["confirmed"] * 3, None]


def test_behind_sudo_it_is_the_person_who_typed_it(config: Path, daemon: Database) -> None:
    env = {**os.environ, "SUDO_USER": "ada"}
    assert run("review", "confirm", "-c", str(config), "--well", "A1", env=env).returncode == 0
    [row] = daemon.rows("SELECT who FROM reviews")
    assert row["who"] == "ada"


def test_before_the_first_run_it_says_what_to_do(write_config: WriteConfig) -> None:
    config = str(write_config())
    for words in (["list"], ["history"], ["exclude", "--well", "A1", "--reason", "x"]):
        done = run("review", *words, "-c", config)
        assert done.returncode == 1
        assert "spheroidd run" in done.stderr
    assert not (Path(config).parent / "state").exists()
