"""How SQLite finds what is asked again and again: never by reading a whole table.

A million images are too many for that, and no test is large enough to feel it.  The questions
are the real calls; every statement that they make is explained, with the values they bind.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from made_up import NOW, admission, measured
from spheroidd.report.status import snapshot
from spheroidd.store import listing, picture, reading, reviewing, run_reading, viewing
from spheroidd.store.changes import changes_since, newest
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.histories import Histories
from spheroidd.store.kept import KINDS, Kept, Kind
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.results import Results, SegmentationRecord
from spheroidd.store.runs import Recipe, Runs
from spheroidd.store.sights import Sights
from spheroidd.store.waiting import waiting

LARGE = ("images", "transitions", "segmentations", "measurements", "objects", "batches")
# Partial indexes over what is still to be done or looked at: few rows in any archive.
SMALL = (
    "images_active", "images_waiting", "images_unread", "images_ready", "images_segmented",
    "images_claimed", "images_retry", "images_gone", "batches_open", "measurements_flagged",
)  # fmt: skip
RECIPE = Recipe("u2netp", "md5", 0.5, None, "mask", "x")
# What may begin at one end of a large table, because it ends after a few rows.
ENDS_SOON = (
    r"SELECT 1 FROM images LIMIT 1$",  # is it a database of ours?
    r"SELECT seen_at FROM images ORDER BY id DESC LIMIT 1$",  # the newest
    r"SELECT i.seen_at, .* ORDER BY t.id DESC LIMIT :limit$",  # steps back to the last hundred
)


class Telling(sqlite3.Connection):
    """Remembers every statement with its values."""

    asked: list[tuple[str, Any]]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self.__dict__.setdefault("asked", []).append((sql, parameters))
        return super().execute(sql, parameters)


@pytest.fixture(scope="module", params=["as it is", "counted by ANALYZE"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in every state, on two plates."""
    path = tmp_path_factory.mktemp("plans") / "spheroidd.db"
    with Database(path) as db:
        db.sql.execute("PRAGMA synchronous = OFF")
        ledger = Ledger(db)
        for frame in range(12):
            measured(db, f"A{frame % 3}", frame)
            measured(db, "A1", frame, plate="Q", plate_key="Q", name=f"q{frame}.jpg")
        for state in ("waiting", "claimed", "segmented", "segmented", "ready", "failed", "failed"):
            entered(db, ledger, state)
        if request.param != "as it is":
            count_as_if_large(db)
    return path


def entered(db: Database, ledger: Ledger, state: str) -> None:
    name = f"{sum(ledger.counts().values())}.jpg"
    ledger.arrive("/e", [(f"/e/P/A1/{name}", 1, 1)], NOW)
    [image] = [one for one in ledger.waiting("/e") if one.path.endswith(name)]
    if state == "failed":
        ledger.fail(image, "cut short", NOW)
    elif state != "waiting":
        ledger.admit(image.id, admission(name=name), NOW)
    if state in ("claimed", "segmented"):
        [image] = ledger.claim_ready(NOW, limit=1)
    if state == "segmented":
        record = SegmentationRecord("u2netp", "md5", 0.5, "CPU", 0.9, 7, "m", "w", 0.1, "0")
        Results(db).segmented(image, record, NOW)


def count_as_if_large(db: Database) -> None:
    """What ANALYZE would say of an archive that has far more of all this."""
    db.sql.execute("ANALYZE")
    for row in db.rows("SELECT rowid, * FROM sqlite_stat1"):
        if row["idx"] in SMALL:
            continue
        rows, *others = map(int, row["stat"].split())
        numbers = [rows * 10_000, *(n * 100 if n > 1 else n for n in others)]
        db.sql.execute(
            "UPDATE sqlite_stat1 SET stat = ? WHERE rowid = ?",
            (" ".join(map(str, numbers)), row["rowid"]),
        )
    db.sql.conn.commit()


@pytest.fixture
def told(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Telling]]:
    """Connections that are opened from now on, each telling what it was asked."""
    opened: list[Telling] = []
    connect = sqlite3.connect

    def telling(*args: Any, **kwargs: Any) -> Telling:
        opened.append(connect(*args, **kwargs, factory=Telling))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", telling)
    yield opened
    for connection in opened:
        connection.close()


