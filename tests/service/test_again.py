"""Measuring again with a scripted CellProfiler: who goes first, who is blamed, when it gives up."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from made_up import measured
from spheroidd.again import Again, Progress, Tools
from spheroidd.errors import EngineError, ImageError
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import ImageInput, ImageOutcome
from spheroidd.measure.outcome import Protocol
from spheroidd.segment.recipe import Recipe
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.images import Image
from spheroidd.store.reader import Reader


class Scripted:
    """Every image gets 50 px, but those whose wells `kills` names take the worker down."""

    version = "4.2"
    retry_in = 0.0

    def __init__(self) -> None:
        self.kills: set[str] = set()
        self.without_area: set[str] = set()
        self.undrawable: set[str] = set()
        self.begun = ""  # a spreadsheet that it writes first

    def start(self) -> None:
        pass

    def measure(
        self, _pipeline: Path, images: Sequence[ImageInput], folder: Path, *, labels_of: str
    ) -> Mapping[str, ImageOutcome]:
        assert labels_of == "Spheroids"
        assert all(image.files["Original"].is_file() for image in images)
        if self.begun:
            (folder / self.begun).write_text("ImageNumber,")
        if self.kills & {image.well for image in images}:
            raise EngineError("the worker ended without an answer")
        return {
            image.key: ImageOutcome(
                image.key, None, {"Spheroids": [self._features(image.well)]},
                labels=self._labels(folder / f"{image.key}.png", image.well),
            )
            for image in images
        }  # fmt: skip

    def _labels(self, path: Path, well: str) -> Path | None:
        if well in self.undrawable:
            return None
        Pillow.fromarray(np.ones((30, 40), np.uint16)).save(path)
        return path

    def _features(self, well: str) -> dict[str, float | None]:
        return {} if well in self.without_area else {"AreaShape_Area": 50.0}


class Bench:
    """Ten wells with an image each, measured live."""

    def __init__(self, folder: Path, log: Any) -> None:
        self.folder = StateFolder(folder)
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ids = [measured(self.database, f"A{number}", 0) for number in range(1, 11)]
        self.folder.again("P").mkdir(parents=True)
        self.reader = Reader(self.folder.database)
        self.engine, self.stopping = Scripted(), threading.Event()
        self.told: list[Progress] = []
        self.gone: set[str] = set()
        self.log = log

    def read(self, image: Image) -> np.ndarray:
        if image.well in self.gone:
            raise ImageError("It is gone.")
        return np.zeros((30, 40), np.uint8)

    def tell(self, step: Progress) -> None:
        self.told.append(step)

    def again(self) -> Again:
        protocol = Protocol(Path("p"), "other", "sha", "Spheroids", Rule(4, 0), "0")
        return Again(
            "P", self.database, self.reader,
            Tools(
                folder=self.folder, read=self.read, masks=Recipe(None, "0"),
                engine=self.engine,  # type: ignore[arg-type]
                protocol=protocol, log=self.log, tell=self.tell, stopping=self.stopping,
            ),
        )  # fmt: skip

    def wells(self, run: int) -> set[str]:
        rows = self.database.rows(
            "SELECT i.well FROM measurements m JOIN images i ON i.id = m.image_id"
            f" WHERE m.run_id = {run}"
        )
        return {row["well"] for row in rows}

    def failures(self) -> dict[str, str]:
        rows = self.database.rows(
            "SELECT well, f.reason FROM run_failures f JOIN images i ON i.id = f.image_id"
        )
        return {row["well"]: row["reason"] for row in rows}


@pytest.fixture
def bench(tmp_path: Path, captured_log: Any) -> Iterator[Bench]:
    one = Bench(tmp_path, captured_log[0])
    yield one
    one.reader.close()
    one.database.close()


def test_live_images_go_first(bench: Bench) -> None:
    health = Health(bench.database)
    health.started(time.time(), pid=1, version="0")
    with bench.database.write() as sql:
        sql.execute("UPDATE images SET state = 'ready' WHERE id = ?", [bench.ids[-1]])
    during: list[int] = []

    def tell(step: Progress) -> None:
        bench.told.append(step)
        if step.waits_for:
            during.append(step.done)
        if len(during) == 2:  # the daemon is through with it
            with bench.database.write() as sql:
                sql.execute("UPDATE images SET state = 'measured' WHERE id = ?", [bench.ids[-1]])

    bench.tell = tell  # type: ignore[method-assign]
    again = bench.again()
    assert again.work()
    assert during == [0, 0], "nothing is measured again while a live image waits"
    assert len(bench.wells(again.run_id)) == 10, "the live one is in it too"
    assert bench.told[-1] == Progress(again.run_id, total=10, done=10)


def test_waiting_for_live_images_ends_with_the_first_signal(bench: Bench) -> None:
    Health(bench.database).started(time.time(), pid=1, version="0")
    with bench.database.write() as sql:
        sql.execute("UPDATE images SET state = 'ready' WHERE id = ?", [bench.ids[-1]])
    bench.tell = lambda step: bench.stopping.set()  # type: ignore[method-assign]
    again = bench.again()
    assert not again.work()
    assert bench.wells(again.run_id) == set()


def test_one_poisonous_image_fails_alone(bench: Bench) -> None:
    bench.engine.kills, bench.engine.without_area, bench.gone = {"A3"}, {"A5"}, {"A7"}
    bench.engine.begun = "Image.csv"
    again = bench.again()
    assert again.work()
    half = bench.database.rows("SELECT folder FROM batches WHERE outcome LIKE 'failed as a whole%'")
    assert len(half) == 2, "with its batch, and alone"
    left = {path.parent for path in (bench.folder.root / "batches").rglob("*.csv")}
    assert left, "of the others"
    assert left.isdisjoint(bench.folder.root / row["folder"] for row in half)
    assert bench.wells(again.run_id) == {f"A{n}" for n in range(1, 11)} - {"A3", "A5", "A7"}
    reasons = bench.failures()
    assert "as a whole" in reasons["A3"]
    assert "AreaShape_Area" in reasons["A5"], "never an area of 0"
    assert reasons["A7"] == "It is gone."
    assert again.progress.failed == 3
    assert list(bench.folder.again("P").glob("*.npy")) == []

    bench.engine.kills, bench.engine.without_area, bench.gone = set(), set(), set()
    once_more = bench.again()
    assert once_more.run_id == again.run_id
    assert once_more.work()
    assert len(bench.wells(again.run_id)) == 10
    assert bench.failures() == {}


def test_a_worker_that_fails_for_everybody_ends_it(bench: Bench) -> None:
    bench.engine.kills = {f"A{number}" for number in range(1, 11)}
    again = bench.again()
    with pytest.raises(EngineError, match="without an answer"):
        again.work()
    assert len(bench.failures()) == 3
    assert bench.database.rows(f"SELECT finished_at FROM runs WHERE id = {again.run_id}") == [
        {"finished_at": None}
    ]
    bench.engine.kills = {"A1", "A2", "A3"}  # it was them after all: the others are tried first
    again = bench.again()
    with pytest.raises(EngineError):
        again.work()
    assert len(bench.wells(again.run_id)) == 7


def test_what_was_stored_live_stays_as_it_was(bench: Bench) -> None:
    before = bench.database.rows("SELECT * FROM measurements ORDER BY id")
    assert before
    assert bench.again().work()
    after = bench.database.rows("SELECT * FROM measurements ORDER BY id")
    assert after[: len(before)] == before


def test_a_batch_that_can_not_be_recorded_is_closed(bench: Bench) -> None:
    again = bench.again()
    with bench.database.write() as sql:
        sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON measurements"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        again.work()
    [row] = bench.database.rows("SELECT outcome, finished_at FROM batches ORDER BY id DESC LIMIT 1")
    assert row["outcome"] == "could not be recorded: the disk is full"
    assert row["finished_at"]
    assert list(bench.folder.root.rglob("batches/**/*.png")) == []


def test_outlines_are_drawn_anew_beside_those_of_before(bench: Bench, captured_log: Any) -> None:
    bench.engine.undrawable = {"A2", "A4"}
    bench.engine.without_area = {"A5"}
    again = bench.again()
    assert again.work()
    rows = bench.database.rows(
        "SELECT i.well, m.outline_path FROM measurements m JOIN images i ON i.id = m.image_id"
        f" WHERE m.run_id = {again.run_id}"
    )
    paths = {row["well"]: row["outline_path"] for row in rows}
    assert {well for well, path in paths.items() if path is None} == {"A2", "A4"}
    for path in filter(None, paths.values()):
        assert f"/{bench.folder.run(again.run_id)}/" in path
        with Pillow.open(bench.folder.root / path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (40, 30))
    [warning] = [event for event in captured_log[1] if event["level"] == "warning"]
    assert (warning["images"], warning["plate"]) == (2, "P")
    assert list(bench.folder.root.rglob("batches/**/*.png")) == []
