"""What pages and API ask: complete, in order, and the same numbers as the view `growth`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_up import NOW, RECIPE, admission, measured
from spheroidd.store import listing, picture, viewing
from spheroidd.store.alerting import Alert, Alerting
from spheroidd.store.database import Database, timestamp
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_stored
from spheroidd.store.reader import Reader, Row
from spheroidd.store.results import MeasurementRecord, Results
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.store.runs import Runs
from spheroidd.store.sights import Sights

HOUR, DAY = 3600.0, 24 * 3600.0
BALL: dict[str, float | None] = {
    "AreaShape_Area": 100.0, "AreaShape_Center_X": 20.5, "AreaShape_Center_Y": 10.0,
    "AreaShape_BoundingBoxMinimum_X": 15, "AreaShape_BoundingBoxMinimum_Y": 5,
    "AreaShape_BoundingBoxMaximum_X": 26, "AreaShape_BoundingBoxMaximum_Y": 16,
}  # fmt: skip
ODD = to_stored("Plate \udce9/№2")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "spheroidd.db") as db:
        db.sql.execute("PRAGMA synchronous = OFF")
        yield db


@pytest.fixture
def reader(db: Database) -> Iterator[Reader]:
    with Reader(db.path) as reader:
        yield reader


def shown(db: Database, image: int) -> Subject:
    [row] = db.rows("SELECT id FROM measurements WHERE image_id = :i AND current", {"i": image})
    return Subject(image, row["id"])


def exclude(db: Database, image: int, who: str = "Ada") -> int:
    return Reviews(db).exclude([shown(db, image)], NOW, who=who, reason="a bubble")


def complete(db: Database, well: str, name: str, hours: float, **said: Any) -> int:
    """An image that is ready."""
    ledger, at = Ledger(db), timestamp(NOW + hours * HOUR)
    ledger.arrive("/e", [(f"/e/P/{well}/{name}", 1, 1)], NOW)
    [image] = ledger.waiting("/e")
    ledger.admit(image.id, admission(well, name, captured_at=at, time_key=at, **said), NOW)
    return image.id


# -- plates and wells ---------------------------------------------------------------------------


def test_names_are_in_natural_order_and_those_of_unmeasured_images_are_there(
    db: Database, reader: Reader
) -> None:
    for number, well in enumerate(("A10", "A2", "b1")):
        measured(db, well, number)
    measured(db, "A1", 0, plate=ODD, plate_key="0", name="odd.jpg")
    complete(db, "A9", "new.jpg", 3)
    Ledger(db).arrive("/e", [("/e/unread.jpg", 1, 1)], NOW)
    assert viewing.plate_names(reader) == [ODD, "P"]
    assert viewing.well_names(reader, "P") == ["A2", "A9", "A10", "b1"]
    assert viewing.well_names(reader, "gone") == []
    assert viewing.known_plate(reader, ODD)
    assert viewing.known_well(reader, "P", "A9")
    assert not viewing.known_plate(reader, "")
    assert not viewing.known_plate(reader, "A1")
    assert not viewing.known_well(reader, ODD, "A9")
    assert not viewing.known_well(reader, "P", "")


def test_superseded_wells_are_gone(db: Database, reader: Reader) -> None:
    measured(db, "A1", 0, name="1.jpg")
    with db.write() as sql:
        sql.execute("UPDATE images SET state = 'superseded'")
    assert not viewing.known_plate(reader, "P")
    assert viewing.plate_names(reader) == viewing.well_names(reader, "P") == []
    assert viewing.plate_start(reader, "P") is None
    assert list(viewing.points(reader, "P")) == []
    assert viewing.well_frames(reader, "P", "A1") == []
    assert listing.images(reader, "P") == []


def test_points_of_a_plate_and_of_some_of_its_wells(db: Database, reader: Reader) -> None:
    for frame in range(3):
        for well in ("A1", "A2", ODD):
            measured(db, well, frame, (100.0 + frame,), pixel_size_um=None if frame else 2.0)
    measured(db, "A1", 9, plate="Q", plate_key="Q", name="q.jpg")
    with db.write() as sql:
        sql.execute("UPDATE measurements SET flags = 'dark', decision = 'confirmed' WHERE id = 2")
    exclude(db, 3)
    points = sorted(viewing.points(reader, "P"), key=lambda point: point[4])
    start = viewing.plate_start(reader, "P")
    assert [point[4] for point in points] == list(range(1, 10))
    assert [point[0] for point in points[:3]] == ["A1", "A2", ODD]
    assert [point[6:8] for point in points[::3]] == [(100.0, 400.0), (101.0, None), (102.0, None)]
    assert [point[8] for point in points[:4]] == [0, 3, 4, 0]
    assert [(point[5] - (start or 0)) * 24 for point in points[::3]] == pytest.approx([0, 1, 2])
    some = sorted(viewing.points(reader, "P", ["A2", ODD, "gone"]), key=lambda point: point[4])
    assert some == [point for point in points if point[0] != "A1"]
    ends = viewing.latest(reader, [2, 7, 4711])
    assert ends == {
        2: {"captured_at": timestamp(NOW), "measured_at": timestamp(NOW), "flags": "dark"},
        7: {"captured_at": timestamp(NOW + 2 * HOUR), "measured_at": timestamp(NOW), "flags": ""},
    }


def test_growth_of_one_well_is_that_of_the_view(db: Database, reader: Reader) -> None:
    for frame in range(3):
        measured(db, "A1", frame, (100.0 + frame,))
        measured(db, "A2", frame, (300.0 + frame,))
    rows = reader.rows("SELECT * FROM growth")
    assert viewing.growth(reader, "P", "A2") == [row for row in rows if row["well"] == "A2"]


def test_a_wells_frames_are_there_in_every_state_with_the_numbers_of_growth(
    db: Database, reader: Reader
) -> None:
    for frame, size in enumerate((2.0, 2.0, None, 2.0)):
        measured(db, "A1", frame, (100.0 + 10 * frame,), pixel_size_um=size)
        measured(db, "A1", frame, (50.0,), name=f"{frame}.b.jpg", field="2", pixel_size_um=None)
    exclude(db, 1)
    checks = {"dark": {"value": 3.0, "limit": 2.0, "raised": True}}
    with db.write() as sql:
        sql.execute(
            "UPDATE measurements SET flags = 'dark,late', checks = ?, decision = 'confirmed',"
            " outline_path = 'o.jpg' WHERE id = 3",
            (json.dumps(checks),),
        )
    torn = complete(db, "A1", "torn.jpg", 1.5)
    [image] = Ledger(db).claim("ready", NOW)
    Ledger(db).fail(image, "it is torn", NOW, permanent=True)
    coming = complete(db, "A1", "coming.jpg", 7)

    frames = viewing.well_frames(reader, "P", "A1")
    assert [frame["captured_at"] for frame in frames] == sorted(f["captured_at"] for f in frames)
    of_view = {
        row["image_path"]: row for row in reader.rows("SELECT * FROM growth WHERE plate = 'P'")
    }
    paths = {row["id"]: row["path"] for row in reader.rows("SELECT id, path FROM images")}
    done = [frame for frame in frames if frame["state"] == "measured"]
    assert len(done) == len(of_view) == 8
    for frame in done:
        row = of_view[paths[frame["image_id"]]]
        assert [frame[name] for name in ("hours", "area_px", "area_um2", "n_objects")] == [
            row[name] for name in ("hours", "area_px", "area_um2", "n_objects")
        ]
        assert frame["relative_pct"] == row["relative_area_pct"]
        assert ",".join(frame["flags"]) == row["flags"]
        assert frame["excluded"] is bool(row["excluded"])
        assert frame["mask"] is True
    [flagged] = [frame for frame in done if frame["measurement_id"] == 3]
    assert (flagged["flags"], flagged["checks"]) == (["dark", "late"], checks)
    assert (flagged["decision"], flagged["outline"]) == ("confirmed", True)
    by_image = {frame["image_id"]: frame for frame in frames}
    assert by_image[torn] == {
        "image_id": torn, "measurement_id": None, "hours": 1.5,
        "captured_at": timestamp(NOW + 1.5 * HOUR), "timepoint": None, "field": None,
        "channel": None, "state": "failed", "area_px": None, "area_um2": None,
        "relative_pct": None, "n_objects": None, "object_number": None, "flags": [], "checks": {},
        "excluded": False, "decision": None, "outline": False, "mask": False,
        "reason": "it is torn", "next_try_at": None,
    }  # fmt: skip
    assert (by_image[coming]["state"], by_image[coming]["reason"]) == ("ready", None)


# -- is it running? -----------------------------------------------------------------------------


def imaged(db: Database, plate: str, interval: float, frames: int, ended: float) -> None:
    """Two wells of a plate, each image seen a minute after it was taken."""
    for frame in range(frames):
        taken = ended - (frames - 1 - frame) * interval
        for well in ("A1", "A2"):
            image = measured(
                db, well, (taken - NOW) / HOUR, plate=plate, plate_key=plate,
                name=f"{plate}{frame}.jpg",
            )  # fmt: skip
            with db.write() as sql:
                sql.execute(
                    "UPDATE images SET seen_at = ?, path = ? WHERE id = ?",
                    (timestamp(taken + 60), f"/e/{plate}/{well}/{frame}.jpg", image),
                )


@pytest.mark.parametrize(
    ("interval", "silence", "running"),
    [
        (2 * HOUR, 0.5 * HOUR, True),
        (2 * HOUR, 5.9 * HOUR, True),
        (2 * HOUR, 6.1 * HOUR, False),
        (2 * HOUR, 3 * DAY, False),
        (2 * DAY, 5 * DAY, True),
        (2 * DAY, 7 * DAY, False),
        (DAY, 40 * DAY, False),
    ],
)
def test_a_plate_runs_for_three_of_its_own_intervals(
    db: Database, reader: Reader, interval: float, silence: float, running: bool
) -> None:
    imaged(db, "P", interval, 4, NOW)
    now = NOW + 60 + silence
    found = viewing.paces(reader, now)
    assert found.get("P", {"running": False})["running"] is running
    if running:
        assert found == {
            "P": {
                "running": True,
                "last_seen_at": timestamp(NOW + 60),
                "interval_seconds": interval,
                "next_due_at": timestamp(NOW + 60 + interval),
            }
        }


def test_a_plate_whose_images_wait_runs_and_one_that_lies_elsewhere_does_not(
    db: Database, reader: Reader
) -> None:
    for plate in ("P", "Q"):
        imaged(db, plate, 2 * HOUR, 4, NOW)
    now = NOW + 3 * DAY
    Ledger(db).arrive("/e", [("/e/P/A1/new.jpg", 1, 1)], now - 60)
    assert {plate: of["running"] for plate, of in viewing.paces(reader, now).items()} == {"P": True}


def test_one_image_alone_says_nothing_of_the_next(db: Database, reader: Reader) -> None:
    imaged(db, "P", HOUR, 1, NOW)
    [found] = viewing.paces(reader, NOW + HOUR).values()
    assert (found["running"], found["interval_seconds"], found["next_due_at"]) == (True, None, None)


# -- lists --------------------------------------------------------------------------------------


def paged(reader: Reader, limit: int, *which: str | None) -> list[int]:
    found: list[int] = []
    while True:
        after = found[-1] if found else None
        page = listing.images(reader, *which, limit=limit, after=after)
        found += [row["image_id"] for row in page]
        if not page:
            return found


def test_images_come_page_by_page_and_each_once(db: Database, reader: Reader) -> None:
    for frame in range(5):
        measured(db, "A1", frame)
        measured(db, "A2", -frame)  # captured in another order than seen
        measured(db, "A1", frame, plate="Q", plate_key="Q", name=f"q{frame}.jpg")
    measured(db, "A1", 0, (7.0,), sha256="new")  # replaces the first
    complete(db, "A1", "ready.jpg", 9)
    complete(db, "A3", "torn.jpg", 9)
    for image in Ledger(db).claim("ready", NOW, limit=2):
        if image.name == "torn.jpg":
            Ledger(db).fail(image, "it is torn", NOW)
    Ledger(db).arrive("/e", [("/e/unread.jpg", 1, 1)], NOW)
    rows = reader.rows("SELECT * FROM images WHERE state <> 'superseded' ORDER BY id")
    for plate in (None, "P", "Q", "gone"):
        for well in (None, "A1", "A3") if plate else (None,):
            for state in (None, *listing.STATES):
                expected = [
                    row["id"]
                    for row in rows
                    if plate in (None, row["plate"])
                    and well in (None, row["well"])
                    and state in (None, row["state"])
                ]
                assert paged(reader, 3, plate, well, state) == expected
    [torn] = listing.images(reader, state="failed")
    assert (torn["well"], torn["reason"], torn["flags"], torn["area_px"]) == (
        "A3", "it is torn", [], None,
    )  # fmt: skip
    first = listing.images(reader, "P", "A1", "measured", limit=1)[0]
    assert (first["hours"], first["area_um2"], first["excluded"]) == (5.0, 400.0, False)
    with pytest.raises(ValueError, match="no such state"):
        listing.images(reader, state="superseded")


def test_what_people_settled_newest_first_page_by_page(db: Database, reader: Reader) -> None:
    images = [measured(db, f"A{frame % 2 + 1}", frame) for frame in range(30)]
    other = measured(db, "A1", 0, plate="Q", plate_key="Q", name="q.jpg")
    whole = Reviews(db).confirm([shown(db, image) for image in images], NOW, who="Bob")
    single = exclude(db, images[1])
    elsewhere = exclude(db, other, who="Eve")
    events = listing.review_events(reader)
    assert [event["id"] for event in events] == [elsewhere, single, whole]
    assert [event["n_images"] for event in events] == [1, 1, 30]
    assert len(events[2]["images"]) == 20
    assert events[1] == {
        "id": single, "at": timestamp(NOW), "who": "Ada", "action": "exclude",
        "reason": "a bubble", "n_images": 1,
        "images": [
            {"image_id": images[1], "plate": "P", "well": "A2", "hours": 1.0, "timepoint": None,
             "measurement_id": images[1], "object_number": None},
        ],
    }  # fmt: skip
    [last] = listing.review_events(reader, limit=1, after=single)
    assert last["id"] == whole

    def of(plate: str, well: str | None = None) -> list[int]:
        return [event["id"] for event in listing.review_events(reader, plate, well)]

    assert (of("P"), of("P", "A1"), of("P", "A2"), of("Q")) == (
        [single, whole], [whole], [single, whole], [elsewhere],
    )  # fmt: skip
    [narrow] = listing.review_events(reader, "P", "A1")
    assert {image["well"] for image in narrow["images"]} == {"A1"}


def test_open_alerts_come_first_and_the_last_ones_that_are_over(
    db: Database, reader: Reader
) -> None:
    alerting = Alerting(db, Sights(db.path))
    for number in range(4):
        alert = Alert(f"disk {number}", number == 3, "Disk", "It is full")
        alerting.change([alert], [], NOW + number)
    alerting.change([], [(1, True), (2, True), (4, True)], NOW + 9)
    rows = listing.alerts(reader, 2)
    assert [(row["id"], row["urgent"], row["ended_at"] is None) for row in rows] == [
        (3, False, True), (4, True, False), (2, False, False),
    ]  # fmt: skip


# -- one image ----------------------------------------------------------------------------------


@pytest.fixture
def pictured(db: Database) -> int:
    """An image of two objects, measured twice, excluded and brought back, with its pictures."""
    small: Row = {"AreaShape_Area": 30.0, "Intensity_MeanIntensity_Original": None}
    image = measured(db, "A1", 2, (BALL, small), evidence={"looks": 2.0})
    measured(db, "A1", 0)
    checks = {"dark": {"value": 3.0, "limit": 2.0, "raised": True}}
    with db.write() as sql:
        sql.execute(
            "UPDATE measurements SET outline_path = 'o.jpg', flags = 'dark', checks = ?"
            " WHERE image_id = ?",
            (json.dumps(checks), image),
        )
    event = exclude(db, image)
    Reviews(db).undo(event, [shown(db, image)], NOW + 5, who="Bob")
    runs, results = Runs(db), Results(db)
    for threshold in (0.3, 0.4):
        run = runs.again("P", replace(RECIPE, threshold=threshold), NOW + 10)
        runs.failed(run, image, "no worker took it", NOW + 11)
    batch = results.open_batch(
        NOW + 20, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4", n_images=1,
        folder="",
    )  # fmt: skip
    record = MeasurementRecord(run, 0, batch, 99.0, None, None, 0, [], None, "0")
    [work] = [one for one in runs.todo("P", run) if one.id == image]
    runs.measured(work, results.segmentation(image), record, NOW + 21)
    return image


def test_everything_of_an_image(pictured: int, reader: Reader) -> None:
    found = picture.image(reader, pictured)
    assert found is not None
    assert (found["plate"], found["well"], found["state"], found["hours"]) == (
        "P", "A1", "measured", 2.0,
    )  # fmt: skip
    assert (found["excluded"], found["reason"], found["width"]) == (False, None, 40)
    measurement = found["measurement"]
    assert measurement["flags"] == ["dark"]
    assert measurement["checks"]["dark"] == {"value": 3.0, "limit": 2.0, "raised": True}
    assert (measurement["area_px"], measurement["area_um2"]) == (100.0, 400.0)
    assert measurement["outline"] is True
    assert found["segmentation"]["model"] == "u2netp"
    assert found["segmentation"]["evidence"] == {"looks": 2.0}
    assert found["segmentation"]["mask"] is True
    assert (found["batch"]["pipeline"], found["batch"]["outcome"]) == ("mask", "complete")
    assert found["run"]["kind"] == "live"
    ball, small = found["objects"]
    assert (ball["is_spheroid"], ball["x"], ball["y"], ball["box"]) == (
        True, 20.5, 10.0, [15, 5, 26, 16],
    )  # fmt: skip
    assert ball["features"] == BALL
    assert (small["is_spheroid"], small["x"], small["box"]) == (False, None, None)
    assert small["features"]["Intensity_MeanIntensity_Original"] is None
    assert picture.pictures(reader, pictured) == {"outline_path": "o.jpg", "mask_path": "m"}
    assert picture.image(reader, 4711) is None
    assert picture.pictures(reader, 4711) is None
    assert picture.story(reader, 4711) == []


def test_an_image_that_is_not_measured_has_nothing_made_up(db: Database, reader: Reader) -> None:
    number = complete(db, "A1", "new.jpg", 0)
    found = picture.image(reader, number)
    assert found is not None
    assert [found[name] for name in ("measurement", "segmentation", "batch", "run")] == [None] * 4
    assert found["objects"] == []
    assert picture.pictures(reader, number) == {"outline_path": None, "mask_path": None}
    Ledger(db).arrive("/e", [("/e/unread.jpg", 1, 1)], NOW)
    [unread] = listing.images(reader, state="waiting")
    found = picture.image(reader, unread["image_id"])
    assert found is not None
    assert (found["plate"], found["hours"]) == (None, None)


def test_the_story_of_an_image_in_the_order_of_time(pictured: int, reader: Reader) -> None:
    story = picture.story(reader, pictured)
    assert [row["at"] for row in story] == sorted(row["at"] for row in story)
    assert [(row["kind"], row.get("to_state") or row.get("action")) for row in story] == [
        ("step", "waiting"),
        ("step", "ready"),
        ("step", "segmented"),
        ("step", "measured"),
        ("segmentation", None),
        ("batch", None),
        ("measurement", None),
        ("review", "exclude"),
        ("review", "restore"),
        ("run failure", None),
        ("batch", None),
        ("measurement", None),
    ]
    first, again = (row for row in story if row["kind"] == "measurement")
    assert (first["run"], first["current"], first["flags"], first["area_px"]) == (
        "live", True, ["dark"], 100.0,
    )  # fmt: skip
    assert (again["run"], again["current"], again["flags"]) == ("again", False, [])
    [exclusion, undoing] = (row for row in story if row["kind"] == "review")
    assert (exclusion["who"], exclusion["reason"]) == ("Ada", "a bubble")
    assert (undoing["who"], undoing["at"]) == ("Bob", timestamp(NOW + 5))


def test_candidates_are_those_that_can_be_chosen(db: Database, reader: Reader) -> None:
    many = measured(db, "A1", 0, [50.0, *(10.0 + number for number in range(80))])
    empty = measured(db, "A2", 0, ())
    with db.write() as sql:  # what is inside a spheroid is no candidate
        sql.execute(
            "INSERT INTO objects (measurement_id, name, number, is_spheroid, area_px, features)"
            " VALUES (1, 'Nuclei', 1, 0, 900, '{}')"
        )
    numbers = [shown(db, image).measurement_id for image in (many, empty)]
    found = picture.candidates(reader, numbers)
    assert found[numbers[1]] == []
    areas = [one["area_px"] for one in found[numbers[0]]]
    assert len(areas) == 50
    assert areas == sorted(areas, reverse=True)
    assert areas[0] == 89.0
    assert [one["area_px"] for one in found[numbers[0]] if one["is_spheroid"]] == [50.0]
    assert picture.candidates(reader, []) == {}