Ask = Callable[[Database], object]


def read(ask: Callable[[Reader], object]) -> Ask:
    def over(db: Database) -> None:
        with Reader(db.path) as reader:
            ask(reader)

    return over


def sight(ask: Callable[[Sights], object]) -> Ask:
    return lambda db: ask(Sights(db.path))


def old(kind: Kind, db: Database) -> object:
    return Kept(db).older(kind, NOW, 9)


CLAIMS: dict[str, Ask] = {
    "an image to segment": lambda db: Ledger(db).claim_ready(NOW, limit=4),
    "the newest of a backlog": lambda db: Ledger(db).claim_ready(NOW, limit=4, newest_first=True),
    "images to measure": lambda db: Ledger(db).claim(
        "segmented", NOW, plate="P", suspects=False, limit=24
    ),
    "suspects": lambda db: Ledger(db).claim("segmented", NOW, plate="P", suspects=True),
}
QUESTIONS: dict[str, Ask] = {
    **CLAIMS,
    # every second, or oftener
    "whether enough are ready": lambda db: Ledger(db).any_ready(24),
    "plates to measure": lambda db: Ledger(db).pending_plates(),
    "what is due for retry": lambda db: Ledger(db).retry_due(NOW),
    "how many of each state": lambda db: Ledger(db).counts(),
    "what waits in a folder": lambda db: Ledger(db).waiting("/e"),
    "how many wait in a folder": lambda db: Ledger(db).awaited("/e"),
    "a heartbeat": lambda db: Health(db).update(NOW, phase="running"),
    "the next well": lambda db: Histories(db).next_well(),
    "plates to settle": lambda db: Histories(db).unsettled(),
    "what is left to judge": lambda db: Histories(db).pending(),
    # for every image
    "a path": lambda db: Ledger(db).known_path("/e/P/A1/1.jpg"),
    "a new path": lambda db: Ledger(db).arrive("/e", [("/e/P/A1/new.jpg", 1, 1)], NOW),
    "a segmentation": lambda db: Results(db).segmentation(1),
    "a live run": lambda db: Runs(db).live("P", RECIPE, NOW),
    "a failure": lambda db: Ledger(db).fail(Ledger(db).waiting("/e")[0], "it is dark", NOW),
    "a well's frames": lambda db: Histories(db).frames("P", "A1"),
    "a plate's numbers": lambda db: Histories(db).numbers("P", ["area_jump"]),
    "a well's checks": lambda db: Histories(db).checked("P", "A1"),
    # for every scan
    "all of a folder": lambda db: list(Ledger(db).known("/e")),
    "what is gone from a folder": lambda db: Ledger(db).gone("/e/none", [], NOW),
    "a folder that is well again": lambda db: Health(db).reachable("/e", NOW),
    # every minute, for alerts; every hour, for what is kept
    "failures of the last hour": sight(lambda eyes: eyes.failures(NOW)),
    "plates that run": sight(lambda eyes: eyes.plates(NOW)),
    "wells of a plate that runs": sight(lambda eyes: eyes.well_ends("P", 3)),
    **{f"old {kind}": partial(old, kind) for kind in KINDS},
    # for people, and for the monitor
    "growth of a plate": read(lambda reader: reading.growth(reader, "P")),
    "outlines of a plate": read(lambda reader: reading.outlines(reader, "P")),
    "status": read(lambda reader: snapshot(reader, NOW)),
    "the last images measured": read(reading.last_measured),
    "the last image seen": read(reading.last_image_at),
    "steps ever": read(reading.steps),
    "names of plates": read(reviewing.plates),
    "names of wells": read(reviewing.wells),
    "what waits for review": read(lambda reader: waiting(reader, reviewing.Selection())),
    "of one plate": read(lambda reader: waiting(reader, reviewing.Selection("P"))),
    # for pages and API
    "the newest change": read(newest),
    "what changed": read(lambda reader: changes_since(reader, 0)),
    "curves of a plate": read(lambda reader: list(viewing.points(reader, "P"))),
    "curves of wells": read(lambda reader: list(viewing.points(reader, "P", ["A1", "A2"]))),
    "ends of curves": read(lambda reader: viewing.latest(reader, [1, 2])),
    "the start of a plate": read(lambda reader: viewing.plate_start(reader, "P")),
    "every name of a plate": read(viewing.plate_names),
    "every name of a well": read(lambda reader: viewing.well_names(reader, "P")),
    "growth of a well": read(lambda reader: viewing.growth(reader, "P", "A1")),
    "plates whose images come": read(lambda reader: viewing.paces(reader, NOW)),
    "all of a well": read(lambda reader: viewing.well_frames(reader, "P", "A1")),
    "an image": read(lambda reader: picture.image(reader, 1)),
    "an image's story": read(lambda reader: picture.story(reader, 1)),
    "an image's pictures": read(lambda reader: picture.pictures(reader, 1)),
    "what can be chosen": read(lambda reader: picture.candidates(reader, [1, 2])),
    **{
        f"images: {where}, {state}": read(partial(listing.images, plate=where, state=state))
        for where in (None, "P")
        for state in (None, *listing.STATES)
    },
    "images of a well": read(lambda reader: listing.images(reader, "P", "A1", "measured")),
    "what people settled": read(listing.review_events),
    "what people settled of a well": read(lambda r: listing.review_events(r, "P", "A1")),
    "alerts": read(listing.alerts),
    "live work": read(lambda reader: run_reading.live_work(reader, NOW)),
    # at the start of a daemon
    "what is in hand": lambda db: Ledger(db).recover(after_a_kill=True),
    "what a stage has in hand": lambda db: Ledger(db).recover("segmented"),
    "what was set aside": lambda db: Ledger(db).look_again(NOW),
    "folders not watched any more": lambda db: Ledger(db).leave(["/e"], NOW),
    "what is ready": lambda db: Ledger(db).in_state("ready"),
    "what is handed over": lambda db: Ledger(db).handed_over(),
    "open batches": lambda db: Results(db).unrecorded_batches(),
    "open batches closed": lambda db: Results(db).abandon_batches(NOW),
    "wells that were judged otherwise": lambda db: Histories(db).unjudge_others(several=True),
}


