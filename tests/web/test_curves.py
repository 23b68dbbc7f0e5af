"""Growth curves in memory: the numbers of the view `growth`, kept up with what changes."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from made_up import NOW, RECIPE, admission, measured
from spheroidd.intake.naming import natural_key
from spheroidd.store.changes import changes_since, newest
from spheroidd.store.choices import NO_SPHEROID
from spheroidd.store.database import Database, timestamp
from spheroidd.store.frames import Checked
from spheroidd.store.histories import Histories
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.results import MeasurementRecord, Results
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.store.runs import Runs
from spheroidd.store.viewing import well_frames, well_names
from spheroidd.web.curves import Curves

ON_THE_WAY = ("ready", "segmented")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database(tmp_path_factory.mktemp("curves") / "spheroidd.db") as db:
        db.sql.execute("PRAGMA synchronous = OFF")
        yield db


def opener(db: Database) -> Any:
    def opened() -> AbstractContextManager[Reader]:
        return Reader(db.path)

    return opened


@pytest.fixture(scope="module")
def curves(database: Database) -> Curves:
    """They live as long as the database, as in the web process."""
    return Curves(opener(database))


NUMBERS = count()


@dataclass
class Life:
    """A plate of its own in a database, and all that can happen to it."""

    db: Database
    plate: str = field(default_factory=lambda: f"plate {next(NUMBERS)}")
    images: list[int] = field(default_factory=list)
    run: int | None = None

    def measure(self, well: str, hours: float, area: float | None, **said: Any) -> None:
        """None: an empty well."""
        name = said.pop("name", f"{next(NUMBERS)}.jpg")
        image = measured(
            self.db, well, hours, () if area is None else (area,), name=name, plate=self.plate,
            plate_key=natural_key(self.plate), sha256=f"{next(NUMBERS)}", **said,
        )  # fmt: skip
        self.images.append(image)

    def replace(self, which: int) -> None:
        """New content at the same path."""
        [row] = self._image(which)
        self.images.remove(row["id"])
        self.measure(row["well"], 1.0, 777.0, name=row["name"], field=row["field"])

    def fail(self, well: str) -> None:
        """A new image that is complete and can't be segmented."""
        image = self._complete(well)
        Ledger(self.db).fail(image, "no model took it", NOW, permanent=True)

    def flag(self, which: int, flags: str) -> None:
        [row] = self._image(which)
        Histories(self.db).recheck([Checked(row["measurement"], flags, '{"dark": {}}')])

    def review(self, which: int, action: str) -> None:
        [row] = self._image(which)
        reviews, subject = Reviews(self.db), Subject(row["id"], row["measurement"])
        if action == "choose":
            reviews.choose([subject], NO_SPHEROID, NOW, who="Ada")
        else:
            getattr(reviews, action)([subject], NOW, who="Ada", reason="a bubble")

    def again(self, which: int) -> None:
        """Measured by another recipe, and shown where that run is the chosen one."""
        runs, [row] = Runs(self.db), self._image(which)
        self.run = runs.again(self.plate, RECIPE, NOW)
        [image] = [one for one in runs.todo(self.plate, self.run) if one.id == row["id"]] or [None]
        if image is None:
            return
        results = Results(self.db)
        batch = results.open_batch(
            NOW, plate=self.plate, pipeline="mask", pipeline_sha256="x", cellprofiler="4",
            n_images=1, folder="",
        )  # fmt: skip
        record = MeasurementRecord(self.run, 0, batch, 321.0, None, None, 0, ["dark"], None, "0")
        runs.measured(image, results.segmentation(image.id), record, NOW)

    def use(self, again: bool) -> None:
        Runs(self.db).use(self.plate, self.run if again else None)

    def _complete(self, well: str) -> Image:
        ledger, name = Ledger(self.db), f"{next(NUMBERS)}.jpg"
        ledger.arrive("/e", [(f"/e/{name}", 1, 1)], NOW)
        [image] = ledger.waiting("/e")
        facts = admission(well, name, plate=self.plate, plate_key=natural_key(self.plate))
        ledger.admit(image.id, facts, NOW)
        [image] = ledger.claim("ready", NOW)
        return image

    def _image(self, which: int) -> list[dict[str, Any]]:
        return self.db.rows(
            "SELECT i.id, i.well, i.name, i.field, m.id AS measurement FROM images i"
            " JOIN measurements m ON m.image_id = i.id AND m.current WHERE i.id = :id",
            {"id": self.images[which % len(self.images)]},
        )

    def shown(self) -> dict[str, Any]:
        """Well → everything that a page draws of it; hours follow from the plate's start."""
        with Reader(self.db.path) as reader:
            found = {}
            for well in well_names(reader, self.plate):
                frames = well_frames(reader, self.plate, well)
                for frame in frames:
                    del frame["checks"], frame["hours"]
                    if frame["state"] in ON_THE_WAY:
                        frame["state"], frame["mask"] = "on its way", None
                found[well] = frames
            return found


