"""Judging through the real database: choices and flags that depend on the data alone."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_up import NOW, measured
from spheroidd.config import Flags
from spheroidd.measure.judge import JudgeStage, Objects
from spheroidd.store.database import Database
from spheroidd.store.histories import Histories
from spheroidd.store.reader import Row
from spheroidd.store.reviews import Reviews, Subject

BOUNDS = Flags().bounds()
Shot = tuple[str, float, Sequence[Mapping[str, float | None]], Mapping[str, float]]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "spheroidd.db")
    yield database
    database.close()


def one(area: float, x: float = 480, y: float = 270, solidity: float = 0.95) -> dict[str, float]:
    return {
        "AreaShape_Area": area, "AreaShape_Center_X": x, "AreaShape_Center_Y": y,
        "AreaShape_Solidity": solidity, "AreaShape_Eccentricity": 0.3,
        "AreaShape_FormFactor": 0.8,
    }  # fmt: skip


def shoot(db: Database, shot: Shot, **said: Any) -> int:
    well, hours, objects, evidence = shot
    usual = {"width": 960, "height": 540, "timepoint": round(hours / 3), "pixel_size_um": None}
    return measured(db, well, hours, objects, evidence=evidence, **{**usual, **said})


def stage(db: Database, log: Any, objects: Objects = "one", **bounds: Any) -> JudgeStage:
    return JudgeStage(Histories(db), {**BOUNDS, **bounds}, log, objects)


def until_idle(judging: JudgeStage, now: float = NOW) -> int:
    """Steps until there is nothing more to do, with all rests over."""
    steps = 0
    while judging.step(now + 1e6 * steps):
        steps += 1
        assert steps < 500
    return steps


def outcome(db: Database) -> dict[str, Row]:
    rows = db.rows(
        "SELECT i.path, m.area_px, m.area_um2, m.object_number, m.flags, m.checks,"
        " (SELECT group_concat(number) FROM (SELECT number FROM objects"
        "   WHERE measurement_id = m.id AND is_spheroid ORDER BY number)) AS spheroids"
        " FROM measurements m JOIN images i ON i.id = m.image_id"
    )
    return {row.pop("path"): row for row in rows}


def plate(seed: int = 1, frames: int = 14) -> list[Shot]:
    """Growing spheroids with debris, an empty well, some frames gone wrong."""
    rng = np.random.default_rng(seed)
    shots: list[Shot] = []
    for well in ("A1", "A2", "A10"):
        for index in range(frames):
            area = 8000 * float(np.exp(0.04 * index + rng.normal(0, 0.02)))
            if rng.random() < 0.1:
                area *= 0.6
            objects = [one(area, 480 + rng.normal(0, 3)), one(900, *rng.uniform(50, 500, 2))]
            if rng.random() < 0.1:
                objects = []
            elif rng.random() < 0.2:
                objects.append(one(1.1 * area, 150, 120, 0.8))
            evidence = {
                "focus": float(80 * np.exp(rng.normal(0, 0.2))),
                "background": float(190 + rng.normal(0, 2)),
                "agreement": 0.97,
                "mean_probability": float(0.95 + rng.normal(0, 0.01)),
            }
            shots.append((well, 3.0 * index, objects, evidence))
    return [*shots, *(("B1", 3.0 * index, [], {}) for index in range(frames))]


def test_a_plate_is_judged_and_then_left_alone(db: Database, captured_log: Any) -> None:
    for shot in plate():
        shoot(db, shot)
    judging = stage(db, captured_log[0])
    judging.start(NOW)
    assert until_idle(judging) == 4 + 1
    assert Histories(db).pending() == 0
    rows = outcome(db)
    assert all(row["flags"] == "no_spheroid" for path, row in rows.items() if "/B1/" in path)
    raised = [row for path, row in rows.items() if "/A" in path and row["flags"]]
    assert 0 < len(raised) < 0.5 * len(rows)
    for row in rows.values():
        checks = json.loads(row["checks"])
        named = [flag for flag, check in checks.items() if check["raised"]]
        assert row["flags"] == ",".join(named)
        assert all(set(check) == {"value", "limit", "raised"} for check in checks.values())
    limits = {
        flag: {json.loads(row["checks"])[flag]["limit"] for row in rows.values()
               if flag in json.loads(row["checks"])}
        for flag in BOUNDS
    }  # fmt: skip
    assert all(len(found) == 1 for found in limits.values() if found), "one limit for the plate"


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1000))
def test_the_outcome_depends_on_the_data_alone(
    seed: int, tmp_path_factory: pytest.TempPathFactory, captured_log: Any
) -> None:
    """Frames that arrive late, in any order, judged at any moment, before and after restarts."""
    shots = plate(seed, frames=8)
    outcomes = []
    for order in range(2):
        database = Database(tmp_path_factory.mktemp("shuffled") / "spheroidd.db")
        rng = random.Random(f"{seed} {order}")
        arriving = rng.sample(shots, len(shots)) if order else shots
        judging = stage(database, captured_log[0])
        for shot in arriving:
            shoot(database, shot)
            if order and rng.random() < 0.3:
                judging.step(NOW)
            if order and rng.random() < 0.1:
                judging = stage(database, captured_log[0])
                judging.start(NOW)
        until_idle(judging)
        outcomes.append(outcome(database))
        database.close()
    assert outcomes[0] == outcomes[1]


def test_late_frames_mend_an_early_choice(db: Database, captured_log: Any) -> None:
    """Alone, a larger shadow looks like the spheroid; among its neighbours, the frame is clear."""
    log, events = captured_log
    first = ("A1", 9.0, [one(12000, 350, 200), one(8000)], {})
    shoot(db, first)
    judging = stage(db, log)
    until_idle(judging)
    assert outcome(db)["/e/P/A1/A1_9.jpg"]["object_number"] == 1
    for hours in (0.0, 3.0, 6.0, 12.0, 15.0):
        shoot(db, ("A1", hours, [one(8000)], {}))
    until_idle(judging)
    row = outcome(db)["/e/P/A1/A1_9.jpg"]
    assert (row["object_number"], row["area_px"], row["spheroids"]) == (2, 8000, "2")
    [event] = [event for event in events if event["event"] == "another object is the spheroid"]
    assert (event["was"], event["now"], event["well"]) == (1, 2, "A1")


def test_new_evidence_never_changes_what_people_settled(db: Database, captured_log: Any) -> None:
    images = [shoot(db, ("A1", 3.0 * i, [one(8000), one(7000, 200)], {})) for i in range(6)]
    judging = stage(db, captured_log[0])
    until_idle(judging)
    reviews, subjects = Reviews(db), {}
    for row in db.rows("SELECT id, image_id FROM measurements"):
        subjects[row["image_id"]] = Subject(row["image_id"], row["id"])
    reviews.choose([subjects[images[1]]], 2, NOW, who="Ada")
    reviews.exclude([subjects[images[2]]], NOW, who="Ada", reason="hair")
    reviews.confirm([subjects[images[3]]], NOW, who="Ada")
    settled = {path: row for path, row in outcome(db).items() if path[-5] in "369"}
    assert len(settled) == 3
    for i in range(6, 12):
        shoot(db, ("A1", 3.0 * i, [one(800, 300), one(7000, 200)], {"focus": 1.0}))
    until_idle(judging)
    after = outcome(db)
    assert {path: after[path] for path in settled} == settled
    reviews.restore([subjects[images[1]]], NOW, who="Ada")
    assert Histories(db).next_well() == ("P", "A1")


def test_a_first_frame_that_is_empty_and_wells_of_nothing(db: Database, captured_log: Any) -> None:
    for i in range(8):
        shoot(db, ("A1", 3.0 * i, [one(8000)] if i else [], {}))
        shoot(db, ("A2", 3.0 * i, [], {}))
    until_idle(stage(db, captured_log[0]))
    rows = outcome(db)
    assert rows["/e/P/A1/A1_0.jpg"]["flags"] == "no_spheroid"
    assert {row["area_px"] for path, row in rows.items() if "/A1/" in path} == {0, 8000}
    assert {row["flags"] for path, row in rows.items() if "/A2/" in path} == {"no_spheroid"}


def test_fields_and_channels_are_judged_apart(db: Database, captured_log: Any) -> None:
    for i in range(8):
        for number, field in enumerate(("s1", "s2")):
            area = 8000 * (1 + number)
            shoot(db, ("A1", 3.0 * i, [one(area)], {}), field=field, name=f"{field}_{i}.jpg")
    until_idle(stage(db, captured_log[0]))
    assert {row["flags"] for row in outcome(db).values()} == {""}


def test_all_objects_are_the_spheroids_if_told_so(db: Database, captured_log: Any) -> None:
    for i in range(4):
        shoot(db, ("A1", 3.0 * i, [one(6000), one(5500, 200), one(50, 700)], {}), pixel_size_um=2.0)
    until_idle(stage(db, captured_log[0], "all"))
    for row in outcome(db).values():
        assert (row["area_px"], row["area_um2"], row["spheroids"]) == (11_500, 46_000, "1,2")
        assert row["flags"] == ""


def test_of_many_spheroids_none_is_left_out(db: Database, captured_log: Any) -> None:
    """Confirmed ones are evidence with all their objects: the frames around are no jump."""
    for i in range(8):
        many = [one(1000, 20 + 30 * place, 250 + 10 * (place % 3)) for place in range(30)]
        shoot(db, ("A1", 3.0 * i, many, {}))
    until_idle(stage(db, captured_log[0], "all"))
    assert {row["area_px"] for row in outcome(db).values()} == {30_000}
    rows = db.rows("SELECT id, image_id FROM measurements WHERE id <> 4")
    seen = [Subject(row["image_id"], row["id"]) for row in rows]
    Reviews(db).confirm(seen, NOW, who="Ada")
    until_idle(stage(db, captured_log[0], "all"))
    [free] = db.rows("SELECT area_px, flags FROM measurements WHERE id = 4")
    assert free == {"area_px": 30_000, "flags": ""}


def test_work_judges_all_but_what_it_can_not_and_says_so(db: Database, captured_log: Any) -> None:
    for well in ("A1", "A2", "A3"):
        shoot(db, (well, 0.0, [one(6000)], {}))
    with db.write() as sql:
        sql.execute("UPDATE segmentations SET evidence = '{' WHERE image_id = 2")
    judging = stage(db, captured_log[0])
    assert judging.trouble == ""
    judging.work()
    assert judging.trouble == "can't be judged (see the log): P/A2"
    assert db.rows("SELECT well FROM unjudged") == [{"well": "A2"}]
    [told] = [event for event in captured_log[1] if event["level"] == "error"]
    assert (told["well"], "JSONDecodeError" in told["reason"]) == ("A2", True)


def test_counting_other_objects_takes_effect_at_the_next_start(
    db: Database, captured_log: Any
) -> None:
    for well in ("A1", "A2"):
        for i in range(3):
            shoot(db, (well, 3.0 * i, [one(6000), one(5500, 200)], {}))
    shoot(db, ("B1", 0.0, [], {}))
    ids = [row["id"] for row in db.rows("SELECT id FROM measurements ORDER BY id LIMIT 1")]
    Reviews(db).confirm([Subject(1, ids[0])], NOW, who="Ada")
    objects: Objects
    for objects, area in (("one", 6000), ("all", 11_500), ("one", 6000)):
        judging = stage(db, captured_log[0], objects)
        judging.start(NOW)
        until_idle(judging)
        found = [row["area_px"] for path, row in outcome(db).items() if "/A" in path]
        assert found == [6000, *[area] * 5], "what was confirmed stays"
        again = stage(db, captured_log[0], objects)
        again.start(NOW)
        assert until_idle(again) == 0, "nothing is judged or settled without need"
        stricter = stage(db, captured_log[0], objects, low_solidity=(0.5, 0.6))
        stricter.start(NOW)
        assert until_idle(stricter) == 1, "other bounds: the plate is settled, and no well judged"


def test_a_well_that_can_not_be_judged_stops_neither_the_others_nor_the_end(
    db: Database, captured_log: Any
) -> None:
    log, lines = captured_log
    for i in range(3):  # such a pixel size leaves an area of 0 µm², which has no logarithm
        shoot(db, ("A1", 3.0 * i, [one(6000)], {}), pixel_size_um=1e-200)
        shoot(db, ("A2", 3.0 * i, [one(6000), one(5900, 200)], {}))
    judging = stage(db, log)
    judging.start(NOW)
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        judging.step(NOW)
    while judging.step(NOW + 1):
        pass
    assert Histories(db).pending() == 1, "the next start tries again"
    assert judging._histories.pending() == 0, "nothing keeps `--until-idle` waiting"
    for path, row in outcome(db).items():
        assert ("several_objects" in row["flags"]) == ("/A2/" in path)
        assert row["area_px"] == 6000
    assert any(line["event"].startswith("can't be judged") and line["well"] == "A1"
               for line in lines)  # fmt: skip
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        judging.step(NOW + 1e9)  # later it is tried again, too


def test_thousands_of_objects_are_judged_in_a_moment(db: Database, captured_log: Any) -> None:
    rng = np.random.default_rng(0)
    specks = [one(float(rng.uniform(10, 60)), *rng.uniform(0, 500, 2)) for _ in range(2000)]
    for i in range(3):
        shoot(db, ("A1", 3.0 * i, [*specks, one(9000)], {}))
    until_idle(stage(db, captured_log[0]))
    assert {row["area_px"] for row in outcome(db).values()} == {9000}
    assert {row["flags"] for row in outcome(db).values()} == {""}


def test_other_bounds_take_effect_at_the_next_start(db: Database, captured_log: Any) -> None:
    for shot in plate():
        shoot(db, shot)
    before = stage(db, captured_log[0])
    before.start(NOW)
    until_idle(before)
    areas = {path: row["area_px"] for path, row in outcome(db).items()}
    after = stage(db, captured_log[0], area_jump=(0.01, 0.01))
    after.start(NOW)
    assert until_idle(after) == 1
    rows = outcome(db)
    assert {path: row["area_px"] for path, row in rows.items()} == areas
    for row in rows.values():
        check = json.loads(row["checks"]).get("area_jump")
        if check:
            assert check["limit"] == 0.01
            assert check["raised"] == ("area_jump" in row["flags"]) == (check["value"] >= 0.01)


def test_settling_a_plate_waits_between_images_but_not_for_ever(
    db: Database, captured_log: Any
) -> None:
    judging = stage(db, captured_log[0])
    shoot(db, ("A1", 0.0, [one(8000)], {}))
    until_idle(judging)
    shoot(db, ("A1", 3.0, [one(8000)], {}))
    judging = stage(db, captured_log[0])
    assert judging.step(NOW)
    assert judging.step(NOW)
    shoot(db, ("A1", 6.0, [one(8000)], {}))
    assert judging.step(NOW)
    assert not judging.step(NOW)
    assert Histories(db).pending() == 1
    assert judging.step(NOW + 3600)
    assert Histories(db).pending() == 0
    shoot(db, ("A1", 9.0, [one(8000)], {}))
    assert judging.step(NOW + 3600)
    assert judging.step(NOW - 7200), "a clock that is set back is no rest of hours"
    assert Histories(db).pending() == 0
