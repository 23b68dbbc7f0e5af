"""The stage around CellProfiler, with a scripted engine: who is blamed, and when."""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from made_up import NOW, admission
from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import ImageInput, ImageOutcome, PipelineInfo
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.stage import MeasureStage, Unchecked
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results, SegmentationRecord
from spheroidd.store.runs import Runs
from spheroidd.system.lock import only_one

PROTOCOL = Protocol(Path("p"), "mask", "sha", "Spheroids", Rule(4, 0), "0")


class Scripted:
    """Measures every image but those that `kills` names: these take the worker down."""

    version = "4.2"
    state = "ready"
    down_since = next_try_at = None
    retry_in, failures = 0.0, 0

    def __init__(self) -> None:
        self.kills: set[str] = set()
        self.down = False
        self.features: dict[str, float | None] = {"AreaShape_Area": 50.0}
        self.labels: np.ndarray | None = None  # what it hands over as the objects' picture
        self.handed: list[Path] = []
        self.spoil: tuple[str, bytes | None] | None = None  # whose picture, and what it becomes
        self.begun = ""  # a spreadsheet that it writes first
        self.file = PipelineInfo("sha", {}, (), ("Spheroids",), ())  # the pipeline as it lies there
        self.looked_at = "sha"
        self.looks = 0

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def measure(
        self, _pipeline: Path, images: Sequence[ImageInput], folder: Path, *, labels_of: str
    ) -> Mapping[str, ImageOutcome]:
        assert labels_of == "Spheroids"
        if self.begun:
            (folder / self.begun).write_text("ImageNumber,")
        if self.file.sha256 != self.looked_at:
            raise PipelineError("the pipeline was changed")
        if self.down or any(image.plate in self.kills or image.well in self.kills
                            for image in images):  # fmt: skip
            raise EngineError("the worker ended without an answer")
        return {
            image.key: ImageOutcome(
                image.key, None, {"Spheroids": [self.features]},
                labels=self._keep(folder / f"{image.key}.png", image.well),
            )
            for image in images
        }  # fmt: skip

    def validate(self, _pipeline: Path) -> PipelineInfo:
        self.looks += 1
        if self.down:
            raise EngineError("the worker ended without an answer")
        self.looked_at = self.file.sha256
        return self.file

    def _keep(self, path: Path, well: str) -> Path | None:
        if self.labels is None:
            return None
        Pillow.fromarray(self.labels).save(path)
        if self.spoil and self.spoil[0] == well:
            path.unlink()
            if self.spoil[1] is not None:
                path.write_bytes(self.spoil[1])
        self.handed.append(path)
        return path


class Bench:
    def __init__(self, tmp_path: Path, log: Any) -> None:
        self.folder = StateFolder(tmp_path)
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ledger, self.results = Ledger(self.database), Results(self.database)
        self.engine = Scripted()
        self._log = log
        self.take(PROTOCOL)
        self.now = NOW

    def take(self, protocol: Protocol) -> None:
        """A stage that begins with it."""
        self.stage = MeasureStage(
            self.ledger,
            self.results,
            Runs(self.database),
            self.folder,
            self.engine,  # type: ignore[arg-type]
            protocol,
            self._log,
        )

    def segmented(self, *wells: str) -> None:
        for well in wells:
            self.ledger.arrive("/e", [(f"/e/P/{well}/1.jpg", 1, 1)], NOW)
            [image] = self.ledger.waiting("/e")
            facts = admission(well, timepoint=1, pixel_size_um=2.0)
            self.ledger.admit(image.id, facts, NOW)
            [image] = self.ledger.claim("ready", NOW)
            np.save(self.folder.original(image.id), np.zeros((9, 9), np.uint8))
            record = SegmentationRecord("m", "md5", 0.5, "CPU", 0.9, 5, "m", "w", 0.1, "0")
            self.results.segmented(image, record, NOW)

    def work(self, hours: float = 0.0) -> None:
        """Step until at rest, bringing back what is due, for some hours."""
        for _ in range(1 + int(hours * 120)):
            self.now += 30
            self.ledger.retry_due(self.now)
            for _ in range(100):
                if not self.stage.step(self.now):
                    break

    def states(self) -> dict[str, str]:
        return {row["well"]: row["state"] for row in
                self.database.rows("SELECT well, state FROM images")}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, captured_log: Any) -> Any:
    one = Bench(tmp_path, captured_log[0])
    yield one
    one.database.close()