def seq_of(db: Database) -> int:
    with Reader(db.path) as reader:
        return newest(reader)


def changed(db: Database, seq: int) -> set[tuple[str, str]]:
    with Reader(db.path) as reader:
        return {(plate, well) for plate, well, _ in changes_since(reader, seq)}


def agrees_with_growth(db: Database, plate: str, view: dict[str, Any]) -> None:
    """Every number of a view that shows all points is that of the database's own view."""
    rows = db.rows(
        "SELECT g.*, i.id, i.field, i.channel FROM growth g JOIN images i"
        " ON i.path = g.image_path AND i.state <> 'superseded' WHERE g.plate = :plate"
        " ORDER BY i.time_key, i.id",
        {"plate": plate},
    )
    unit = "µm²" if rows and all(row["area_um2"] is not None for row in rows) else "px"
    assert view["unit"] == unit
    expected: dict[Any, list[Any]] = {}
    for row in rows:
        key = row["well"], row["field"], row["channel"]
        area = row["area_um2"] if unit == "µm²" else row["area_px"]
        marks = [bool(row["flags"]), bool(row["excluded"])]
        expected.setdefault(key, []).append(
            [row["id"], row["hours"], area, row["relative_area_pct"], *marks]
        )
    found = {
        (well["well"], one["field"], one["channel"]): [
            [*numbers, at in one["flagged"], at in one["excluded"]]
            for at, numbers in enumerate(
                zip(one["image"], one["hours"], one["area"], one["relative"], strict=True)
            )
        ]
        for well in view["wells"]
        for one in well["series"]
    }
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        assert [point[0] for point in found[key]] == [point[0] for point in points]
        for point, truth in zip(found[key], points, strict=True):
            assert point[3:] == [pytest.approx(truth[3], abs=0.0011), *truth[4:]]
            assert point[1:3] == [pytest.approx(truth[1], abs=0.00011), truth[2]]


WELL = st.sampled_from(["A1", "A2", "B10", "odd/\uf7e9"])
WHICH = st.integers(0, 30)
STEP = st.one_of(
    st.tuples(
        st.just("measure"),
        WELL,
        st.integers(-5, 50).map(lambda n: n / 3),
        st.one_of(st.none(), st.floats(1, 5000), st.integers(1, 5000).map(float)),
        st.fixed_dictionaries(
            {},
            optional={
                "field": st.sampled_from(["1", "2"]),
                "channel": st.sampled_from(["BF", ""]),
                "pixel_size_um": st.sampled_from([None, 1.3]),
                "time_key": st.sampled_from(["frame 000000000001", "frame 000000000002"]),
            },
        ),
    ),
    st.tuples(st.just("replace"), WHICH),
    st.tuples(st.just("fail"), WELL),
    st.tuples(st.just("flag"), WHICH, st.sampled_from(["", "dark", "dark,area_jump"])),
    st.tuples(
        st.just("review"), WHICH, st.sampled_from(["exclude", "restore", "confirm", "choose"])
    ),
    st.tuples(st.just("again"), WHICH),
    st.tuples(st.just("use"), st.booleans()),
)
START = [("measure", "A1", 0.0, 1600.0, {}), ("measure", "A1", 2.0, 1601.0, {})]


