"""The stage around the model: what it leaves, what it clears away, whom it lets fail."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made_up import NOW, admission
from spheroidd.errors import ImageError, ModelError
from spheroidd.segment.finding import Finder
from spheroidd.segment.models import Model
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results


class Scripted:
    """The one fake of this seam: a session that sees a spheroid in the middle, or fails."""

    model = Model("scripted", Path("none"), "md5", "u2netp")
    provider = "CPU"

    def __init__(self) -> None:
        self.error: Exception | None = None

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.error is not None:
            raise self.error
        found = np.zeros(image.shape[:2], np.float32)
        found[10:20, 10:30] = 0.9
        return found


class Bench:
    def __init__(self, tmp_path: Path, log: Any) -> None:
        self.folder = StateFolder(tmp_path)
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ledger = Ledger(self.database)
        self.session = Scripted()
        self.unreadable: Exception | None = None
        self.stage = SegmentStage(
            self.ledger, Results(self.database), self.folder, self.read,
            Recipe(Finder(self.session, None, 0.5), "0"), log,
        )  # fmt: skip

    def read(self, image: Any) -> NDArray[np.uint8]:
        if self.unreadable is not None:
            raise self.unreadable
        pixels = np.full((30, 40), 200, np.uint8)
        pixels[10:20, 10:30] = 100  # what the session sees is there to be seen
        return pixels

    def ready(self, name: str = "1.jpg") -> None:
        self.ledger.arrive("/e", [(f"/e/P/A1/{name}", 1, 1)], NOW)
        [image] = self.ledger.waiting("/e")
        self.ledger.admit(image.id, admission(name=name), NOW)

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.folder.root)) for path in self.folder.root.rglob("*")
            if path.is_file() and path.suffix not in (".db", ".db-wal", ".db-shm")
        }  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, captured_log: Any) -> Any:
    one = Bench(tmp_path, captured_log[0])
    yield one
    one.database.close()


def test_one_step_leaves_mask_white_and_original(bench: Bench) -> None:
    bench.ready()
    assert bench.stage.step(NOW)
    assert not bench.stage.step(NOW)
    assert bench.files() == {
        "images/P/A1/1.1.mask.png", "images/P/A1/1.1.white.png", "handover/1.npy",
    }  # fmt: skip
    [row] = bench.database.rows("SELECT * FROM segmentations")
    assert (row["foreground_px"], row["provider"], row["model"]) == (200, "CPU", "scripted")
    assert row["peak_probability"] == pytest.approx(0.9)


@pytest.mark.parametrize("error", [ModelError("no numbers"), RuntimeError("onnxruntime's own")])
def test_an_image_the_model_chokes_on_fails_alone(bench: Bench, error: Exception) -> None:
    bench.ready()
    bench.session.error = error
    assert bench.stage.step(NOW)
    assert bench.ledger.counts()["failed"] == 1
    bench.session.error = None
    bench.ready("2.jpg")
    bench.stage.step(NOW)
    assert bench.ledger.counts()["segmented"] == 1


def test_a_vanished_image_fails_with_its_reason(bench: Bench) -> None:
    bench.ready()
    bench.unreadable = ImageError("It is gone.", permanent=True)
    bench.stage.step(NOW)
    rows = bench.database.rows("SELECT state, reason, next_try_at FROM images")
    assert rows == [{"state": "failed", "reason": "It is gone.", "next_try_at": None}]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError("1036800 requested and 0 written")]
)
def test_a_full_disk_is_not_the_images_fault(bench: Bench, error: OSError) -> None:
    bench.ready()
    bench.unreadable = error
    with pytest.raises(OSError):
        bench.stage.step(NOW)
    bench.stage.hand_back()
    bench.unreadable = None
    assert bench.stage.step(NOW)
    assert bench.ledger.counts()["segmented"] == 1


def test_the_start_clears_what_a_killed_daemon_left(bench: Bench) -> None:
    bench.ready()
    bench.stage.step(NOW)
    bench.ready("2.jpg")
    stray = [
        bench.folder.handover / "99.npy",
        bench.folder.handover / ".2.npy.77.part",
        bench.folder.root / "images/P/A1/.2.2.mask.png.77.part",
    ]
    for path in stray:
        path.write_bytes(b"half")
    bench.stage.start(NOW)
    assert not [path for path in stray if path.exists()]
    assert "handover/1.npy" in bench.files()


def test_what_an_earlier_configuration_segmented_is_done_again(bench: Bench) -> None:
    bench.ready()
    bench.stage.step(NOW)
    assert bench.stage.redo_incomplete(NOW) == 0
    (bench.folder.root / "images/P/A1/1.1.mask.png").unlink()
    assert bench.stage.redo_incomplete(NOW) == 1
    assert bench.ledger.counts()["ready"] == 1
    bench.stage.step(NOW)
    assert "images/P/A1/1.1.mask.png" in bench.files()


def test_originals_of_superseded_images_do_not_pile_up(bench: Bench) -> None:
    bench.ready()
    bench.stage.start(NOW)
    bench.stage.step(NOW)
    with bench.database.write() as sql:
        sql.execute("UPDATE images SET state = 'superseded'")
    bench.stage.step(NOW + 60)
    assert "handover/1.npy" in bench.files()
    bench.stage.step(NOW + 4000)
    assert "handover/1.npy" not in bench.files()


@pytest.mark.parametrize("there", ["segmented", "failed"])
def test_an_original_that_somebody_else_has_handed_over_stays(bench: Bench, there: str) -> None:
    """As where a step of a life before this one comes back late."""
    bench.ready()

    def moved_on(image: Any) -> NDArray[np.uint8]:
        with bench.database.write() as sql:
            sql.execute(
                "UPDATE images SET state = ?, failed_from = 'segmented', reason = ''", [there]
            )
        return np.full((30, 40), 200, np.uint8)

    bench.stage._read = moved_on
    assert bench.stage.step(NOW)
    assert bench.database.rows("SELECT state FROM images") == [{"state": there}]
    assert "handover/1.npy" in bench.files()


def test_one_wells_broken_folder_does_not_stop_the_others(bench: Bench) -> None:
    (bench.folder.root / "images/P").mkdir(parents=True)
    (bench.folder.root / "images/P/A1").write_text("in the way")
    bench.ready()
    assert bench.stage.step(NOW)
    assert bench.ledger.counts()["failed"] == 1