def test_a_poisonous_image_is_set_aside_and_takes_nobody_with_it(bench: Bench) -> None:
    bench.segmented("A1", "A2", "A3", "A4")
    bench.engine.kills = {"A2"}
    bench.work()
    assert bench.states() == {
        "A1": "measured", "A2": "failed", "A3": "measured", "A4": "measured"
    }  # fmt: skip
    [row] = bench.database.rows("SELECT reason, next_try_at FROM images WHERE well = 'A2'")
    assert "alone in its batch" in row["reason"]
    assert row["next_try_at"], "whoever killed the worker, twice, may have been another"
    for hour in range(4):  # other images go well meanwhile, so the blame is proven
        bench.segmented(f"B{hour}")
        bench.work(hours=0.6)
    [row] = bench.database.rows("SELECT state, next_try_at FROM images WHERE well = 'A2'")
    assert row == {"state": "failed", "next_try_at": None}


def test_an_engine_that_is_down_for_everybody_blames_nobody(bench: Bench) -> None:
    bench.segmented("A1", "A2", "A3")
    bench.engine.down = True
    bench.work(hours=6)
    rows = bench.database.rows("SELECT state, next_try_at FROM images WHERE state = 'failed'")
    assert all(row["next_try_at"] is not None for row in rows)
    bench.engine.down = False
    bench.work(hours=1)
    assert set(bench.states().values()) == {"measured"}


def test_an_object_without_an_area_is_a_failure_and_no_empty_well(bench: Bench) -> None:
    bench.segmented("A1")
    bench.engine.features = {"Location_Center_X": 3.0}
    bench.work()
    assert bench.states() == {"A1": "failed"}
    assert bench.database.rows("SELECT * FROM measurements") == []


def test_an_answer_that_can_not_be_used_is_one_images_failure(bench: Bench) -> None:
    bench.segmented("A1", "A2")
    with bench.database.write() as sql:  # squared, it is beyond every number
        sql.execute("UPDATE images SET pixel_size_um = 1e200 WHERE well = 'A1'")
    bench.work()
    assert bench.states() == {"A1": "failed", "A2": "measured"}
    [row] = bench.database.rows("SELECT reason FROM images WHERE well = 'A1'")
    assert "can't be used: OverflowError" in row["reason"]


def test_areas_are_physical_where_the_pixel_size_is_known(bench: Bench) -> None:
    bench.segmented("A1")
    bench.work()
    [row] = bench.database.rows("SELECT area_px, area_um2, flags FROM growth")
    assert row == {"area_px": 50.0, "area_um2": 200.0, "flags": ""}


def test_a_stop_in_the_middle_of_a_batch_makes_no_suspects(bench: Bench) -> None:
    bench.segmented("A1", "A2")
    bench.engine.down = True
    bench.stage.stop()
    bench.stage.step(NOW + 60)
    assert bench.database.rows("SELECT DISTINCT attempts, claimed_at FROM images") == [
        {"attempts": 0, "claimed_at": None}
    ]


def outlines(bench: Bench) -> list[str | None]:
    return [row["outline_path"] for row in bench.database.rows(
        "SELECT outline_path FROM measurements ORDER BY id")]  # fmt: skip


def test_the_outline_is_drawn_and_what_it_was_drawn_from_goes(bench: Bench) -> None:
    bench.segmented("A1", "A2")
    bench.engine.labels = np.zeros((9, 9), np.uint16)
    bench.engine.labels[3:6, 3:6] = 1
    bench.work()
    assert len(bench.engine.handed) == 2
    assert not any(path.exists() for path in bench.engine.handed)
    for path, well in zip(outlines(bench), ("A1", "A2"), strict=True):
        assert path is not None
        assert path.startswith(f"images/P/{well}/1.")
        assert path.endswith(".outline.jpg")
        with Pillow.open(bench.folder.root / path) as picture:
            pixels = np.asarray(picture).astype(int)
        assert pixels.shape == (9, 9, 3)
        # a red object line has no blue; JPEG blurs, and black stays darker than it
        assert pixels[3:6, 3:6, 0].mean() > 150 > pixels[0, :, 0].mean()


@pytest.mark.parametrize("labels", [None, np.ones((9, 4), np.uint16)], ids=["none", "a part"])
def test_without_an_outline_there_is_an_area_and_one_warning(
    labels: np.ndarray | None, bench: Bench, captured_log: Any
) -> None:
    bench.segmented("A1", "A2", "A3")
    bench.engine.labels = labels
    bench.work()
    assert set(bench.states().values()) == {"measured"}
    assert outlines(bench) == [None] * 3
    [warning] = [event for event in captured_log[1] if event["level"] == "warning"]
    assert "no outline picture" in warning["event"]
    assert (warning["plate"], warning["images"]) == ("P", 3)
    assert not any(path.exists() for path in bench.engine.handed)