@settings(
    max_examples=40,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEP, max_size=14))
def test_whatever_happens_is_seen_and_nothing_else_is_read(
    database: Database, curves: Curves, steps: list[Any]
) -> None:
    life = Life(database)
    for step in [*START, *steps]:
        before, seq = life.shown(), seq_of(database)
        name, *values = step
        said = values.pop() if name == "measure" else {}
        getattr(life, name)(*values, **said)
        after = life.shown()
        differs = {well for well in before | after if before.get(well) != after.get(well)}
        assert {(life.plate, well) for well in differs} <= changed(database, seq)
        fresh = Curves(opener(database)).view_json(life.plate)
        assert curves.view_json(life.plate) == fresh
    agrees_with_growth(database, life.plate, json.loads(fresh))


@pytest.fixture
def plate(database: Database) -> Life:
    life = Life(database)
    for frame in range(6):
        for well in ("A1", "A2"):
            life.measure(well, frame, 1000.0 + 100 * frame)
    return life


def test_the_view_is_what_the_pages_expect(plate: Life, curves: Curves) -> None:
    plate.flag(2, "dark")  # A1, second frame
    plate.flag(4, "dark,area_jump")
    plate.review(4, "confirm")
    plate.flag(6, "dark")
    plate.review(6, "exclude")
    plate.fail("H12")
    view = curves.view(plate.plate)
    wells = view.pop("wells")
    assert view.pop("hours") == {"first": 0.0, "last": 5.0}
    assert view == {
        "plate": plate.plate,
        "seq": seq_of(plate.db),
        "unit": "µm²",
        "start": timestamp(NOW),
        "geometry": {"kind": "plate", "wells": 96, "rows": 8, "columns": 12},
    }
    first, second, third = wells
    assert first == {
        "well": "A1",
        "row": 0,
        "column": 0,
        "flags": 2,
        "to_review": 1,
        "images": 6,
        "series": [
            {
                "field": None,
                "channel": None,
                "hours": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
                "area": [4000.0, 4400.0, 4800.0, 5200.0, 5600.0, 6000.0],
                "relative": [100.0, 110.0, 120.0, 130.0, 140.0, 150.0],
                "image": plate.images[::2],
                "flagged": [1, 2, 3],
                "excluded": [3],
                "first_area": 4000.0,
            }
        ],
        "last": {
            "image": plate.images[10],
            "hours": 5.0,
            "area": 6000.0,
            "relative": 150.0,
            "excluded": False,
            "captured_at": timestamp(NOW + 5 * 3600),
            "measured_at": timestamp(NOW),
            "flags": "",
        },
    }
    assert (second["well"], second["column"]) == ("A2", 1)
    assert third == {
        "well": "H12", "row": 7, "column": 11, "flags": 0, "to_review": 0, "images": 0,
        "series": [], "last": None,
    }  # fmt: skip
    assert curves.wells(plate.plate, ["A2", "gone"]) == {**view, "wells": [second]}


def test_a_plate_without_an_image_has_no_wells_and_takes_no_place(curves: Curves) -> None:
    view = curves.view("nothing")
    assert (view["wells"], view["unit"], view["hours"]) == ([], "px", {"first": None, "last": None})
    assert "nothing" not in curves.plates


