"""The stage with the real CellProfiler, whose worker hangs, dies of an image, or wears out."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import poisoned_worker
import pytest

from made_up import NOW, segmented
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import WORKER, Engine, worker_command
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.stage import MeasureStage
from spheroidd.measure.supervision import Limits
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results
from spheroidd.store.runs import Runs

Draw = Callable[..., np.ndarray]
pytestmark = pytest.mark.timeout(300)
PLENTY = 100.0  # a busy machine is no failure


class Bench:
    """A state folder, the stage, and an engine of the test's own."""

    def __init__(self, root: Path, log: Any) -> None:
        self.folder = StateFolder(root)
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ledger, self.results = Ledger(self.database), Results(self.database)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._log = log
        self.engine: Engine
        self.stage: MeasureStage
        self.now = NOW

    def build(self, command: Sequence[str], pipeline: Path, batch: int, **options: Any) -> None:
        usual: dict[str, Any] = {"ladder": (PLENTY,) * 3, "clock": lambda: 20 * time.monotonic()}
        self.engine = Engine(command, log=self._tell, **{**usual, **options})
        self.engine.start()
        sha256 = self.engine.validate(pipeline).sha256
        protocol = Protocol(pipeline, "p", sha256, "Spheroids", Rule(batch, 0), "0")
        parts = (self.ledger, self.results, Runs(self.database), self.folder, self.engine)
        self.stage = MeasureStage(*parts, protocol, self._log)

    def _tell(self, event: str, *, level: str = "info", **fields: object) -> None:
        self.told.append((event, {"level": level, **fields}))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.told if event == name]

    def segmented(self, well: str, mask: np.ndarray) -> None:
        """An image that waits for CellProfiler; its mask is stored as it is given, uint8."""
        segmented(self.database, self.folder, well, mask)

    def work(self, until: Callable[[], bool], pace: float = 0.05) -> None:
        """Steps with invented times, so many seconds apart, until it is so."""
        end = time.monotonic() + PLENTY
        while not until():
            assert time.monotonic() < end, self.told[-5:]
            self.now += pace
            self.ledger.retry_due(self.now)
            if not self.stage.step(self.now):
                time.sleep(0.02)  # the engine's back-off passes, twenty times as fast

    def count(self, state: str) -> int:
        return len(self.database.rows(f"SELECT 1 FROM images WHERE state = '{state}'"))

    def at_rest(self, deaths: int) -> bool:
        return len(self.events("worker.failed")) == deaths and not self.count("segmented")

    def areas(self) -> dict[str, float]:
        rows = self.database.rows("SELECT well, area_px FROM growth")
        return {row["well"]: row["area_px"] for row in rows}


@pytest.fixture
def bench(tmp_path: Path, captured_log: Any) -> Iterator[Bench]:
    one = Bench(tmp_path / "state", captured_log[0])
    yield one
    one.engine.stop()
    one.database.close()


def test_a_worker_that_freezes_in_a_batch_is_replaced_and_all_is_measured(
    bench: Bench, cellprofiler: Path, saving: Path, tmp_path: Path, disc: Draw
) -> None:
    command = worker_command(cellprofiler, tmp_path / "scratch")
    bench.build(command, saving, 12, deadline=lambda _: 5.0, ladder=(0.3, 0.3, PLENTY))
    frozen = bench.engine.pid
    assert frozen
    for number in range(12):
        bench.segmented(f"A{number}", disc(radius=20 + number).astype(np.uint8) * 255)

    def freeze() -> None:
        end = time.monotonic() + PLENTY
        while not any(bench.folder.root.rglob("*_outline.png")) and time.monotonic() < end:
            time.sleep(0.002)
        os.kill(frozen, signal.SIGSTOP)

    thread = threading.Thread(target=freeze)
    thread.start()
    bench.work(lambda: bench.count("measured") == 12)
    thread.join()
    [failed] = bench.events("worker.failed")
    assert "did not answer in time" in failed["error"]
    assert [f["after"] for f in bench.events("worker.wont_end")] == ["stdin", "SIGTERM"]
    assert bench.events("worker.stopped")[0] == {
        "level": "info", "pid": frozen, "code": -signal.SIGKILL
    }  # fmt: skip
    assert bench.database.rows("SELECT * FROM transitions WHERE to_state = 'failed'") == []
    # and the areas are those of the discs, whatever the worker was in the middle of
    expected = {f"A{number}": float(disc(radius=20 + number).sum()) for number in range(12)}
    assert bench.areas() == expected


