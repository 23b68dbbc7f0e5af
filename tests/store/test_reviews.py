"""People's decisions: what each changes, that it is undone and never forgotten, what is left."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up import NOW, measured
from spheroidd.errors import SpheroiddError
from spheroidd.store.choices import NO_SPHEROID, ReviewError
from spheroidd.store.database import Database, timestamp
from spheroidd.store.paths import to_stored
from spheroidd.store.reader import Reader
from spheroidd.store.reading import growth, outlines, plate_counts
from spheroidd.store.results import MeasurementRecord, Results, insert_measurement
from spheroidd.store.reviewing import Selection, events, selected
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.store.waiting import waiting as what_waits

LATER = NOW + 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    db = Database(tmp_path / "spheroidd.db")
    yield db
    db.close()


@pytest.fixture
def reviews(database: Database) -> Reviews:
    return Reviews(database)


def current(database: Database, image_id: int) -> dict[str, Any]:
    [row] = database.rows(
        "SELECT i.excluded, m.* FROM images i JOIN measurements m ON m.image_id = i.id"
        " AND m.current WHERE i.id = :id",
        {"id": image_id},
    )
    return row


def seen(database: Database, *image_ids: int) -> list[Subject]:
    """The images as they are shown now."""
    rows = ((one, current(database, one)) for one in image_ids)
    return [Subject(one, row["id"], row["object_number"], row["area_px"]) for one, row in rows]


def spheroids(database: Database, image_id: int) -> list[int]:
    rows = database.rows(
        "SELECT number FROM objects WHERE measurement_id = :id AND is_spheroid",
        {"id": current(database, image_id)["id"]},
    )
    return [row["number"] for row in rows]


def measured_again(database: Database, image: int, area: float) -> None:
    """A newer measurement of the same image, shown from now on."""
    results = Results(database)
    again = MeasurementRecord(
        run_id=current(database, image)["run_id"],
        segmentation_id=results.segmentation(image).id,
        batch_id=results.open_batch(
            NOW, plate="P", pipeline="mask", pipeline_sha256="y", cellprofiler="4", n_images=1,
            folder="",
        ),
        area_px=area, area_um2=None, pixel_size_um=None, n_objects=1, flags=[], outline_path=None,
        version="0",
    )  # fmt: skip
    with database.write() as sql:
        insert_measurement(sql, image, again, LATER, current=True)


def set_checks(database: Database, image_id: int, **checks: tuple[float, float]) -> None:
    """Raise these flags, with value and limit, as the judge would."""
    said = {
        name: {"value": v, "limit": limit, "raised": True} for name, (v, limit) in checks.items()
    }
    said["low_focus"] = {"value": 0.5, "limit": 0.1, "raised": False}
    with database.write() as sql:
        sql.execute(
            "UPDATE measurements SET flags = ?, checks = ? WHERE image_id = ?",
            (",".join(checks), json.dumps(said), image_id),
        )


def judged(database: Database) -> None:
    with database.write() as sql:
        sql.execute("DELETE FROM unjudged")


def unjudged(database: Database) -> list[tuple[str, str]]:
    return [(row["plate"], row["well"]) for row in database.rows("SELECT * FROM unjudged")]


def past(database: Database, **selection: Any) -> list[dict[str, Any]]:
    with Reader(database.path) as reader:
        return events(reader, Selection(**selection))


# -- what each action changes ------------------------------------------------------------


def test_confirm_then_exclude_then_restore(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0])
    set_checks(database, image, several_objects=(2, 1))
    [subject] = seen(database, image)
    reviews.confirm([subject], LATER, who="Ada", reason="looked at it")
    assert (current(database, image)["decision"], current(database, image)["excluded"]) == (
        "confirmed",
        0,
    )
    reviews.exclude([subject], LATER + 1, who="Bob", reason="bubble")
    assert (current(database, image)["decision"], current(database, image)["excluded"]) == (
        "confirmed",
        1,
    )
    reviews.restore([subject], LATER + 2, who="Ada")
    row = current(database, image)
    assert (row["decision"], row["excluded"]) == (None, 0)
    assert (row["area_px"], row["flags"]) == (100, "several_objects")
    found = past(database)
    assert [(one["action"], one["who"], one["reason"], one["at"]) for one in found] == [
        ("confirm", "Ada", "looked at it", timestamp(LATER)),
        ("exclude", "Bob", "bubble", timestamp(LATER + 1)),
        ("restore", "Ada", "", timestamp(LATER + 2)),
    ]
    confirmed = {
        "decision": "confirmed", "object_number": 1, "area_px": 100, "area_um2": 400,
        "flags": "several_objects", "spheroids": [1],
    }  # fmt: skip
    assert [one["images"][0]["was"] for one in found] == [
        {"decision": None}, {"excluded": 0}, {"excluded": 1, **confirmed},
    ]  # fmt: skip
    assert [one["images"][0]["object_number"] for one in found] == [1, None, None]


def test_an_event_twice_is_two_events_and_changes_nothing_more(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0)
    subjects = seen(database, image) * 2  # the same image twice in one event is once
    first = reviews.exclude(subjects, LATER, who="Ada", reason="bubble")
    second = reviews.exclude(subjects, LATER, who="Bob", reason="out of focus")
    assert second > first
    assert [one["images"][0]["was"] for one in past(database)] == [{"excluded": 0}, {"excluded": 1}]
    assert current(database, image)["excluded"] == 1
    reviews.restore(subjects, LATER, who="Ada")
    reviews.restore(subjects, LATER, who="Ada")
    assert current(database, image)["excluded"] == 0
    assert len(past(database)) == 4


def test_choosing_moves_area_and_spheroid_and_restoring_moves_them_back(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0, 30.0], pixel_size_um=3.0)
    set_checks(database, image, ambiguous=(0.9, 0.5))
    subjects = seen(database, image)
    reviews.choose(subjects, 2, LATER, who="Ada")
    row = current(database, image)
    assert (row["area_px"], row["area_um2"], row["object_number"]) == (40, 360, 2)
    assert (row["decision"], row["flags"]) == ("chosen", "ambiguous")
    assert spheroids(database, image) == [2]

    reviews.choose(seen(database, image), 3, LATER, who="Ada")
    assert (current(database, image)["area_px"], spheroids(database, image)) == (30, [3])
    reviews.confirm(seen(database, image), LATER, who="Bob")
    reviews.restore(seen(database, image), LATER, who="Ada")
    row = current(database, image)
    assert (row["area_px"], row["area_um2"], row["object_number"]) == (100, 900, 1)
    assert (row["decision"], spheroids(database, image)) == (None, [1])
    assert [one["images"][0]["object_number"] for one in past(database)] == [2, 3, 3, None]


def test_a_choice_is_undone_to_what_the_program_said_last(
    database: Database, reviews: Reviews
) -> None:
    """The judge may pick another object between restoring and choosing again."""
    image = measured(database, "A1", 0, [100.0, 40.0, 30.0])
    reviews.choose(seen(database, image), 2, LATER, who="Ada")
    reviews.restore(seen(database, image), LATER, who="Ada")
    with database.write() as sql:
        sql.execute("UPDATE measurements SET area_px = 30, area_um2 = 120, object_number = 3")
        sql.execute("UPDATE objects SET is_spheroid = (number = 3)")
    reviews.restore(seen(database, image), LATER, who="Ada")
    assert current(database, image)["area_px"] == 30
    reviews.choose(seen(database, image), 2, LATER, who="Ada")
    reviews.restore(seen(database, image), LATER, who="Ada")
    row = current(database, image)
    assert (row["area_px"], row["area_um2"], row["object_number"]) == (30, 120, 3)
    assert spheroids(database, image) == [3]


def test_no_spheroid_here_and_back(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0])
    set_checks(database, image, several_objects=(2, 1))
    reviews.choose(seen(database, image), NO_SPHEROID, LATER, who="Ada")
    row = current(database, image)
    assert (row["area_px"], row["area_um2"], row["object_number"]) == (0, 0, None)
    # the contract: an area of 0 carries the flag that says why
    assert row["flags"] == "no_spheroid,several_objects"
    assert json.loads(row["checks"])["no_spheroid"] == {"value": 0, "limit": 1, "raised": True}
    assert spheroids(database, image) == []
    reviews.choose(
        seen(database, image), 2, LATER, who="Ada"
    )  # the kind is known though nothing is marked
    row = current(database, image)
    assert row["flags"] == "several_objects"
    assert json.loads(row["checks"])["no_spheroid"] == {"value": 1, "limit": 1, "raised": False}
    assert (current(database, image)["area_px"], spheroids(database, image)) == (40, [2])
    reviews.restore(seen(database, image), LATER, who="Ada")
    assert (current(database, image)["area_px"], spheroids(database, image)) == (100, [1])


def test_an_object_the_program_left_out_can_be_chosen(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0], pixel_size_um=None)
    with database.write() as sql:
        sql.execute("UPDATE measurements SET area_px = 0, object_number = NULL, flags = ''")
        sql.execute("UPDATE measurements SET flags = 'no_spheroid,low_confidence'")
        sql.execute("UPDATE objects SET is_spheroid = 0")
    reviews.choose(seen(database, image), 1, LATER, who="Ada")
    row = current(database, image)
    assert (row["area_px"], row["area_um2"], row["flags"]) == (100, None, "low_confidence")


def test_a_number_that_is_not_there_lists_those_that_are_and_changes_nothing(
    database: Database, reviews: Reviews
) -> None:
    one = measured(database, "A1", 0, [100.0, 40.0])
    other = measured(database, "A1", 3, [90.0])
    empty = measured(database, "A1", 6, [])
    judged(database)
    with pytest.raises(ReviewError, match=r"A1_3\.jpg has no object 2") as caught:
        reviews.choose(seen(database, one, other), 2, LATER, who="Ada")
    assert "1 (area 90 px)" in caught.value.hint
    with pytest.raises(ReviewError) as caught:
        reviews.choose(seen(database, empty), 1, LATER, who="Ada")
    assert "no object at all" in caught.value.hint
    assert current(database, one)["area_px"] == 100  # it came before, in the same event
    assert current(database, one)["decision"] is None
    assert past(database) == []
    assert unjudged(database) == []


def test_only_objects_of_the_spheroids_kind_can_be_chosen(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0, [100.0])
    with database.write() as sql:
        sql.execute(
            "INSERT INTO objects (measurement_id, name, number, is_spheroid, area_px, features)"
            " VALUES (?, 'Debris', 1, 0, 5, '{}'), (?, 'Debris', 2, 0, 6, '{}')",
            [current(database, image)["id"]] * 2,
        )
    with pytest.raises(ReviewError, match="no object 2"):
        reviews.choose(seen(database, image), 2, LATER, who="Ada")
    reviews.choose(seen(database, image), 1, LATER, who="Ada")
    assert current(database, image)["area_px"] == 100
    [row] = database.rows("SELECT name FROM objects WHERE is_spheroid")
    assert row["name"] == "Spheroids"


def test_wells_that_were_touched_are_judged_anew(database: Database, reviews: Reviews) -> None:
    images = [measured(database, well, 0) for well in ("A1", "A2", "A3")]
    for act in (
        lambda subjects: reviews.confirm(subjects, LATER, who="Ada"),
        lambda subjects: reviews.exclude(subjects, LATER, who="Ada", reason="x"),
        lambda subjects: reviews.choose(subjects, 1, LATER, who="Ada"),
        lambda subjects: reviews.restore(subjects, LATER, who="Ada"),
    ):
        judged(database)
        act(seen(database, *images[:2]))
        assert unjudged(database) == [("P", "A1"), ("P", "A2")]


def test_what_was_measured_again_since_it_was_looked_at_is_not_settled_unseen(
    database: Database, reviews: Reviews
) -> None:
    first, second = measured(database, "A1", 0), measured(database, "A1", 3)
    subjects = seen(database, first, second)
    for change in (
        "UPDATE measurements SET current = 0 WHERE image_id = ?",
        "UPDATE images SET state = 'superseded' WHERE id = ?",
    ):
        with database.write() as sql:
            sql.execute(change, [second])
        with pytest.raises(ReviewError, match="measured again, or replaced"):
            reviews.exclude(subjects, LATER, who="Ada", reason="x")
        with database.write() as sql:
            sql.execute("UPDATE measurements SET current = 1")
    assert current(database, first)["excluded"] == 0
    assert past(database) == []


def test_what_was_judged_anew_since_it_was_looked_at_is_not_settled_unseen(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0])
    for change in ("area_px = 40, object_number = 2", "area_px = 101", "object_number = NULL"):
        subjects = seen(database, image)
        with database.write() as sql:
            sql.execute(f"UPDATE measurements SET {change}")
        with pytest.raises(ReviewError, match="judged anew since it was looked at"):
            reviews.confirm(subjects, LATER, who="Ada")
    assert current(database, image)["decision"] is None
    reviews.confirm(seen(database, image), LATER, who="Ada")
    assert len(past(database)) == 1


def test_a_newer_measurement_is_not_settled_unseen(database: Database, reviews: Reviews) -> None:
    """Its area and object are the same; it is still another measurement."""
    image = measured(database, "A1", 0)
    subjects = seen(database, image)
    measured_again(database, image, 100.0)
    with pytest.raises(ReviewError, match="measured again, or replaced"):
        reviews.confirm(subjects, LATER, who="Ada")
    assert database.rows("SELECT 1 FROM measurements WHERE decision IS NOT NULL") == []
    assert past(database) == []
    reviews.confirm(seen(database, image), LATER, who="Ada")


# -- one event is undone, and nothing else ------------------------------------------------


def test_undoing_an_exclusion_leaves_the_decision_and_the_other_way_round(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0])
    chosen = reviews.choose(seen(database, image), 2, LATER, who="Ada")
    excluded = reviews.exclude(seen(database, image), LATER, who="Bob", reason="bubble")
    undone = reviews.undo(excluded, seen(database, image), LATER, who="Bob")
    assert (undone.images, undone.left) == ([image], {})
    row = current(database, image)
    assert (row["excluded"], row["decision"], row["area_px"]) == (0, "chosen", 40)
    reviews.undo(undone.event, seen(database, image), LATER, who="Bob")  # once more excluded
    reviews.undo(chosen, seen(database, image), LATER, who="Ada")
    row = current(database, image)
    assert (row["excluded"], row["decision"], row["area_px"]) == (1, None, 100)
    assert spheroids(database, image) == [1]
    assert [next(iter(one["images"][0]["was"])) for one in past(database)[2:]] == [
        "excluded", "excluded", "decision",
    ]  # fmt: skip


def test_undoing_goes_back_to_the_decision_before(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0, 30.0])
    reviews.choose(seen(database, image), 2, LATER, who="Ada")
    confirmed = reviews.confirm(seen(database, image), LATER, who="Bob")
    reviews.undo(confirmed, seen(database, image), LATER, who="Bob")
    assert current(database, image)["decision"] == "chosen"
    other = reviews.choose(seen(database, image), 3, LATER, who="Bob")
    reviews.undo(other, seen(database, image), LATER, who="Bob")
    row = current(database, image)
    assert (row["decision"], row["area_px"], spheroids(database, image)) == ("chosen", 40, [2])
    reviews.restore(seen(database, image), LATER, who="Ada")  # past what was undone
    row = current(database, image)
    assert (row["decision"], row["area_px"], spheroids(database, image)) == (None, 100, [1])


def test_undoing_a_restoring_puts_back_the_area_that_was_settled(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0, [100.0, 40.0])
    reviews.confirm(seen(database, image), LATER, who="Ada")
    restored = reviews.restore(seen(database, image), LATER, who="Ada")
    with database.write() as sql:  # as the judge does
        sql.execute("UPDATE measurements SET area_px = 40, object_number = 2")
        sql.execute("UPDATE objects SET is_spheroid = (number = 2)")
    reviews.undo(restored, seen(database, image), LATER, who="Ada")
    row = current(database, image)
    assert (row["decision"], row["area_px"], spheroids(database, image)) == ("confirmed", 100, [1])
    reviews.restore(seen(database, image), LATER, who="Ada")  # what the program says now
    row = current(database, image)
    assert (row["decision"], row["area_px"], spheroids(database, image)) == (None, 40, [2])


def test_what_a_later_event_changed_too_stays_and_is_told(
    database: Database, reviews: Reviews
) -> None:
    one, other = measured(database, "A1", 0), measured(database, "A1", 3)
    first = reviews.exclude(seen(database, one, other), LATER, who="Ada", reason="bubble")
    second = reviews.exclude(seen(database, other), LATER, who="Bob", reason="out of focus")
    undone = reviews.undo(first, seen(database, one, other), LATER, who="Ada")
    assert undone.images == [one]
    assert undone.left == {f"event {second} changed whether it is excluded after it": 1}
    assert [current(database, image)["excluded"] for image in (one, other)] == [0, 1]
    assert [image["image_path"] for image in past(database)[-1]["images"]] == ["/e/P/A1/A1_0.jpg"]
    with pytest.raises(ReviewError, match="Nothing of that event can be put back"):
        reviews.undo(first, seen(database, one, other), LATER, who="Ada")
    assert len(past(database)) == 3


def test_a_decision_is_not_put_back_on_another_measurement(
    database: Database, reviews: Reviews
) -> None:
    image = measured(database, "A1", 0)
    reviews.confirm(seen(database, image), LATER, who="Ada")
    restored = reviews.restore(seen(database, image), LATER, who="Ada")
    measured_again(database, image, 7.0)
    undone = reviews.undo(restored, seen(database, image), LATER, who="Ada")
    assert list(undone.left) == [
        "another measurement is shown than the one that was decided on"
    ]  # fmt: skip
    row = current(database, image)
    assert (row["decision"], row["area_px"]) == (None, 7)


def test_excluding_survives_measuring_again(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0)
    reviews.exclude(seen(database, image), LATER, who="Ada", reason="bubble")
    measured_again(database, image, 7.0)
    with Reader(database.path) as reader:
        [row] = growth(reader)
    assert (row["area_px"], row["excluded"]) == (7, 1)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_excluding_needs_a_reason_and_everything_needs_a_name_and_an_image(
    database: Database, reviews: Reviews, reason: str
) -> None:
    subjects = seen(database, measured(database, "A1", 0))
    with pytest.raises(ReviewError, match="reason"):
        reviews.exclude(subjects, LATER, who="Ada", reason=reason)
    with pytest.raises(ReviewError, match="name"):
        reviews.confirm(subjects, LATER, who=reason)
    with pytest.raises(ReviewError, match="no image"):
        reviews.confirm([], LATER, who="Ada")
    assert past(database) == []


def test_a_decision_waits_for_the_daemons_transaction(database: Database) -> None:
    """Two connections, as the daemon and the command line have them."""
    image = measured(database, "A1", 0)
    subjects = seen(database, image)
    own = Database(database.path)
    done = threading.Event()

    def decide() -> None:
        Reviews(own).exclude(subjects, LATER, who="Ada", reason="bubble")
        done.set()

    thread = threading.Thread(target=decide)
    with database.write() as sql:
        sql.execute("UPDATE measurements SET flags = 'area_jump'")
        thread.start()
        assert not done.wait(0.3)
    thread.join(20)
    own.close()
    row = current(database, image)
    assert (row["excluded"], row["flags"]) == (1, "area_jump")


def plan_of(database: Database, ask: Callable[[Reader], object]) -> list[str]:
    """How SQLite finds the rows of everything that is asked."""

    class Explaining(Reader):
        def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
            self._explain(sql, parameters)
            return super().rows(sql, parameters)

        def tuples(
            self, sql: str, parameters: dict[str, Any] | None = None
        ) -> Iterator[tuple[Any, ...]]:
            self._explain(sql, parameters)
            return super().tuples(sql, parameters)

        def _explain(self, sql: str, parameters: dict[str, Any] | None) -> None:
            rows = super().rows(f"EXPLAIN QUERY PLAN {sql}", parameters)
            plan.extend(row["detail"] for row in rows)

    plan: list[str] = []
    with Explaining(database.path) as reader:
        ask(reader)
    return plan


# -- which images ------------------------------------------------------------------------


@pytest.fixture
def two_plates(database: Database) -> Database:
    """Well A1 on two plates, every 20 minutes, and a well with an odd name."""
    for frame in range(4):
        hours = frame / 3
        measured(database, "A1", hours, timepoint=frame + 1)
        measured(
            database, "A1", hours + 100, plate="Q 2", plate_key="Q", name=f"q{frame}.jpg",
            timepoint=frame + 1,
        )  # fmt: skip
    measured(database, "it's \uf7ff 100%", 0, name="odd.jpg")
    return database


def hours_of(database: Database, **selection: Any) -> list[float]:
    with Reader(database.path) as reader:
        return [row["hours"] for row in selected(reader, Selection(**selection))]


def test_hours_are_those_of_growth(two_plates: Database) -> None:
    with Reader(two_plates.path) as reader:
        rows = selected(reader, Selection())
        assert [(row["image_path"], row["hours"]) for row in rows] == [
            (row["image_path"], row["hours"]) for row in growth(reader)
        ]


def test_both_ends_of_a_range_belong_to_it(two_plates: Database) -> None:
    times = hours_of(two_plates, plate="Q 2")
    assert times == [0, 0.3333, 0.6667, 1]
    for low in times:
        for high in times:
            expected = [time for time in times if low <= time <= high]
            selection = {"plate": "Q 2", "from_hours": low, "to_hours": high}
            if expected:
                assert hours_of(two_plates, **selection) == expected
    assert hours_of(two_plates, plate="Q 2", from_hours=0.3334) == [0.6667, 1]
    assert hours_of(two_plates, plate="Q 2", to_hours=0.6666) == [0, 0.3333]


def test_one_image_by_frame_and_by_path(two_plates: Database) -> None:
    assert hours_of(two_plates, plate="P", well="A1", timepoint=2) == [0.3333]
    assert hours_of(two_plates, path="/e/P/A1/q1.jpg") == [0.3333]
    assert hours_of(two_plates, well="it's \uf7ff 100%") == [0]


def test_a_decision_on_one_plate_leaves_the_same_well_of_another(two_plates: Database) -> None:
    with Reader(two_plates.path) as reader:
        rows = selected(reader, Selection(plate="Q 2", well="A1", from_hours=0.5))
    subjects = [Subject(row["image_id"], row["measurement_id"]) for row in rows]
    number = Reviews(two_plates).exclude(subjects, LATER, who="Ada", reason="x")
    with Reader(two_plates.path) as reader:
        excluded = [row["image_path"] for row in growth(reader) if row["excluded"]]
    assert excluded == ["/e/P/A1/q2.jpg", "/e/P/A1/q3.jpg"]
    assert hours_of(two_plates, event=number) == [0.6667, 1]
    assert past(two_plates, plate="P") == []
    [event] = past(two_plates, plate="Q 2", to_hours=0.7)
    assert [image["hours"] for image in event["images"]] == [0.6667]


@pytest.mark.parametrize(
    ("selection", "message", "hint"),
    [
        ({"plate": "R"}, "no measured plate R", "P, Q 2"),
        ({"plate": "P", "well": "Z9"}, "no measured well Z9 on plate P", "A1, it's \\xff 100%"),
        ({"plate": "Q 2", "well": "it's \uf7ff 100%"}, "xff 100% on plate Q 2", "are: A1."),
        ({"plate": "P", "well": "A1", "from_hours": 50}, "of well A1 of plate P", "4, from 0 to 1"),
        ({"well": "A1", "timepoint": 9}, "in that range", "frames 1 to 4"),
        ({"well": "it's \uf7ff 100%", "timepoint": 9}, "in that range", "without frame numbers"),
        ({"path": "/e/none.jpg"}, "not in the ledger", "export"),
        ({"path": "/e/P/A1/q1.jpg", "plate": "P"}, "not in that range", "plate Q 2, well A1"),
        ({"event": 3}, "no event 3", "history"),
    ],
)
def test_nothing_selected_says_what_there_is(
    two_plates: Database, selection: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(SpheroiddError) as caught:
        hours_of(two_plates, **selection)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_image_that_failed_says_so(two_plates: Database) -> None:
    with two_plates.write() as sql:
        sql.execute(
            "UPDATE images SET state = 'failed', reason = 'torn', failed_from = 'waiting'"
            " WHERE path = '/e/P/A1/q1.jpg'"
        )
    with pytest.raises(SpheroiddError, match=r"q1\.jpg is failed, not measured: torn"):
        hours_of(two_plates, path="/e/P/A1/q1.jpg")


def test_nothing_measured_yet(database: Database) -> None:
    with pytest.raises(SpheroiddError, match="No image has been measured yet"):
        hours_of(database, plate="P")


def test_bytes_that_are_no_text(database: Database, reviews: Reviews) -> None:
    image = measured(database, "A1", 0)
    odd = to_stored("caf\udce9 'x' \N{PILE OF POO}")
    reviews.exclude(seen(database, image), LATER, who=odd, reason=odd)
    [event] = past(database)
    assert (event["who"], event["reason"]) == (odd, odd)


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: selected(reader, Selection(plate="P", well="A1")),
        lambda reader: what_waits(reader, Selection(plate="P")),
        lambda reader: outlines(reader, "P"),
    ],
)
def test_of_a_plate_only_its_own_measurements_are_read(
    two_plates: Database, ask: Callable[[Reader], object]
) -> None:
    plan = plan_of(two_plates, ask)
    reads = [step for step in plan if re.match(r"(SCAN|SEARCH) m\b", step)]
    found_before = {"SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"}
    of_its_images = {"SEARCH m USING INDEX measurements_current (image_id=?)"}
    assert set(reads) - found_before == of_its_images, plan
    scans = [step for step in plan if step.startswith("SCAN i")]
    assert scans == [] or any("MATERIALIZE" in step for step in plan), "`growth` reads them all"


# -- what waits --------------------------------------------------------------------------


def waiting(database: Database, flag: str | None = None, **selection: Any) -> list[dict[str, Any]]:
    with Reader(database.path) as reader:
        rows, total = what_waits(reader, Selection(**selection), flag)
    assert len(rows) == total
    return rows


def test_the_worst_comes_first(database: Database) -> None:
    slight = measured(database, "A1", 0)
    gross = measured(database, "A1", 3)
    both = measured(database, "A2", 0)
    below = measured(database, "A2", 3)
    bare = measured(database, "A3", 0, [])  # flagged no_spheroid, without a check
    measured(database, "A3", 3)  # nothing to look at
    set_checks(database, slight, area_jump=(0.2, 0.15))
    set_checks(database, gross, area_jump=(0.9, 0.15))
    set_checks(database, both, area_jump=(0.16, 0.15), several_objects=(2, 1))
    set_checks(database, below, low_confidence=(0.1, 0.8))  # a limit from below
    rows = waiting(database)
    assert [row["image_id"] for row in rows] == [both, gross, below, slight, bare]
    assert rows[1]["checks"] == {"area_jump": {"value": 0.9, "limit": 0.15}}
    assert rows[1]["excess"] == pytest.approx(5)
    assert rows[0]["flags"] == ["area_jump", "several_objects"]
    assert (rows[4]["flags"], rows[4]["checks"]) == (["no_spheroid"], {})
    with Reader(database.path) as reader:
        for limit in range(1, 7):
            assert what_waits(reader, Selection(), limit=limit) == (rows[:limit], 5)
    assert [row["image_id"] for row in waiting(database, "area_jump")] == [both, gross, slight]
    assert waiting(database, "area") == waiting(database, "area_jum_") == []
    assert [row["image_id"] for row in waiting(database, well="A2", to_hours=0)] == [both]


def test_what_is_settled_waits_no_more(database: Database, reviews: Reviews) -> None:
    images = [measured(database, "A1", hours, [9.0, 8.0]) for hours in (0, 1, 2, 3)]
    for image in images:
        set_checks(database, image, area_jump=(0.9, 0.15))
    subjects = seen(database, *images)
    reviews.confirm(subjects[:1], LATER, who="Ada")
    reviews.exclude(subjects[1:2], LATER, who="Ada", reason="x")
    reviews.choose(subjects[2:3], 2, LATER, who="Ada")
    assert [row["image_id"] for row in waiting(database)] == images[3:]
    with Reader(database.path) as reader:
        [counts] = plate_counts(reader)
    assert (counts["measured"], counts["to_review"], counts["excluded"]) == (4, 1, 1)
    reviews.restore(seen(database, *images), LATER, who="Ada")
    assert len(waiting(database)) == 4
    with Reader(database.path) as reader:
        [counts] = plate_counts(reader)
    assert (counts["seen"], counts["to_review"], counts["excluded"]) == (4, 4, 0)
