"""Several workers at once: how many, who is to blame, and that nothing is lost or done twice."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from made_up import NOW, segmented
from spheroidd.measure.batches import Rule
from spheroidd.measure.crew import Crew, free_memory, workers_for
from spheroidd.measure.engine import Engine, worker_command
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.stage import MeasureStage, Unchecked
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results
from spheroidd.store.runs import Runs

Draw = Callable[..., np.ndarray]
GB = 10**9
IMAGES = 12
PLENTY = 100.0  # a busy machine is no failure


@pytest.mark.parametrize(
    ("cores", "memory", "wanted", "expected"),
    [
        (1, 8 * GB, "auto", 1),
        (2, 8 * GB, "auto", 1),
        (7, 8 * GB, "auto", 1),
        (8, 8 * GB, "auto", 2),
        (16, 8 * GB, "auto", 4),
        (128, 512 * GB, "auto", 4),
        (16, 2 * GB, "auto", 3),
        (16, GB // 4, "auto", 1),
        (2, GB // 4, 16, 16),
        (64, 64 * GB, 1, 1),
    ],
)
def test_as_many_as_cores_and_memory_allow(
    cores: int, memory: int, wanted: int | Literal["auto"], expected: int
) -> None:
    assert workers_for(cores, memory, wanted) == expected


def test_free_memory_is_some_of_what_there_is() -> None:
    assert 0 < free_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_an_image_is_to_blame_if_the_worker_it_fails_measured_others_since_the_first_time() -> None:
    crew = Crew()
    assert not crew.is_to_blame(1, 0), "the first failure proves nothing"
    crew.failed([1, 2])
    assert not crew.is_to_blame(1, 0)
    well_at = crew.well([2])
    assert crew.is_to_blame(1, well_at)
    assert not crew.is_to_blame(1, 0), "this worker may be what is broken: it never went well"
    assert not crew.is_to_blame(2, well_at), "it went well meanwhile"
    crew.failed([1])
    assert not crew.is_to_blame(1, well_at), "nobody went well since it failed again"
    crew.failed(range(100, 100 + 10_000))
    crew.well([3])
    assert not crew.is_to_blame(1, 99), "forgotten, or the memory would grow for ever"


def test_only_one_clears_up_and_nobody_begins_before() -> None:
    crew, done, clear = Crew(), [], threading.Event()

    def work() -> None:
        clear.wait(PLENTY)
        done.append(threading.current_thread().name)

    threads = [threading.Thread(target=crew.once, args=(work,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not any(not thread.is_alive() for thread in threads)
    clear.set()
    for thread in threads:
        thread.join(PLENTY)
    assert len(done) == 1


@pytest.fixture(scope="module")
def engines(cellprofiler: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    scratch = tmp_path_factory.mktemp("workers")
    both = [
        Engine(worker_command(cellprofiler, scratch / name), log=lambda *_, **__: None)
        for name in ("1", "2")
    ]
    yield both
    for engine in both:
        engine.stop()


class Bench:
    """A state folder and a stage for each of two real workers, on threads of their own."""

    def __init__(self, root: Path, engines: list[Engine], pipeline: Path, log: Any) -> None:
        self.folder = StateFolder(root)
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ledger, self.results = Ledger(self.database), Results(self.database)
        self.engines, self.stages, crew = engines, [], Crew()
        while engines[0].retry_in:  # another test has killed it
            time.sleep(0.02)
        sha256 = engines[0].validate(pipeline).sha256
        checked = Protocol(pipeline, "mask", sha256, "Spheroids", Rule(3, 0), "0")

        def check() -> Protocol:
            engines[1].validate(pipeline)
            return checked

        # The second worker comes up when there is something for it to do.
        later = Unchecked(**vars(checked), check=check, reason="")
        for engine, protocol in zip(engines, (checked, later), strict=True):
            parts = (self.ledger, self.results, Runs(self.database), self.folder, engine)
            self.stages.append(MeasureStage(*parts, protocol, log, crew=crew))

    def segmented(self, number: int, mask: np.ndarray) -> None:
        segmented(self.database, self.folder, f"A{number}", mask)

    def work(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Both stages until all is measured; `meanwhile` comes when only the first works."""

        def live(stage: MeasureStage) -> None:
            stage.start(NOW)
            end = time.monotonic() + PLENTY
            while self.left() and time.monotonic() < end:
                if not stage.step(NOW + 30):
                    time.sleep(0.02)

        threads = [threading.Thread(target=live, args=(stage,)) for stage in self.stages]
        threads[0].start()
        meanwhile()
        threads[1].start()
        for thread in threads:
            thread.join(PLENTY)

    def left(self) -> int:
        return len(self.database.rows("SELECT 1 FROM images WHERE state <> 'measured'"))

    def claimed(self) -> list[int]:
        rows = self.database.rows("SELECT id FROM images WHERE claimed_at IS NOT NULL ORDER BY id")
        return [row["id"] for row in rows]

    def batches(self) -> list[dict[str, Any]]:
        return self.database.rows("SELECT n_images, outcome FROM batches ORDER BY id")


@pytest.fixture
def bench(
    tmp_path: Path, engines: list[Engine], pipelines: Path, disc: Draw, captured_log: Any
) -> Iterator[Bench]:
    one = Bench(tmp_path / "state", engines, pipelines / "mask.cppipe", captured_log[0])
    for number in range(IMAGES):
        one.segmented(number, disc(radius=20 + number).astype(np.uint8) * 255)
    yield one
    one.database.close()


def all_measured_once(bench: Bench, disc: Draw) -> None:
    rows = bench.database.rows("SELECT well, area_px FROM growth")
    assert {row["well"]: row["area_px"] for row in rows} == {
        f"A{number}": float(disc(radius=20 + number).sum()) for number in range(IMAGES)
    }
    assert len(bench.database.rows("SELECT 1 FROM measurements")) == IMAGES
    assert not bench.claimed()


@pytest.mark.timeout(300)
def test_two_workers_share_the_work_and_one_that_is_killed_loses_nothing(
    bench: Bench, disc: Draw
) -> None:
    victim = bench.engines[0].pid
    assert victim
    os.kill(victim, signal.SIGSTOP)  # so that it is in mid-batch for sure

    def kill() -> None:
        end = time.monotonic() + PLENTY
        while not bench.claimed() and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    bench.work(kill)
    all_measured_once(bench, disc)
    assert bench.engines[0].pid != victim
    batches = bench.batches()
    assert [one["n_images"] for one in batches if "as a whole" in one["outcome"]] == [3]
    assert sum(one["n_images"] for one in batches) == IMAGES + 3


@pytest.mark.timeout(300)
def test_a_stage_hands_back_what_it_holds_itself(bench: Bench, disc: Draw) -> None:
    """One stage fails to record its batch while the other one has a batch in hand."""
    others = bench.ledger.claim("segmented", NOW, limit=3)
    with bench.database.write() as sql:
        sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON measurements"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(Exception, match="full"):
        bench.stages[0].step(NOW + 30)
    bench.stages[0].hand_back()
    assert bench.claimed() == [image.id for image in others]
    with bench.database.write() as sql:
        sql.execute("DROP TRIGGER full")
    bench.ledger.release([image.id for image in others])
    bench.work()
    all_measured_once(bench, disc)
    sizes = [one["n_images"] for one in bench.batches() if one["outcome"] == "complete"]
    assert sizes == [3] * 4, "two who claim at the same time split no batch"