@pytest.mark.parametrize("broken", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(40), None])
def test_a_label_picture_that_can_not_be_read_costs_the_outline_only(
    broken: bytes | None, bench: Bench, captured_log: Any
) -> None:
    bench.segmented("A1", "A2")
    bench.engine.labels = np.ones((9, 9), np.uint16)
    bench.engine.spoil = ("A1", broken)
    bench.work()
    assert bench.states() == {"A1": "measured", "A2": "measured"}
    assert [path is None for path in outlines(bench)] == [True, False]
    [warning] = [event for event in captured_log[1] if event["level"] == "warning"]
    assert warning["images"] == 1


def test_a_batch_that_can_not_be_recorded_is_closed(bench: Bench) -> None:
    bench.segmented("A1")
    with bench.database.write() as sql:
        sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON measurements"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        bench.stage.step(NOW + 30)
    [row] = bench.database.rows("SELECT outcome, finished_at FROM batches")
    assert row["outcome"] == "could not be recorded: the disk is full"
    assert row["finished_at"]


def test_a_changed_pipeline_without_the_spheroids_is_refused(bench: Bench) -> None:
    bench.segmented("A1")
    bench.engine.file = PipelineInfo("other", {}, (), ("Nuclei",), ())
    bench.work(hours=0.1)
    assert "does not measure Spheroids any more" in bench.stage.trouble
    assert bench.states() == {"A1": "segmented"}, "the image is not to blame, nor measured with it"
    bench.engine.file = PipelineInfo("third", {}, (), ("Nuclei", "Spheroids"), ())
    bench.work(hours=0.1)
    assert bench.states() == {"A1": "measured"}
    assert bench.stage.trouble == ""
    [row] = bench.database.rows("SELECT pipeline_sha256 FROM batches ORDER BY id DESC LIMIT 1")
    assert row["pipeline_sha256"] == "third"


def test_a_pipeline_that_changes_while_nothing_is_to_do_is_noticed(bench: Bench) -> None:
    """It is looked whether CellProfiler works, and with that the engine takes the file."""
    bench.segmented("A1")
    bench.engine.kills = {"A1"}
    assert bench.stage.step(NOW), "with its batch"
    assert bench.stage.step(NOW), "alone, and it fails"
    bench.engine.kills = set()
    bench.engine.file = PipelineInfo("refused", {}, (), ("Nuclei",), ())
    assert not bench.stage.step(NOW)
    assert "does not measure Spheroids any more" in bench.stage.trouble
    bench.ledger.retry(NOW)
    bench.work(hours=0.1)
    assert bench.states() == {"A1": "segmented"}
    bench.engine.file = PipelineInfo("good", {}, (), ("Spheroids",), ())
    bench.work(hours=0.1)
    assert bench.states() == {"A1": "measured"}
    [row] = bench.database.rows("SELECT pipeline_sha256 FROM batches ORDER BY id DESC LIMIT 1")
    assert row["pipeline_sha256"] == "good"


# -- a CellProfiler that works again, or did not work at the start --------------------------


def test_trouble_ends_without_another_image(bench: Bench) -> None:
    """The last image of a round is poisonous: nothing comes that could show that all is well."""
    bench.segmented("A1")
    bench.engine.kills = {"A1"}
    assert bench.stage.step(NOW), "with its batch"
    assert bench.stage.step(NOW), "alone"
    assert bench.states() == {"A1": "failed"}
    assert "without an answer" in bench.stage.trouble
    assert not bench.stage.step(NOW)
    assert bench.stage.trouble == ""
    assert bench.engine.looks == 1


def test_it_is_looked_for_the_end_of_trouble_once_a_minute(bench: Bench) -> None:
    bench.segmented("A1")
    bench.engine.down = True
    while bench.stage.step(NOW):
        pass
    for second in range(600):
        assert not bench.stage.step(NOW + second / 2)
    assert "without an answer" in bench.stage.trouble
    assert bench.engine.looks == 5
    bench.engine.failures = 1  # one that fails has a pace of its own
    bench.engine.retry_in = 0.5
    bench.stage.step(NOW + 300.5)
    assert bench.engine.looks == 5
    bench.engine.retry_in = 0.0
    bench.stage.step(NOW + 301)
    assert bench.engine.looks == 6
    bench.engine.down = False
    bench.stage.step(NOW + 302)
    assert bench.stage.trouble == ""
    bench.stage.step(NOW + 303)
    assert bench.engine.looks == 7, "all is well: nobody looks"


class Unknown:
    """What the daemon is to measure with, while CellProfiler does not work."""

    def __init__(self) -> None:
        self.answer: Protocol | EngineError = EngineError("the worker ended without an answer")
        self.images = frozenset({"Original", "Mask"})

    def check(self) -> Protocol:
        if isinstance(self.answer, EngineError):
            raise self.answer
        return self.answer

    def protocol(self) -> Unchecked:
        known = {**vars(PROTOCOL), "pipeline_sha256": "", "object_name": "", "images": self.images}
        return Unchecked(**known, check=self.check, reason="it is broken")


