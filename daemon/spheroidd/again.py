"""The work of measuring a plate again: its images, batch by batch, into one run."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from spheroidd.errors import AcceleratorLostError, EngineError, PipelineError, SpheroiddError
from spheroidd.measure.engine import Engine, ImageOutcome
from spheroidd.measure.outcome import (
    NO_OUTLINE,
    Protocol,
    Work,
    drop_labels,
    input_of,
    open_batch,
    recipe_of,
    result_of,
)
from spheroidd.segment.recipe import Recipe as MaskRecipe
from spheroidd.store import run_reading
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import Image
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader
from spheroidd.store.results import Results, SegmentationRecord, StoredSegmentation
from spheroidd.store.runs import Recipe, Runs

_BATCH = 8  # small: what is in hand is lost by a kill, and live images wait for it
_LOOK_SECONDS = 0.5
_SETBACKS = 3  # images in a row that fail CellProfiler as a whole: it is not their fault

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        total: measured images of the plate.
        done: how many of them the run has.
        failed: images that could not be measured, since the process began.
        waits_for: live images that go first; 0 while it works.
    """

    run_id: int
    total: int = 0
    done: int = 0
    failed: int = 0
    waits_for: int = 0


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Tools:
    """What it works with, warm.

    `read` gives an image's 8-bit pixels or raises ImageError; `tell` hears of the progress
    after each image and while it waits; `stopping` is set when it is to end.
    """

    folder: StateFolder
    read: Callable[[Image], Pixels]
    masks: MaskRecipe
    engine: Engine
    protocol: Protocol
    log: FilteringBoundLogger
    tell: Tell
    stopping: threading.Event


