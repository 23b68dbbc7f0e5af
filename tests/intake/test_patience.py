"""Originals in a folder that hangs: the others' images are segmented, and nothing is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from living import Living, wait_for, write_picture

import hanging
from spheroidd.intake import answers
from spheroidd.intake.fresh import Fresh
from spheroidd.intake.original import read_original
from spheroidd.intake.patience import Patience
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.stage import Flow, SegmentStage
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results


class Bench:
    """A share, a local folder, and the stage that reads from both; two images of each ready."""

    def __init__(
        self, tmp_path: Path, living: Callable[..., Living], log: Any, lanes: int = 1
    ) -> None:
        self.folder = StateFolder(tmp_path / "state")
        self.folder.create()
        self.database = Database(self.folder.database)
        self.ledger = Ledger(self.database)
        self.patience = Patience(lambda image: read_original(self.ledger, image), Fresh())
        self.stage = SegmentStage(
            self.ledger, Results(self.database), self.folder, self.patience.read,
            Recipe(None, "0"), log, Flow(lanes=lanes),
        )  # fmt: skip
        self.share, self.local = (self._watch(living, tmp_path / n) for n in ("share", "local"))

    def _watch(self, living: Callable[..., Living], root: Path) -> Living:
        one = living(
            root,
            observer="polling",
            answers=self.patience.answers(str(root)),
            database=self.folder.database,
        )
        paths = [root / "P" / "A1" / f"{number}.png" for number in (1, 2)]
        wait_for(lambda: [one.state_of(path) for path in paths] == ["ready", "ready"])
        return one

    def states(self) -> list[str]:
        """Of the share's two images, then of the local ones."""
        columns = "state FROM images ORDER BY root = :local, path"
        rows = self.database.rows(f"SELECT {columns}", {"local": str(self.local.root)})
        return [row["state"] for row in rows]

    def step(self) -> float:
        """Seconds that one step took."""
        began = time.monotonic()
        assert self.stage.step(time.time())
        return time.monotonic() - began


@pytest.fixture
def share(tmp_path: Path) -> Iterator[hanging.Share]:
    (tmp_path / "share").mkdir()
    for folder in ("backing", "local"):
        for number in (1, 2):
            path = tmp_path / folder / "P" / "A1" / f"{number}.png"
            write_picture(path, seed=number)
    with hanging.share(tmp_path / "backing", tmp_path / "share") as one:
        yield one


@pytest.fixture
def reading(
    tmp_path: Path, living: Callable[..., Living], captured_log: Any, share: hanging.Share
) -> Iterator[Bench]:
    one = Bench(tmp_path, living, captured_log[0])
    yield one
    share.answer()
    one.database.close()


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reading /")]


def test_one_folder_that_hangs_does_not_stop_the_others(
    reading: Bench, share: hanging.Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "NO_ANSWER_SECONDS", 1.0)
    share.hold(hanging.READ)
    before = len(readers())
    took = [reading.step() for _ in range(4)]
    assert reading.states() == ["failed", "failed", "segmented", "segmented"]
    assert took[0] >= 1.0, "the first one is waited for"
    assert took[1] < 1.0, "the second one is not"
    assert share.held == 1
    assert len(readers()) - before == 2, "one thread per folder"
    wait_for(reading.share.is_degraded)
    assert reading.local.is_well()
    failed = reading.database.rows("SELECT * FROM images WHERE state = 'failed'")
    assert all("does not answer" in row["reason"] and row["next_try_at"] for row in failed)
    # It is tried in vain for so long that the next try is far away.
    for _ in range(5):
        assert reading.ledger.retry_due(time.time() + 3600) == 2
        for _ in range(2):
            assert reading.step() < 1.0
    share.answer()
    wait_for(reading.share.is_well)
    assert reading.states() == ["ready", "ready", "segmented", "segmented"], "tried at once"
    for _ in range(2):
        reading.step()
    assert reading.states() == ["segmented"] * 4


def test_two_at_once_are_both_given_up_and_the_others_go_on(
    tmp_path: Path,
    living: Callable[..., Living],
    captured_log: Any,
    share: hanging.Share,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "NO_ANSWER_SECONDS", 1.0)
    reading = Bench(tmp_path, living, captured_log[0], lanes=2)
    share.hold(hanging.READ)
    before = len(readers())
    while reading.stage.step(time.time()):
        pass
    assert reading.states() == ["failed", "failed", "segmented", "segmented"]
    assert len(readers()) - before <= 4, "one for each lane and folder"
    share.answer()
    wait_for(lambda: reading.share.is_well() and reading.states()[:2] == ["ready"] * 2)
    while reading.stage.step(time.time()):
        pass
    assert reading.states() == ["segmented"] * 4
    reading.database.close()


def test_to_stop_it_waits_for_no_folder(reading: Bench, share: hanging.Share) -> None:
    share.hold(hanging.READ)
    step = threading.Thread(target=reading.step)
    step.start()
    wait_for(lambda: share.held == 1)
    reading.patience.stop()
    step.join(5)
    assert not step.is_alive()
    assert reading.states() == ["ready"] * 4
    assert reading.database.rows("SELECT 1 FROM images WHERE claimed_at IS NOT NULL") == []
    assert reading.database.rows("SELECT 1 FROM images WHERE attempts > 0") == []


def test_a_reload_leaves_no_threads(
    reading: Bench, share: hanging.Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every life of the daemon has a patience of its own, with a thread for each folder."""
    monkeypatch.setattr(answers, "NO_ANSWER_SECONDS", 1.0)
    before = len(readers())
    share.hold(hanging.READ)
    for _ in range(4):
        reading.step()
    assert len(readers()) == before + 2
    reading.patience.stop()
    wait_for(lambda: len(readers()) == before + 1)
    share.answer()
    wait_for(lambda: len(readers()) == before)  # the one that hung, too
    [image] = reading.ledger.in_state("segmented")[:1]
    with pytest.raises(InterruptedError):
        reading.patience.read(image)
    never_read = Patience(lambda image: read_original(reading.ledger, image), Fresh())
    never_read.stop()
    with pytest.raises(InterruptedError):
        never_read.read(image)
    assert len(readers()) == before