def test_fewer_points_keep_what_is_flagged(plate: Life, curves: Curves) -> None:
    plate.flag(2, "dark")
    plate.flag(6, "dark")
    plate.review(6, "exclude")
    for points in (0, 3, 4):
        [first, second] = curves.view(plate.plate, points)["wells"]
        [one], [other] = first["series"], second["series"]
        hours = one["hours"]
        assert {0.0, 1.0, 3.0, 5.0} <= set(hours)
        assert len(hours) < 6
        assert [hours[at] for at in one["flagged"]] == [1.0, 3.0]
        assert [hours[at] for at in one["excluded"]] == [3.0]
        assert len(other["hours"]) == max(3, points)
        assert first["flags"] == 1


def test_only_what_changed_is_read(database: Database, plate: Life) -> None:
    """Counted in statements, and in rows of points."""
    reader = Reader(database.path)
    asked: list[str] = []
    points: list[str] = []
    reader._connection.set_trace_callback(asked.append)
    real = reader.tuples
    reader.tuples = lambda *said: (points.append(row[0]) or row for row in real(*said))  # type: ignore[assignment,func-returns-value]

    class Lent:
        def __enter__(self) -> Reader:
            asked.clear()
            points.clear()
            return reader

        def __exit__(self, *_: object) -> None: ...

    curves = Curves(Lent)  # type: ignore[arg-type]
    for well in ("B1", "B2", "B3"):
        plate.measure(well, 0, 5.0)
    curves.view(plate.plate)
    assert len(points) == 15
    curves.view(plate.plate)
    assert (len(asked), points) == (1, [])  # is there anything new?
    plate.review(0, "exclude")
    curves.view(plate.plate)
    assert points == ["A1"] * 6
    Life(database).measure("A1", 0, 5.0)
    curves.view(plate.plate)
    assert points == []  # another plate
    reader.close()


def test_memory_is_bounded_and_the_plate_asked_for_last_stays(database: Database) -> None:
    lives = [Life(database) for _ in range(4)]
    for life in lives:
        for frame in range(3):
            life.measure("A1", frame, 100.0)
    curves = Curves(opener(database), most_bytes=12_000)
    for life in lives:
        curves.view(life.plate)
        assert curves.plates[-1] == life.plate
    names = [life.plate for life in lives]
    assert curves.plates == names[-len(curves.plates) :]
    assert 1 < len(curves.plates) < 4
    curves.view(names[2])
    assert curves.plates[-1] == names[2]
    tiny = Curves(opener(database), most_bytes=0)
    for life in lives:
        tiny.view(life.plate)
        assert tiny.plates == [life.plate]


def test_a_database_that_was_restored_is_read_anew(database: Database, tmp_path: Path) -> None:
    life, other = Life(database), tmp_path / "older.db"
    life.measure("A1", 0, 100.0)
    with Database(other) as older:
        Life(older, life.plate).measure("C7", 0, 50.0)
    path = database.path
    curves = Curves(lambda: Reader(path))
    assert [well["well"] for well in curves.view(life.plate)["wells"]] == ["A1"]
    path = other
    assert [well["well"] for well in curves.view(life.plate)["wells"]] == ["C7"]


def test_many_viewers_at_once_while_images_come(database: Database) -> None:
    lives = [Life(database) for _ in range(3)]
    for life in lives:
        life.measure("A1", 0, 100.0)
    curves = Curves(opener(database), most_bytes=6_000)  # plates come and go meanwhile
    done = threading.Event()

    def look(number: int) -> int:
        looks = 0
        while not done.is_set():
            plate = lives[(number + looks) % 3].plate
            assert curves.view(plate)["plate"] == plate
            curves.wells(plate, ["A1", "A2"])
            looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look, number) for number in range(4)]
        try:
            for frame in range(20):
                for life in lives:
                    life.measure(f"A{frame % 2 + 1}", frame, 100.0 + frame)
        finally:
            done.set()
        assert all(one.result() for one in looking)
    for life in lives:
        fresh = Curves(opener(database)).view_json(life.plate)
        assert curves.view_json(life.plate) == fresh
        agrees_with_growth(database, life.plate, json.loads(fresh))