class Again:
    """One plate's images, batch by batch, into one run."""

    def __init__(self, plate: str, database: Database, reader: Reader, tools: Tools) -> None:
        """Begins the run, or takes up the one with the same recipe."""
        self._plate = plate
        self._runs, self._results = Runs(database), Results(database)
        self._reader = reader
        self._tools = tools
        self._folder, self._stopping = tools.folder, tools.stopping
        self._made_with = made_with(tools.masks, tools.protocol)
        self._setbacks = 0
        self._undrawn = 0  # images of the batch without an outline picture
        self.run_id = self._runs.again(plate, self._made_with, time.time())
        self.progress = Progress(self.run_id)

    def work(self) -> bool:
        """Go through all images, those too that come meanwhile; False if it was to stop."""
        self._clear()
        tried: set[int] = set()
        while fresh := self._fresh(tried):
            for start in range(0, len(fresh), _BATCH):
                self._batch(fresh[start : start + _BATCH])
                if self._stopping.is_set():
                    return False
            tried.update(image.id for image in fresh)
        self._runs.finish(self.run_id, time.time())
        return True

    def _clear(self) -> None:
        """Remove what a killed process left half done; nobody else writes there."""
        wells = self._folder.root / self._folder.plate(self._plate)
        for path in wells.glob(f"*/{self._folder.run(self.run_id)}/.*.part"):
            path.unlink()
        for path in self._folder.again(self._plate).glob("*.npy"):
            path.unlink()

    def _fresh(self, tried: set[int]) -> list[Image]:
        """Images that the run lacks and that were not tried yet."""
        rows = run_reading.runs(self._reader, self._plate)
        [run] = [row for row in rows if row["id"] == self.run_id]
        self._say(total=run["total"], done=run["images"])
        todo = self._runs.todo(self._plate, self.run_id)
        return [image for image in todo if image.id not in tried]

    # -- a batch -------------------------------------------------------------------------

    def _batch(self, images: Sequence[Image]) -> None:
        """What is segmented when it is to stop is still measured: that takes a moment."""
        work: list[Work] = []
        try:
            for image in images:
                if not self._give_way():
                    break
                if (item := self._prepare(image)) is not None:
                    work.append(item)
            if work:
                self._give_way()
                self._measure(work)
        finally:
            for item in work:
                item.original.unlink(missing_ok=True)

    def _give_way(self) -> bool:
        """Wait while the daemon has work; False when it is to stop."""
        while live := run_reading.live_work(self._reader, time.time()):
            self._say(waits_for=live)
            if self._stopping.wait(_LOOK_SECONDS):
                break
        self._say()
        return not self._stopping.is_set()

    def _prepare(self, image: Image) -> Work | None:
        """Read and segment one image; None, with the reason stored, where that fails."""
        original = self._folder.again(image.plate) / f"{image.id}.npy"
        started = time.perf_counter()
        try:
            pixels = self._tools.read(image)
            np.save(original, pixels, allow_pickle=False)
            return Work(image, self._masks_of(image, pixels, started), original)
        except (OSError, sqlite3.Error, AcceleratorLostError):
            raise  # the disk's or the device's trouble, not the image's
        except SpheroiddError as error:
            self._fail(image, str(error))
        except Exception as error:  # a model may choke on one image in ways of its own
            self._fail(image, f"segmentation failed: {error!r}")
        original.unlink(missing_ok=True)
        return None

    def _masks_of(
        self, image: Image, pixels: Pixels, started: float
    ) -> StoredSegmentation | SegmentationRecord:
        """The masks that are there, if the same would be made again."""
        for stored in self._runs.same_masks(image.id, self._made_with):
            paths = self._tools.masks.pictures(stored)
            if all(path is not None and (self._folder.root / path).is_file() for path in paths):
                return stored
        mask, white = (self._picture(image, kind) for kind in ("mask", "white"))
        (self._folder.root / mask).parent.mkdir(parents=True, exist_ok=True)
        record = self._tools.masks.apply(pixels, self._folder.root, mask, white, started)
        if recipe_of(record, self._tools.protocol) != self._made_with:
            raise ValueError(f"the run says {self._made_with}, the mask was made otherwise")
        return record

    def _picture(self, image: Image, kind: str) -> Path:
        return self._folder.image(
            image.plate, image.well, image.name, image.id, kind, run=self.run_id
        )

    def _measure(self, work: Sequence[Work]) -> None:
        """A batch that fails CellProfiler as a whole is tried image by image."""
        while (seconds := self._tools.engine.retry_in) > 0 and not self._stopping.wait(seconds):
            pass
        try:
            self._run(work)
        except PipelineError:
            raise  # its file has been changed under way
        except EngineError as error:
            if self._stopping.is_set():
                return  # dropped; the next time it is tried again
            if len(work) > 1:
                for item in work:
                    self._measure([item])
                return
            self._setbacks += 1
            reason = f"alone in its batch, it failed CellProfiler as a whole: {error}"
            self._fail(work[0].image, reason)
            if self._setbacks >= _SETBACKS:
                raise
        else:
            self._setbacks = 0

    def _run(self, work: Sequence[Work]) -> None:
        images = [item.image for item in work]
        self._tools.engine.start()
        batch_id, place = open_batch(
            self._results,
            self._folder,
            self._tools.protocol,
            self._tools.engine.version,
            images,
            time.time(),
        )
        try:
            inputs = [input_of(item, self._folder.root) for item in work]
            outcomes = self._tools.engine.measure(
                self._tools.protocol.pipeline,
                inputs,
                place,
                labels_of=self._tools.protocol.object_name,
            )
        except Exception as error:
            shutil.rmtree(place, ignore_errors=True)  # its images come in other batches
            self._results.close_batch(batch_id, f"failed as a whole: {error}", time.time())
            raise
        self._undrawn = 0
        try:
            failed = sum(not self._record(item, outcomes.get(item.key), batch_id) for item in work)
        except Exception as error:
            self._results.close_batch(batch_id, f"could not be recorded: {error}", time.time())
            raise
        finally:
            drop_labels(outcomes.values())
        if self._undrawn:
            self._tools.log.warning(
                NO_OUTLINE, plate=self._plate, batch=batch_id, images=self._undrawn
            )
        outcome = "complete" if not failed else f"{failed} of {len(work)} images failed"
        self._results.close_batch(batch_id, outcome, time.time())

    # -- outcomes ----------------------------------------------------------------------------

    def _record(self, item: Work, outcome: ImageOutcome | None, batch_id: int) -> bool:
        """Store one image's outcome; whether there is an area."""
        record = result_of(item, outcome, self._tools.protocol, batch_id, self._folder, self.run_id)
        if isinstance(record, str):
            self._fail(item.image, record)
            return False
        self._undrawn += record.outline_path is None
        if self._runs.measured(item.image, item.segmentation, record, time.time()):
            self._say(done=self.progress.done + 1)
        return True

    def _fail(self, image: Image, reason: str) -> None:
        self._runs.failed(self.run_id, image.id, reason, time.time())
        self._tools.log.error(
            "not measured again",
            plate=image.plate,
            well=image.well,
            path=printable(image.path),
            reason=reason,
        )
        self._say(failed=self.progress.failed + 1)

    def _say(self, waits_for: int = 0, **news: int) -> None:
        self.progress = replace(self.progress, waits_for=waits_for, **news)
        self._tools.tell(self.progress)


def made_with(masks: MaskRecipe, protocol: Protocol) -> Recipe:
    """What the run says of itself: model, threshold and pipeline."""
    finder = masks.finder
    return Recipe(
        model=finder.first.model.name if finder else "none",
        model_md5=finder.first.model.md5 if finder else None,
        threshold=finder.threshold if finder else None,
        refinement=masks.refinement,
        pipeline=protocol.pipeline_name,
        pipeline_sha256=protocol.pipeline_sha256,
    )
