"""The stage that measures: batches of one plate's images through CellProfiler.

`segmented → measured`.  When the worker as a whole fails, the images go back and are
tried alone; when one image fails, only that image is recorded as failed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.batches import Due, Rule, next_batch
from spheroidd.measure.engine import Engine, ImageInput, ImageOutcome
from spheroidd.measure.quality import flags
from spheroidd.measure.spheroid import choose
from spheroidd.store.folder import StateFolder, safe_name
from spheroidd.store.images import ClaimLostError, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable
from spheroidd.store.results import (
    MeasurementRecord,
    ObjectRecord,
    Results,
    StoredSegmentation,
)
from spheroidd.store.runs import Recipe, Runs

_REFUSED_SECONDS = 60.0  # until a pipeline that is refused is tried again


@dataclass(frozen=True)
class Protocol:
    """What every area is measured with."""

    pipeline: Path
    pipeline_name: str
    pipeline_sha256: str
    object_name: str
    rule: Rule
    version: str


@dataclass(frozen=True)
class _Work:
    """One image of a batch, on its way."""

    image: Image
    segmentation: StoredSegmentation
    key: str


class MeasureStage:
    """Feeds the worker. `flush` says that nothing more is coming, so no batch need wait."""

    def __init__(
        self,
        ledger: Ledger,
        results: Results,
        runs: Runs,
        folder: StateFolder,
        engine: Engine,
        protocol: Protocol,
        log: FilteringBoundLogger,
        more_coming: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ledger = ledger
        self._results = results
        self._runs = runs
        self._folder = folder
        self._engine = engine
        self._protocol = protocol
        self._log = log
        self._more_coming = more_coming
        self._stopping = False
        self._refused_until = 0.0
        self._after_fresh = False
        self._measured = 0  # images that went well
        self._failed_at: dict[int, int] = {}  # image → `_measured` when it failed the worker
        self.trouble = ""

    def start(self, now: float) -> None:
        """Batches that a killed daemon left open say so from now on."""
        self._results.abandon_batches(now)

    def step(self, now: float) -> bool:
        """Measure one batch, if one is due; returns whether there was one."""
        if now < self._refused_until:
            return False
        due = next_batch(
            self._ledger.pending_plates(),
            self._protocol.rule,
            now,
            more_coming=self._more_coming(),
            suspects_first=self._after_fresh,
        )
        if due is None:
            return False
        try:
            self._engine.start()
        except EngineError as error:
            self._engine_trouble(error)
            return False
        images = self._ledger.claim(
            "segmented", now, plate=due.plate, suspects=due.suspects, limit=due.limit
        )
        if not images:
            return False
        return self._run(due, images, now)

    def hand_back(self) -> None:
        """Give up the claims that a step which raised still holds."""
        self._ledger.recover("segmented")

    def stop(self) -> None:
        """End the worker; a batch it still has is handed back by the step that waits for it."""
        self._stopping = True
        self._engine.stop()

    # -- one batch ----------------------------------------------------------------------

    def _run(self, due: Due, images: Sequence[Image], now: float) -> bool:
        self._after_fresh = not due.suspects
        batch_id, folder = self._open(due.plate, len(images), now)
        log = self._log.bind(plate=due.plate, batch=batch_id, images=len(images))
        started = time.perf_counter()
        try:
            work = [self._prepare(image) for image in images]
            outcomes = self._engine.measure(
                self._protocol.pipeline, [self._input(item) for item in work], folder
            )
        except Exception as error:
            self._results.close_batch(batch_id, f"failed as a whole: {error}", now)
            self._hand_back(images, error, now)
            if not isinstance(error, EngineError):
                raise
            self._engine_trouble(error)
            return True
        self.trouble = ""
        later = now + (time.perf_counter() - started)
        failed = self._record(work, outcomes, batch_id, folder, later)
        self._measured += len(images) - failed
        outcome = "complete" if not failed else f"{failed} of {len(images)} images failed"
        self._results.close_batch(batch_id, outcome, later)
        log.info("batch measured", seconds=round(later - now, 3), failed=failed)
        return True

    def _open(self, plate: str, count: int, now: float) -> tuple[int, Path]:
        batch_id = self._results.open_batch(
            now,
            plate=plate,
            pipeline=self._protocol.pipeline_name,
            pipeline_sha256=self._protocol.pipeline_sha256,
            cellprofiler=self._engine.version or "unknown",
            n_images=count,
            folder="",
        )
        folder = self._folder.batch(plate, batch_id)
        self._results.place_batch(batch_id, str(folder))
        absolute = self._folder.root / folder
        absolute.mkdir(parents=True, exist_ok=True)
        return batch_id, absolute

    def _prepare(self, image: Image) -> _Work:
        stem = Path(image.name).stem or image.name
        key = f"{safe_name(image.well)[:40]}_{safe_name(stem)[:60]}_{image.id}"
        return _Work(image, self._results.segmentation(image.id), key)

    def _input(self, work: _Work) -> ImageInput:
        files = {"Original": self._folder.original(work.image.id)}
        if work.segmentation.mask_path:
            files["Mask"] = self._folder.root / work.segmentation.mask_path
        if work.segmentation.white_path:
            files["Spheroid"] = self._folder.root / work.segmentation.white_path
        return ImageInput(
            key=work.key,
            # a pipeline may build file names of these
            plate=work.image.plate.replace("/", "_"),
            well=work.image.well.replace("/", "_"),
            timepoint=work.image.timepoint,
            files=files,
        )

    # -- outcomes --------------------------------------------------------------------------

    def _record(
        self,
        work: Sequence[_Work],
        outcomes: Mapping[str, ImageOutcome],
        batch_id: int,
        folder: Path,
        now: float,
    ) -> int:
        """Store every image's outcome; returns how many failed."""
        failed = 0
        for item in work:
            outcome = outcomes.get(item.key)
            error = outcome.error if outcome else "it gave no answer"
            if outcome and not error:
                error = self._no_area(outcome)
            log = self._log.bind(
                plate=item.image.plate, well=item.image.well, path=printable(item.image.path)
            )
            try:
                if outcome is None or error:
                    failed += 1
                    again = self._ledger.fail(item.image, f"CellProfiler: {error}", now)
                    log.error("measurement failed", reason=error, again=again)
                    continue
                run = self._runs.live(item.image.plate, self._made_with(item.segmentation), now)
                record = self._measurement(item, outcome, run, batch_id, folder)
                self._results.measured(item.image, record, now)
            except ClaimLostError:
                log.info("superseded while it was measured")
                self._folder.original(item.image.id).unlink(missing_ok=True)
                continue
            self._folder.original(item.image.id).unlink(missing_ok=True)
            log.info("measured", area_px=record.area_px, flags=",".join(record.flags))
        return failed

    def _made_with(self, segmentation: StoredSegmentation) -> Recipe:
        return Recipe(
            model=segmentation.model,
            model_md5=segmentation.model_md5,
            threshold=segmentation.threshold,
            refinement=segmentation.refinement,
            pipeline=self._protocol.pipeline_name,
            pipeline_sha256=self._protocol.pipeline_sha256,
        )

    def _no_area(self, outcome: ImageOutcome) -> str | None:
        """An object without an area is a failure, never an area of 0."""
        found = outcome.objects.get(self._protocol.object_name)
        if found is None:
            return f"it says nothing about {self._protocol.object_name}"
        if any(features.get("AreaShape_Area") is None for features in found):
            return f"it gave no AreaShape_Area for {self._protocol.object_name}"
        return None

    def _measurement(
        self, work: _Work, outcome: ImageOutcome, run_id: int, batch_id: int, folder: Path
    ) -> MeasurementRecord:
        objects = [
            ObjectRecord(name, number, features.get("AreaShape_Area"), features)
            for name, found in outcome.objects.items()
            for number, features in enumerate(found, start=1)
        ]
        # Only one kind of object can be the spheroid; it comes first, so that the index
        # chosen among its objects is the index among all.
        objects.sort(key=lambda found: found.name != self._protocol.object_name)
        candidates = [found for found in objects if found.name == self._protocol.object_name]
        spheroid = choose(candidates)
        area = 0.0 if spheroid is None else candidates[spheroid].area_px or 0.0
        size = work.image.pixel_size_um
        return MeasurementRecord(
            run_id=run_id,
            segmentation_id=work.segmentation.id,
            batch_id=batch_id,
            area_px=area,
            area_um2=None if size is None else area * size**2,
            pixel_size_um=size,
            n_objects=len(candidates),
            flags=flags(candidates, spheroid, (work.image.height or 0, work.image.width or 0)),
            outline_path=self._keep_outline(work, folder),
            version=self._protocol.version,
            spheroid=spheroid,
            objects=objects,
        )

    def _keep_outline(self, work: _Work, folder: Path) -> str | None:
        """Put the outline picture beside the mask; None where the pipeline saves none."""
        made = folder / f"{work.key}_outline.png"
        if not made.is_file():
            return None
        image = work.image
        path = self._folder.image(image.plate, image.well, image.name, image.id, "outline")
        (self._folder.root / path).parent.mkdir(parents=True, exist_ok=True)
        made.replace(self._folder.root / path)
        return str(path)

    # -- trouble ---------------------------------------------------------------------------

    def _hand_back(self, images: Sequence[Image], error: Exception, now: float) -> None:
        """The images go back to their stage, and are tried alone from then on.

        One that fails the worker alone is to blame if others went well meanwhile; while
        nothing goes well, it is tried again for ever.
        """
        ids = [image.id for image in images]
        if isinstance(error, PipelineError):
            self._ledger.release(ids)
            self._take_changed_pipeline(now)
            return
        if self._stopping or len(images) > 1 or images[0].attempts == 0:
            self._ledger.release(ids, suspect=not self._stopping)
        else:
            proven = self._failed_at.get(ids[0], self._measured) < self._measured
            reason = f"alone in its batch, it failed CellProfiler as a whole: {error}"
            self._ledger.fail(images[0], reason, now, for_ever=not proven)
        self._failed_at.update(dict.fromkeys(ids, self._measured))

    def _take_changed_pipeline(self, now: float) -> None:
        """The pipeline's file was changed under way: go on with it, if it can be used."""
        try:
            info = self._engine.validate(self._protocol.pipeline)
        except EngineError as error:
            self._refused_until = now + _REFUSED_SECONDS
            self._engine_trouble(error)
            return
        self._log.warning("the pipeline was changed; measuring with it", sha256=info.sha256)
        self._protocol = replace(self._protocol, pipeline_sha256=info.sha256)

    def _engine_trouble(self, error: EngineError) -> None:
        if error.message != self.trouble:
            self._log.error("CellProfiler's worker", reason=error.message, next_step=error.hint)
        self.trouble = error.message
