"""Runs beside one another: what growth shows, what a person settled, what is still to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up import NOW, RECIPE, measured
from spheroidd.store import run_reading
from spheroidd.store.database import Database, timestamp
from spheroidd.store.health import Health
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.reading import growth
from spheroidd.store.results import MeasurementRecord, ObjectRecord, Results, SegmentationRecord
from spheroidd.store.runs import Recipe, Runs, Shown

OTHER = Recipe("u2netp", "md5", 0.7, None, "mask", "x")


class Bench:
    """Three images measured live (A1 twice, A2 once), areas 100, 200, 300."""

    def __init__(self, folder: Path) -> None:
        self.db = Database(folder / "spheroidd.db")
        self.runs = Runs(self.db)
        self.ids = [
            measured(self.db, well, hours, (area,))
            for well, hours, area in (("A1", 0, 100.0), ("A1", 3, 200.0), ("A2", 0, 300.0))
        ]
        with self.db.write() as sql:
            sql.execute("DELETE FROM unjudged")

    def image(self, image_id: int) -> Image:
        return next(i for i in Ledger(self.db).in_state("measured") if i.id == image_id)

    def again(self, run: int, image_id: int, area: float, **said: Any) -> bool:
        image = said.pop("image", None) or self.image(image_id)
        batch = Results(self.db).open_batch(
            NOW, plate="P", pipeline="mask", pipeline_sha256="x", cellprofiler="4",
            n_images=1, folder="",
        )  # fmt: skip
        found = [ObjectRecord("Spheroids", 1, area, {"AreaShape_Area": area})]
        segmentation = SegmentationRecord(
            "u2netp", "md5", 0.7, "CPU", 0.9, 7, f"m{run}", f"w{run}", 0.1, "0"
        )
        record = MeasurementRecord(run, 0, batch, area, None, None, 1, [], None, "0", 0, found)
        return self.runs.measured(image, said.get("segmentation", segmentation), record, NOW)

    def areas(self) -> list[float]:
        with Reader(self.db.path) as reader:
            return [row["area_px"] for row in growth(reader)]

    def of(self, run: int | None) -> list[float]:
        with Reader(self.db.path) as reader:
            return [row["area_px"] for row in run_reading.areas(reader, "P", run)]

    def listed(self) -> list[dict[str, Any]]:
        with Reader(self.db.path) as reader:
            return run_reading.runs(reader, "P")

    def unjudged(self) -> set[str]:
        return {row["well"] for row in self.db.rows("SELECT well FROM unjudged")} - {""}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.db.close()


def test_a_run_is_shown_when_it_is_chosen_and_not_before(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    for image_id, area in zip(bench.ids, (90.0, 180.0, 0.0), strict=True):
        assert bench.again(run, image_id, area)
    assert bench.areas() == [100, 200, 300]
    assert bench.unjudged() == set()
    assert bench.runs.use("P", run) == Shown(images=3, lacking=0, settled=0)
    assert bench.areas() == [90, 180, 0]
    assert bench.unjudged() == {"A1", "A2"}
    assert bench.of(None) == [100, 200, 300]
    assert bench.of(run) == [90, 180, 0]
    assert [row["chosen"] for row in bench.listed()] == [0, 1]
    assert bench.runs.use("P", None) == Shown(3, 0, 0)
    assert bench.areas() == [100, 200, 300]


def test_an_image_that_the_run_lacks_is_shown_as_it_was_measured_live(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    bench.again(run, bench.ids[1], 180)
    assert bench.runs.use("P", run) == Shown(images=3, lacking=2, settled=0)
    assert bench.areas() == [100, 180, 300]
    measured(bench.db, "A2", 3, (400.0,))  # it comes while the run is chosen
    assert bench.areas() == [100, 180, 300, 400]
    [live, again] = bench.listed()
    assert (live["images"], live["shown"], live["total"]) == (4, 3, 4)
    assert (again["images"], again["shown"], again["total"]) == (1, 1, 4)


def test_a_chosen_run_that_goes_on_is_shown_at_once(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    bench.runs.use("P", run)
    with bench.db.write() as sql:
        sql.execute("DELETE FROM unjudged")
    bench.again(run, bench.ids[2], 280)
    assert bench.areas() == [100, 200, 280]
    assert bench.unjudged() == {"A2"}


def test_what_a_person_settled_is_only_replaced_by_a_person(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    bench.runs.use("P", run)
    with bench.db.write() as sql:
        sql.execute(
            "UPDATE measurements SET decision = 'confirmed' WHERE image_id = ?", [bench.ids[0]]
        )
        sql.execute("UPDATE images SET excluded = 1 WHERE id = ?", [bench.ids[1]])
    for image_id in bench.ids[:2]:
        bench.again(run, image_id, 50)
    assert bench.areas() == [100, 200, 300], "the confirmed and the excluded one stay"
    assert bench.runs.use("P", run) == Shown(images=3, lacking=1, settled=1)
    assert bench.areas() == [50, 50, 300]
    with Reader(bench.db.path) as reader:
        assert [row["excluded"] for row in growth(reader)] == [0, 1, 0]
    bench.runs.use("P", None)
    [row] = bench.db.rows("SELECT area_px FROM measurements WHERE current AND decision NOT NULL")
    assert row["area_px"] == 100


def test_one_that_is_taken_up_again_does_what_is_missing(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    assert run != bench.runs.live("P", RECIPE, NOW)
    assert run != bench.runs.again("P", RECIPE, NOW), "another recipe, another run"
    bench.again(run, bench.ids[0], 90)
    bench.runs.failed(run, bench.ids[1], "gone", NOW)
    assert bench.runs.again("P", OTHER, NOW + 9) == run
    assert [image.id for image in bench.runs.todo("P", run)] == [bench.ids[2], bench.ids[1]]
    bench.again(run, bench.ids[2], 270)
    bench.runs.finish(run, NOW + 10)
    bench.runs.finish(run, NOW + 20)
    row = bench.listed()[1]
    assert (row["images"], row["failures"], row["finished_at"]) == (2, 1, timestamp(NOW + 10))
    with Reader(bench.db.path) as reader:
        [failure] = run_reading.failures(reader, run)
    assert (failure["well"], failure["reason"]) == ("A1", "gone")
    bench.again(run, bench.ids[1], 190)  # it is back
    row = bench.listed()[1]
    assert (row["images"], row["failures"], row["finished_at"]) == (3, 0, None)
    assert bench.runs.todo("P", run) == []


def test_an_image_that_was_superseded_meanwhile_gets_no_result(bench: Bench) -> None:
    run = bench.runs.again("P", OTHER, NOW)
    image = bench.image(bench.ids[0])
    before = bench.db.rows("SELECT * FROM segmentations")
    with bench.db.write() as sql:
        sql.execute("UPDATE images SET state = 'superseded' WHERE id = ?", [image.id])
    assert not bench.again(run, image.id, 90, image=image)
    assert bench.db.rows("SELECT * FROM segmentations") == before
    assert bench.db.rows("SELECT 1 FROM measurements WHERE run_id = ?".replace("?", str(run))) == []
    assert [row["total"] for row in bench.listed()] == [2, 2]


def test_masks_are_the_same_only_where_everything_about_them_is(bench: Bench) -> None:
    [stored] = bench.runs.same_masks(bench.ids[0], RECIPE)
    other_pipeline = Recipe("u2netp", "md5", 0.5, None, "white-background", "y")
    assert bench.runs.same_masks(bench.ids[0], other_pipeline) == [stored]
    for changed in (
        OTHER,
        Recipe("u2netp", "other", 0.5, None, "mask", "x"),
        Recipe("u2netp", "md5", 0.5, "crop", "mask", "x"),
        Recipe("none", None, None, None, "mask", "x"),
    ):
        assert bench.runs.same_masks(bench.ids[0], changed) == []
    run = bench.runs.again("P", other_pipeline, NOW)
    bench.again(run, bench.ids[0], 95, segmentation=stored)
    [row] = bench.db.rows(f"SELECT segmentation_id FROM measurements WHERE run_id = {run}")
    assert row["segmentation_id"] == stored.id


def test_live_work_is_what_a_running_daemon_has_in_hand(bench: Bench) -> None:
    with Reader(bench.db.path) as reader:

        def work(seconds: float = 0) -> int:
            return run_reading.live_work(reader, NOW + seconds)

        with bench.db.write() as sql:
            sql.execute("UPDATE images SET state = 'ready'")
        assert work() == 0, "no daemon"
        health = Health(bench.db)
        health.started(NOW, pid=1, version="0")
        assert work() == 3
        assert work(61) == 0, "its heart has stopped"
        with bench.db.write() as sql:
            sql.execute("UPDATE images SET state = 'segmented'")
        assert work() == 0, "they wait for their batch to fill"
        Ledger(bench.db).claim("segmented", NOW, limit=2)
        assert work() == 2
        health.ended(NOW, "stopped")
        assert work() == 0


def test_of_a_plate_only_its_own_rows_are_read(bench: Bench) -> None:
    plan: list[str] = []

    class Explaining(Reader):
        def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
            plan.extend(
                row["detail"] for row in super().rows(f"EXPLAIN QUERY PLAN {sql}", parameters)
            )
            return super().rows(sql, parameters)

    with Explaining(bench.db.path) as reader:
        for run in (None, 1):
            run_reading.areas(reader, "P", run)
        assert any("images_plate (plate=?" in step for step in plan)
        run_reading.runs(reader, "P")
        run_reading.live_work(reader, NOW)
    scans = {step for step in plan if step.startswith("SCAN")}
    assert scans == {"SCAN r USING INDEX runs_plate", "SCAN service"}
    assert any("SEARCH images USING INDEX images_active (state=?" in step for step in plan)
