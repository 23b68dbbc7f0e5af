"""Whole wells out of the database and back, beside people and stages that change them."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from made_up import NOW, measured
from spheroidd.store.database import Database
from spheroidd.store.frames import Checked, Frame, Verdict
from spheroidd.store.histories import MOST_CANDIDATES, Histories
from spheroidd.store.reader import Row
from spheroidd.store.reviews import Reviews, Subject

BOX = "AreaShape_BoundingBox"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "spheroidd.db")
    yield database
    database.close()


def row_of(db: Database, image_id: int) -> Row:
    [row] = db.rows("SELECT * FROM measurements WHERE image_id = :id AND current", {"id": image_id})
    return row


def spheroids(db: Database, image_id: int) -> list[int]:
    rows = db.rows(
        "SELECT o.number FROM objects o JOIN measurements m ON m.id = o.measurement_id"
        " WHERE m.image_id = :id AND o.is_spheroid ORDER BY o.number",
        {"id": image_id},
    )
    return [row["number"] for row in rows]


def verdict(frame: Frame, number: int | None, flags: str = "", checks: str = "{}") -> Verdict:
    area = next((one.area_px for one in frame.candidates if one.number == number), 0.0)
    return Verdict(number, [] if number is None else [number], area, flags, checks)


def test_a_frame_holds_what_was_measured(db: Database) -> None:
    features = {
        "AreaShape_Area": 900.0, "AreaShape_Center_X": 20.5, "AreaShape_Center_Y": 11.0,
        "AreaShape_Solidity": 0.9, "AreaShape_Eccentricity": 0.2, "AreaShape_FormFactor": None,
        f"{BOX}Minimum_X": 0.0, f"{BOX}Minimum_Y": 1.0, f"{BOX}Maximum_X": 30.0,
        f"{BOX}Maximum_Y": 31.0, "Intensity_MeanIntensity_Original": 0.4,
    }  # fmt: skip
    measured(
        db, "A1", 3, [features, 100.0], evidence={"focus": 5.0}, peak=0.9, timepoint=4, field="f1"
    )
    [frame] = Histories(db).frames("P", "A1")
    assert (frame.timepoint, frame.field, frame.channel) == (4, "f1", None)
    assert frame.hours == pytest.approx(NOW / 3600 + 3, abs=1e-4)
    assert (frame.width, frame.height, frame.pixel_size_um) == (40, 30, 2.0)
    assert (frame.peak_probability, frame.evidence) == (0.9, {"focus": 5.0})
    assert (frame.n_objects, frame.object_number, frame.area_px) == (2, 1, 900.0)
    assert not frame.settled
    [one, other] = frame.candidates
    assert (one.number, one.area_px, one.x, one.y, one.intensity) == (1, 900.0, 20.5, 11.0, 0.4)
    assert (one.left, one.top, one.right, one.bottom) == (0.0, 1.0, 30.0, 31.0)
    assert (one.solidity, one.eccentricity, one.form_factor) == (0.9, 0.2, None)
    assert (other.number, other.area_px, other.x) == (2, 100.0, None)


def test_frames_come_by_field_channel_and_time_whenever_they_arrived(db: Database) -> None:
    for hours in (6, 0, 3):
        measured(db, "A1", hours, [hours + 10.0], field="b", name=f"b{hours}.jpg")
        measured(db, "A1", hours, [hours + 50.0], field="a", name=f"a{hours}.jpg")
    measured(db, "A2", 1)
    areas = [frame.area_px for frame in Histories(db).frames("P", "A1")]
    assert areas == [50, 53, 56, 10, 13, 16]


def test_a_files_own_date_is_no_time_where_frames_are_numbered(db: Database) -> None:
    measured(db, "A1", 0, captured_from="mtime", timepoint=3, time_key="frame 000000000003")
    measured(db, "A1", 5, captured_from="mtime", timepoint=2, time_key="frame 000000000002")
    frames = Histories(db).frames("P", "A1")
    assert [(frame.timepoint, frame.hours) for frame in frames] == [(2, None), (3, None)]


def test_of_thousands_of_objects_specks_are_left_out_and_what_a_person_chose_is_not(
    db: Database,
) -> None:
    specks = [20_000.0, *(float(area) for area in range(2, 900))]
    image = measured(db, "A1", 0, specks)
    histories = Histories(db)
    [frame] = histories.frames("P", "A1")
    assert [one.area_px for one in frame.candidates] == sorted(specks)[: -MOST_CANDIDATES - 1 : -1]
    assert [one.number for one in frame.candidates if one.is_spheroid] == [1]
    seen = Subject(image, frame.measurement_id)
    Reviews(db).choose([seen], 7, NOW, who="Ada")
    [frame] = histories.frames("P", "A1")
    assert frame.settled
    assert frame.candidates[-1].number == frame.object_number == 7
    assert frame.candidates[-1].is_spheroid
    assert len(frame.candidates) == MOST_CANDIDATES + 1


def test_every_object_that_is_no_speck_is_read(db: Database) -> None:
    measured(db, "A1", 0, [1000.0 - index for index in range(40)] + [50.0, 49.0])
    [frame] = Histories(db).frames("P", "A1")
    assert len(frame.candidates) == 41
    assert frame.candidates[-1].area_px == 50


def test_one_plate_can_be_looked_at_alone(db: Database) -> None:
    measured(db, "A1", 0)
    measured(db, "B1", 0, plate="Q")
    alone = Histories(db, "Q")
    assert (alone.pending(), Histories(db).pending()) == (1, 2)
    assert alone.next_well() == ("Q", "B1")
    alone.set_aside("Q", "B1")
    assert alone.next_well() is None
    assert alone.aside == {("Q", "B1")}
    with db.write() as sql:
        sql.execute("DELETE FROM unjudged")
    assert alone.unjudge_others(several=False) == 1
    assert Histories(db).next_well() == ("Q", "B1")
    assert Histories(db).unjudge_others(several=False) == 1


def test_only_the_spheroids_kind_of_object_counts(db: Database) -> None:
    measured(db, "A1", 0, [500.0, 400.0])
    with db.write() as sql:
        sql.execute(
            "INSERT INTO objects (measurement_id, name, number, is_spheroid, area_px, features)"
            " VALUES (1, 'Cells', 1, 0, 90000, '{}')"
        )
    [frame] = Histories(db).frames("P", "A1")
    assert [one.area_px for one in frame.candidates] == [500, 400]


def test_what_was_judged_is_stored_in_one_piece(db: Database) -> None:
    image = measured(db, "A1", 0, [500.0, 400.0])
    empty = measured(db, "A1", 3, [])
    histories = Histories(db)
    assert histories.next_well() == ("P", "A1")
    frames = histories.frames("P", "A1")
    verdicts = [
        verdict(frames[0], 2, "ambiguous", '{"ambiguous": {"value": 1}}'),
        verdict(frames[1], None, "no_spheroid"),
    ]
    assert histories.store("P", "A1", frames, verdicts)
    row = row_of(db, image)
    assert (row["object_number"], row["area_px"], row["area_um2"]) == (2, 400, 1600)
    assert (row["flags"], json.loads(row["checks"])) == ("ambiguous", {"ambiguous": {"value": 1}})
    assert spheroids(db, image) == [2]
    assert (row_of(db, empty)["area_px"], row_of(db, empty)["object_number"]) == (0, None)
    assert histories.next_well() is None
    assert histories.unsettled() == ["P"]
    assert histories.pending() == 1
    histories.settled("P")
    assert histories.pending() == 0
    both = replace(verdict(frames[0], 1), counted=[1, 2], area_px=900.0)
    assert histories.store("P", "A1", histories.frames("P", "A1"), [both, verdicts[1]])
    assert spheroids(db, image) == [1, 2]
    assert row_of(db, image)["area_px"] == 900


def test_a_store_that_fails_half_way_leaves_everything_as_it_was(db: Database) -> None:
    images = [measured(db, "A1", hours, [500.0, 400.0]) for hours in (0, 3)]
    histories = Histories(db)
    frames = histories.frames("P", "A1")
    wrong = replace(verdict(frames[1], 2), area_px=-1.0)
    with pytest.raises(sqlite3.IntegrityError):
        histories.store("P", "A1", frames, [verdict(frames[0], 2), wrong])
    assert [row_of(db, image)["object_number"] for image in images] == [1, 1]
    assert histories.next_well() == ("P", "A1")


def test_what_people_settled_is_not_touched(db: Database) -> None:
    confirmed, excluded, free = (measured(db, "A1", h, [500.0, 400.0]) for h in (0, 3, 6))
    reviews = Reviews(db)
    reviews.confirm([Subject(confirmed, row_of(db, confirmed)["id"])], NOW, who="Ada")
    reviews.exclude([Subject(excluded, row_of(db, excluded)["id"])], NOW, who="Ada", reason="hair")
    before = {image: row_of(db, image) for image in (confirmed, excluded)}
    histories = Histories(db)
    frames = histories.frames("P", "A1")
    assert [frame.settled for frame in frames] == [True, True, False]
    assert histories.store("P", "A1", frames, [verdict(one, 2, "ambiguous") for one in frames])
    assert {image: row_of(db, image) for image in before} == before
    assert spheroids(db, confirmed) == spheroids(db, excluded) == [1]
    assert row_of(db, free)["object_number"] == 2
    histories.recheck([Checked(row["id"], "area_jump", "{}") for row in before.values()])
    assert {image: row_of(db, image) for image in before} == before
    assert [one.flags for one in histories.checked("P", "A1")] == ["ambiguous"]


@pytest.mark.parametrize("change", ["a new frame", "a review", "another choice"])
def test_a_well_that_changes_while_it_is_judged_is_judged_again(db: Database, change: str) -> None:
    image = measured(db, "A1", 0, [500.0, 400.0])
    histories, seen = Histories(db), Subject(image, 1)
    frames = histories.frames("P", "A1")
    if change == "a new frame":
        measured(db, "A1", 3)
    elif change == "a review":
        Reviews(db).exclude([seen], NOW, who="Ada", reason="hair")
    else:
        Reviews(db).choose([seen], 2, NOW, who="Ada")
    before = row_of(db, image)
    assert not histories.store("P", "A1", frames, [verdict(frames[0], 2, "ambiguous")])
    assert row_of(db, image) == before
    assert histories.next_well() == ("P", "A1")


def test_a_plates_numbers_are_those_of_frames_that_judging_may_change(db: Database) -> None:
    images = [measured(db, "A1", hours) for hours in (0, 3, 6, 9)]
    histories = Histories(db)
    frames = histories.frames("P", "A1")
    checks = [
        json.dumps({"area_jump": {"value": n, "limit": 9, "raised": False}}) for n in range(3)
    ]
    verdicts = [verdict(f, 1, "", c) for f, c in zip(frames, [*checks, "{}"], strict=True)]
    histories.store("P", "A1", frames, verdicts)
    row = row_of(db, images[0])
    Reviews(db).confirm([Subject(images[0], row["id"])], NOW, who="Ada")
    values, limits = histories.numbers("P", ["area_jump", "flip_flop"])
    assert values == [{"area_jump": 1}, {"area_jump": 2}, {}]
    assert limits == [{"area_jump": 9}, {"area_jump": 9}, {}]
    assert histories.numbers("Q", ["area_jump"]) == ([], [])


def test_all_plates_with_runs_can_be_settled_anew(db: Database) -> None:
    measured(db, "A1", 0)
    histories = Histories(db)
    assert histories.unsettled() == []
    histories.unsettle_all()
    histories.unsettle_all()
    assert histories.unsettled() == ["P"]
    assert histories.wells("P") == ["A1"]


def test_plates_are_settled_anew_only_by_other_rules(db: Database) -> None:
    measured(db, "A1", 0)
    histories = Histories(db)
    for rules, unsettled in (("a", ["P"]), ("a", []), ("b", ["P"]), ("a", ["P"])):
        histories.unsettle_all(rules)
        assert histories.unsettled() == unsettled
        histories.settled("P")
    histories.unsettle_all("c")
    histories.unsettle_all("c")  # killed before it was settled
    assert histories.unsettled() == ["P"]
    histories.settled("P")
    Histories(db, "P").unsettle_all("c")  # measured again: the plate's areas are others
    assert histories.unsettled() == ["P"]


def test_no_question_reads_a_whole_table(db: Database) -> None:
    """At a million images, a scan for every new frame would stop the line."""
    from spheroidd.store import histories as module

    asked = {
        module._FRAMES: {"plate": "P", "well": "A1"},
        module._CANDIDATES: {"measurements": "[1]"},
        module._SIGNATURE: {"plate": "P", "well": "A1"},
        f"SELECT m.id {module._FREE}": {"plate": "P"},
        f"SELECT m.id {module._FREE} AND i.well = :well": {"plate": "P", "well": "A1"},
    }
    for statement, parameters in asked.items():
        plan = [row["detail"] for row in db.rows(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        tables = [step for step in plan if step.startswith("SCAN") and "subquery" not in step]
        assert [step for step in tables if "VIRTUAL TABLE" not in step] == [], plan