def test_an_image_that_kills_the_worker_is_set_aside_and_all_others_are_measured(
    bench: Bench, cellprofiler: Path, pipelines: Path, tmp_path: Path, disc: Draw
) -> None:
    command = worker_command(cellprofiler, tmp_path / "scratch")
    at = command.index(str(WORKER))
    command[at : at + 1] = [poisoned_worker.__file__, str(WORKER)]
    bench.build(command, pipelines / "mask.cppipe", 24)
    good = disc().astype(np.uint8) * 255
    for number in range(24):
        bench.segmented(f"A{number}", np.where(good, 77, 0).astype(np.uint8)
                        if number == 5 else good)  # fmt: skip
    bench.work(lambda: bench.count("measured") == 23 and bench.count("failed") == 1)
    assert len(bench.events("worker.failed")) == 2, "with its batch, and alone"
    assert set(bench.areas()) == {f"A{number}" for number in range(24)} - {"A5"}
    [row] = bench.database.rows("SELECT well, reason FROM images WHERE state = 'failed'")
    assert row["well"] == "A5"
    assert "alone in its batch, it failed CellProfiler as a whole" in row["reason"]
    assert "code -9" in row["reason"]
    assert bench.engine.state == "ready"

    # Its own tries end as well, once others have gone well between them.
    for number in range(24, 27):
        bench.segmented(f"A{number}", good)
        bench.now += 3600
        bench.work(partial(bench.at_rest, deaths=number - 21))
    assert bench.count("measured") == 26
    [row] = bench.database.rows("SELECT state, next_try_at FROM images WHERE well = 'A5'")
    assert row == {"state": "failed", "next_try_at": None}


def test_a_worn_worker_is_replaced_between_two_batches(
    bench: Bench, cellprofiler: Path, pipelines: Path, tmp_path: Path, disc: Draw
) -> None:
    command = worker_command(cellprofiler, tmp_path / "scratch")
    limits = Limits(memory_bytes=None, images=3)
    bench.build(command, pipelines / "mask.cppipe", 3, limits=limits)
    for number in range(6):
        bench.segmented(f"A{number}", disc(radius=20 + number).astype(np.uint8) * 255)
    bench.work(lambda: bench.count("measured") == 6)
    [recycled] = bench.events("worker.recycled")
    assert (recycled["reason"], recycled["images"]) == ("images", 3)
    assert recycled["memory_mib"] > 50, "the real CellProfiler's"
    assert not bench.events("worker.failed")
    assert not bench.events("worker.wont_end")
    assert bench.database.rows("SELECT max(attempts) AS most FROM images") == [{"most": 0}]
    assert bench.areas() == {f"A{n}": float(disc(radius=20 + n).sum()) for n in range(6)}


def test_too_many_open_files_blames_no_image(
    bench: Bench, cellprofiler: Path, pipelines: Path, tmp_path: Path, disc: Draw
) -> None:
    """It comes up where the outline is to be written, after CellProfiler has answered."""
    command = worker_command(cellprofiler, tmp_path / "scratch")
    bench.build(command, pipelines / "mask.cppipe", 3)
    for number in range(3):
        bench.segmented(f"A{number}", disc().astype(np.uint8) * 255)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            bench.stage.step(NOW + 30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    bench.stage.hand_back()
    rows = bench.database.rows("SELECT DISTINCT state, attempts, claimed_at FROM images")
    assert rows == [{"state": "segmented", "attempts": 0, "claimed_at": None}]
    bench.work(lambda: bench.count("measured") == 3)
    assert not bench.events("worker.failed")