def test_without_cellprofiler_images_wait_and_nobody_is_blamed(bench: Bench) -> None:
    unknown = Unknown()
    bench.take(unknown.protocol())
    assert bench.stage.trouble == "it is broken"
    bench.segmented("A1", "A2")
    bench.work(hours=0.1)
    rows = bench.database.rows("SELECT DISTINCT state, attempts, claimed_at FROM images")
    assert rows == [{"state": "segmented", "attempts": 0, "claimed_at": None}]
    assert bench.database.rows("SELECT * FROM batches") == []
    assert "without an answer" in bench.stage.trouble

    unknown.answer = PipelineError("it measures nothing")
    bench.work(hours=0.1)
    assert bench.stage.trouble == "it measures nothing"
    assert set(bench.states().values()) == {"segmented"}

    unknown.answer = replace(PROTOCOL, images=frozenset({"Spheroid"}))
    bench.work(hours=0.1)
    assert "asks for another image" in bench.stage.trouble, "which is not made"
    assert set(bench.states().values()) == {"segmented"}

    unknown.answer = replace(PROTOCOL, images=frozenset({"Mask"}))
    bench.work(hours=0.1)
    assert set(bench.states().values()) == {"measured"}
    assert bench.stage.trouble == ""
    [row] = bench.database.rows("SELECT DISTINCT pipeline_sha256 AS sha FROM batches")
    assert row == {"sha": "sha"}


def test_without_cellprofiler_it_is_looked_even_if_nothing_is_to_do(bench: Bench) -> None:
    unknown = Unknown()
    bench.take(unknown.protocol())
    bench.stage.step(NOW)
    assert "without an answer" in bench.stage.trouble
    unknown.answer = replace(PROTOCOL, images=frozenset({"Mask"}))
    bench.stage.step(NOW + 61)
    assert bench.stage.trouble == ""


def test_a_full_disk_loses_no_outline(bench: Bench) -> None:
    """What can't be written is tried again, with the image that it belongs to."""
    bench.segmented("A1")
    bench.engine.labels = np.ones((9, 9), np.uint16)
    blocked = bench.folder.root / bench.folder.plate("P")
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("in the way")
    with pytest.raises(OSError, match="P"):
        bench.stage.step(NOW + 30)
    assert not any(path.exists() for path in bench.engine.handed)
    bench.stage.hand_back()
    blocked.unlink()
    bench.work()
    assert bench.states() == {"A1": "measured"}
    assert None not in outlines(bench)


def test_half_an_outline_of_a_killed_daemon_goes(bench: Bench) -> None:
    bench.segmented("A1")
    well = bench.folder.root / bench.folder.well("P", "A1")
    well.mkdir(parents=True)
    half, whole, mask = (
        well / name for name in (".1.1.outline.jpg.77.part", "1.1.outline.jpg", ".1.1.mask.77.part")
    )
    for path in (half, whole, mask):
        path.write_bytes(b"x")
    bench.stage.start(NOW)
    assert sorted(well.iterdir()) == [mask, whole], "a mask may be in the making"


def test_spreadsheets_of_a_batch_that_came_to_nothing_go(bench: Bench) -> None:
    """They may be half, and the images come in another batch's."""
    bench.segmented("A1")
    bench.engine.down = True
    bench.engine.begun = "Image.csv"
    bench.work()
    assert list((bench.folder.root / "batches").rglob("*.csv")) == []
    bench.engine.down = False
    bench.work(hours=1)
    assert len(list((bench.folder.root / "batches").rglob("*.csv"))) == 1


@pytest.mark.parametrize("measured_again", [True, False])
def test_half_spreadsheets_of_a_killed_daemon_go_but_nobody_elses(
    bench: Bench, *, measured_again: bool
) -> None:
    bench.segmented("A1")
    bench.engine.begun = "Image.csv"
    bench.work()
    numbers = [
        bench.results.open_batch(
            NOW, plate="P", pipeline="mask", pipeline_sha256="sha", cellprofiler="4.2",
            n_images=1, folder="",
        )
        for _ in range(2)
    ]  # fmt: skip
    half = bench.folder.root / bench.folder.batch("P", numbers[0]) / "Image.csv"
    half.parent.mkdir(parents=True)
    half.write_text("ImageNumber,")
    with contextlib.ExitStack() as stack:
        if measured_again:
            lock = bench.folder.again("P") / "lock"
            lock.parent.mkdir(parents=True)
            stack.enter_context(only_one(lock))
        bench.stage.start(NOW + 60)
    whole = bench.folder.root / bench.folder.batch("P", 1) / "Image.csv"
    left = set((bench.folder.root / "batches").rglob("*.csv"))
    assert left == ({half, whole} if measured_again else {whole})
    assert bench.database.rows("SELECT id FROM batches WHERE outcome IS NULL") == []
