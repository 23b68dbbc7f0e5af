"""The queue: claims are exclusive, every step leaves a row, nothing is measured twice."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from made_up import NOW, admission, measured
from spheroidd.errors import StoreError
from spheroidd.store.database import Database, timestamp
from spheroidd.store.images import BACK_OFF, Admission, ClaimLostError, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import SCHEMA, Reader
from spheroidd.store.schema import migrations


def facts(sha: str = "x") -> Admission:
    return admission(timepoint=1, sha256=sha)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "spheroidd.db")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def arrive(ledger: Ledger, *paths: str) -> list[int]:
    ledger.arrive("/e", [(path, 5, 7) for path in paths], NOW)
    return [image.id for image in ledger.waiting("/e")]


def steps(database: Database, image_id: int) -> list[tuple[str | None, str, str]]:
    rows = database.rows(
        "SELECT * FROM transitions WHERE image_id = :id ORDER BY id", {"id": image_id}
    )
    return [(row["from_state"], row["to_state"], row["reason"]) for row in rows]


def test_the_life_of_an_image_is_recorded(ledger: Ledger, database: Database) -> None:
    [image_id] = arrive(ledger, "/e/P/A1/1.jpg")
    assert ledger.admit(image_id, facts(), NOW).fresh
    assert ledger.counts() == {"waiting": 0, "ready": 1, "segmented": 0, "measured": 0, "failed": 0}
    assert steps(database, image_id) == [
        (None, "waiting", "seen"),
        ("waiting", "ready", "complete"),
    ]


def test_a_claim_is_exclusive_even_among_threads(ledger: Ledger) -> None:
    for index, image_id in enumerate(arrive(ledger, *(f"/e/P/A1/{n}.jpg" for n in range(40)))):
        ledger.admit(image_id, facts(sha=str(index)), NOW)
    taken: list[int] = []

    def work() -> None:
        while images := ledger.claim("ready", NOW):
            taken.extend(image.id for image in images)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_what_a_dead_daemon_held_is_handed_back(ledger: Ledger) -> None:
    ledger.admit(arrive(ledger, "/e/P/A1/1.jpg")[0], facts(), NOW)
    assert ledger.claim("ready", NOW)
    assert not ledger.claim("ready", NOW)
    assert ledger.recover() == 1
    assert ledger.claim("ready", NOW)


def failed(ledger: Ledger) -> Image:
    ledger.admit(arrive(ledger, "/e/P/A1/1.jpg")[0], facts(), NOW)
    [image] = ledger.claim("ready", NOW)
    assert ledger.fail(image, "because", NOW)
    return image


def test_failures_back_off_and_are_set_aside_in_the_end(ledger: Ledger) -> None:
    failed(ledger)
    now = NOW
    for seconds in BACK_OFF:
        assert ledger.retry_due(now + seconds - 1) == 0
        now += seconds
        assert ledger.retry_due(now) == 1
        [image] = ledger.claim("ready", now)
        again = ledger.fail(image, "because", now)
    assert not again
    assert ledger.retry_due(now + 1e9) == 0
    assert ledger.retry(now, plate="other") == 0
    assert ledger.retry(now, plate="P", well="A1") == 1
    assert ledger.claim("ready", now)[0].attempts == 0


def test_a_permanent_failure_is_set_aside_at_once(ledger: Ledger) -> None:
    arrive(ledger, "/e/x.jpg")
    [image] = ledger.waiting("/e")
    assert not ledger.fail(image, "no such thing", NOW, permanent=True)
    assert ledger.retry_due(NOW + 1e9) == 0
    assert ledger.look_again(NOW) == 1


def test_new_content_supersedes_and_the_same_content_does_not(
    ledger: Ledger, database: Database
) -> None:
    [first] = arrive(ledger, "/e/P/A1/1.jpg")
    ledger.admit(first, facts(sha="old"), NOW)
    [second] = arrive(ledger, "/e/P/A1/1.jpg")
    assert ledger.admit(second, facts(sha="new"), NOW).fresh
    assert steps(database, first)[-1][:2] == ("ready", "superseded")
    [third] = arrive(ledger, "/e/P/A1/1.jpg")
    assert not ledger.admit(third, facts(sha="new"), NOW).fresh
    assert steps(database, third)[-1] == (
        "waiting",
        "superseded",
        f"same content as image {second}",
    )
    assert [image.id for image in ledger.claim("ready", NOW, limit=9)] == [second]


def test_new_content_stays_excluded_and_its_well_is_judged_anew(
    ledger: Ledger, database: Database
) -> None:
    first = measured(database, "A1", 0, name="1.jpg")
    with database.write() as sql:
        sql.execute("UPDATE images SET excluded = 1 WHERE id = ?", [first])
        sql.execute("DELETE FROM unjudged")
    [second] = arrive(ledger, "/e/P/A1/1.jpg")
    assert ledger.admit(second, facts(sha="new"), NOW).fresh
    assert database.rows("SELECT excluded FROM images WHERE id = :id", {"id": second}) == [
        {"excluded": 1}
    ]
    assert steps(database, second)[-1][2] == "complete; excluded as its earlier version was"
    assert database.rows("SELECT plate, well FROM unjudged") == [{"plate": "P", "well": "A1"}]
    with database.write() as sql:
        sql.execute("UPDATE images SET excluded = 0 WHERE id = ?", [second])
        sql.execute("DELETE FROM unjudged")
    [third] = arrive(ledger, "/e/P/A1/1.jpg")
    ledger.admit(third, facts(sha="newer"), NOW)
    assert steps(database, third)[-1][2] == "complete", "restored is restored"
    assert database.rows("SELECT * FROM unjudged") == [], "it was not measured yet"


def test_a_superseded_image_can_not_be_finished(ledger: Ledger) -> None:
    [first] = arrive(ledger, "/e/P/A1/1.jpg")
    ledger.admit(first, facts(sha="old"), NOW)
    [image] = ledger.claim("ready", NOW)
    [second] = arrive(ledger, "/e/P/A1/1.jpg")
    ledger.admit(second, facts(sha="new"), NOW)
    with pytest.raises(ClaimLostError):
        ledger.fail(image, "late", NOW)


def test_suspects_are_told_from_fresh_images(ledger: Ledger, database: Database) -> None:
    for index, image_id in enumerate(arrive(ledger, "/e/1.jpg", "/e/2.jpg")):
        ledger.admit(image_id, facts(sha=str(index)), NOW)
    with database.write() as sql:
        sql.execute("UPDATE images SET state = 'segmented', segmented_at = ?", (timestamp(NOW),))
    [image] = ledger.claim("segmented", NOW, plate="P", suspects=False)
    ledger.release([image.id], suspect=True)
    [pending] = ledger.pending_plates()
    assert (pending.fresh, pending.suspects) == (1, 1)
    assert [i.id for i in ledger.claim("segmented", NOW, suspects=True, limit=5)] == [image.id]


def test_what_a_plate_shares_is_settled_once(ledger: Ledger) -> None:
    ledger.settle_plate("P", scale_low=3, scale_high=900)
    ledger.settle_plate("P", scale_low=1, origin_at="then")
    row = ledger.plate("P")
    assert (row["scale_low"], row["scale_high"], row["origin_at"]) == (3, 900, "then")
    assert ledger.plate("Q")["scale_low"] is None


def test_states_that_make_no_sense_are_refused_by_the_database(database: Database) -> None:
    def insert(**values: object) -> None:
        with database.write() as sql:
            sql.table("images").insert(
                {"root": "/", "path": "/x", "size": 1, "mtime_ns": 1, "seen_at": "t", **values}
            )

    for values in (
        {"state": "lost"},
        {"state": "ready"},
        {"state": "failed"},
        {"captured_from": "guess"},
    ):
        with pytest.raises(sqlite3.IntegrityError):
            insert(**values)
    insert(state="waiting")


def test_readers_can_not_write_and_do_not_make_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="spheroidd run"):
        Reader(tmp_path / "spheroidd.db")
    assert not (tmp_path / "spheroidd.db").exists()
    Database(tmp_path / "spheroidd.db").close()
    with Reader(tmp_path / "spheroidd.db") as reader, pytest.raises(sqlite3.OperationalError):
        reader.rows("DELETE FROM images RETURNING id")


def test_readers_say_what_to_do_about_a_database_from_before_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    before = SqliteUtils(path)
    migrations.apply(before, stop_before="m002_runs_reviews_checks")
    before.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match="an older spheroidd") as caught:
        Reader(path)
    assert "Start the daemon once" in caught.value.hint
    assert path.read_bytes() == content
    Database(path).close()
    Reader(path).close()


def test_readers_know_the_newest_migration() -> None:
    assert [one.name for one in migrations.pending(SqliteUtils(memory=True))][-1] == SCHEMA


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    database = Database(path)
    with database.write() as sql:
        sql.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('spheroidd', 'm999_from_the_future', 'then')"
        )
    database.close()
    with pytest.raises(StoreError, match="newer spheroidd"):
        Database(path)


def test_the_database_closes_itself(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Database(tmp_path / "spheroidd.db") as database:
        assert database.rows("SELECT 1 AS one") == [{"one": 1}]
        raise ZeroDivisionError
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.rows("SELECT 1")


def test_rubbish_in_place_of_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    path.write_bytes(b"this is not a database, but long enough to be looked at" * 50)
    with pytest.raises(StoreError, match="is damaged"):
        Database(path)


def test_what_is_not_to_blame_is_tried_for_ever(ledger: Ledger) -> None:
    ledger.admit(arrive(ledger, "/e/P/A1/1.jpg")[0], facts(), NOW)
    now = NOW
    for _ in range(12):
        [image] = ledger.claim("ready", now)
        assert ledger.fail(image, "the share is away", now, for_ever=True)
        now += BACK_OFF[-1]
        assert ledger.retry_due(now) == 1


def test_an_outer_folder_knows_what_came_while_an_inner_one_was_watched(ledger: Ledger) -> None:
    arrive(ledger, "/e/P/A1/1.jpg")

    def paths(root: str) -> list[str]:
        return [path for path, _ in ledger.known(root)]

    assert paths("/e/P") == paths("/e") == ["/e/P/A1/1.jpg"]
    assert paths("/e/P/A") == paths("/other") == []
    assert len(ledger.waiting("/e/P")) == 1


def test_folders_that_are_not_watched_any_more_are_left(ledger: Ledger) -> None:
    ids = arrive(ledger, "/e/1.jpg", "/e/P/2.jpg")
    ledger.admit(ids[0], facts(), NOW)
    assert ledger.leave(["/e"], NOW) == 0
    assert ledger.leave(["/elsewhere"], NOW) == 1  # what is taken in already goes on
    assert ledger.counts()["waiting"] == 0
    assert ledger.counts()["ready"] == 1


def test_what_was_never_read_and_is_gone_is_closed_and_can_come_back(ledger: Ledger) -> None:
    arrive(ledger, "/e/1.jpg", "/e/2.jpg")
    assert ledger.gone("/e", {"/e/2.jpg"}, NOW) == ["/e/1.jpg"]
    assert ledger.known_path("/e/1.jpg") is None  # so the scan takes it for new


def test_a_twin_is_noticed(ledger: Ledger, database: Database) -> None:
    one, two = arrive(ledger, "/e/a/1.jpg", "/e/b/1.jpg")
    assert ledger.admit(one, facts(sha="1"), NOW).twin is None
    assert ledger.admit(two, facts(sha="2"), NOW).twin == "/e/a/1.jpg"
    assert "same plate, well and frame" in steps(database, two)[-1][2]


def test_an_image_that_takes_the_daemon_down_is_not_first_for_ever(ledger: Ledger) -> None:
    for index, image_id in enumerate(arrive(ledger, "/e/1.jpg", "/e/2.jpg")):
        ledger.admit(image_id, facts(sha=str(index)), NOW)
    [image] = ledger.claim("ready", NOW)
    ledger.recover(after_a_kill=True)
    assert ledger.claim("ready", NOW)[0].id != image.id