def plans(db: Database, opened: list[Telling], ask: Ask) -> Iterator[tuple[str, str]]:
    """Each statement that a question made, with each step of its plan."""
    for connection in opened:
        connection.asked = []
    ask(db)
    asked = [one for connection in opened for one in connection.asked]
    for sql, values in asked:
        if sql.lstrip().partition(" ")[0] in ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE"):
            for row in sqlite3.Connection.execute(db.sql.conn, f"EXPLAIN QUERY PLAN {sql}", values):
                yield sql, row[3]


def tables(sql: str) -> dict[str, str]:
    """Name in the statement → table."""
    found = re.findall(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+(?:AS\s+)?([a-z])\b)?", sql)
    return {alias or table: table for table, alias in found}


def whole(sql: str, step: str) -> bool:
    """Whether a step of a plan reads a large table from one end to the other."""
    scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    made = re.match(r"SEARCH (\w+) USING AUTOMATIC()", step)  # an index, for this once
    found = scan or made
    if found is None or tables(sql).get(found[1], found[1]) not in LARGE:
        return False
    return found[2] not in SMALL and not any(re.match(soon, sql) for soon in ENDS_SOON)


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_question_reads_a_large_table_whole(path: Path, told: list[Telling], name: str) -> None:
    with Database(path) as db:
        found = list(plans(db, told, QUESTIONS[name]))
    assert found
    for sql, step in found:
        assert not whole(sql, step), (sql, step)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_sorts_nothing(path: Path, told: list[Telling], name: str) -> None:
    with Database(path) as db:
        found = list(plans(db, told, QUESTIONS[name]))
    assert [step for _, step in found if "SEARCH images" in step]
    assert not [step for step in found if "TEMP B-TREE" in step[1]]


def test_a_whole_reading_would_be_seen(path: Path, told: list[Telling]) -> None:
    def count(db: Database) -> object:
        return db.rows("SELECT count(*) FROM images i JOIN objects WHERE i.bit_depth = 8")

    with Database(path) as db:
        found = list(plans(db, told, count))
    assert {step.split()[1] for sql, step in found if whole(sql, step)} == {"i", "objects"}
