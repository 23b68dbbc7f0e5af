"""The stage that measures: batches of one plate's images through CellProfiler.

`segmented → measured`.  When the worker as a whole fails, the images go back and are
tried alone; when one image fails, only that image is recorded as failed.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.batches import Due, next_batch
from spheroidd.measure.crew import Crew
from spheroidd.measure.engine import Engine, ImageOutcome
from spheroidd.measure.leftovers import clear_leftovers, drop_spreadsheets
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
from spheroidd.store.database import timestamp
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import ClaimLostError, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable
from spheroidd.store.results import Results
from spheroidd.store.runs import Runs

_REFUSED_SECONDS = 60.0  # until a pipeline that is refused is tried again
_LOOK_SECONDS = 60.0  # between two looks whether what went wrong has passed


@dataclass(frozen=True)
class Unchecked(Protocol):
    """What is known of it while CellProfiler does not work; `images` are those that are made.

    Attributes:
        check: has CellProfiler look at the pipeline, and gives what to measure with; raises
            EngineError.
        reason: why it was not looked at, in words.
    """

    check: Callable[[], Protocol] = field(kw_only=True)
    reason: str = field(kw_only=True)


class MeasureStage:
    """Feeds one worker. Where there are several, each has a stage, and these have one `crew`.

    `more_coming` says whether a full batch is on its way; if not, none need wait.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stores, and what differs by stage
        self,
        ledger: Ledger,
        results: Results,
        runs: Runs,
        folder: StateFolder,
        engine: Engine,
        protocol: Protocol,
        log: FilteringBoundLogger,
        more_coming: Callable[[], bool] = lambda: True,
        crew: Crew | None = None,
    ) -> None:
        self._ledger = ledger
        self._results = results
        self._runs = runs
        self._folder = folder
        self._engine = engine
        self._protocol = protocol
        self._log = log
        self._more_coming = more_coming
        self._crew = crew or Crew()
        self._held: list[int] = []  # images that this stage has claimed
        self._stopping = False
        # Whether CellProfiler has looked at the pipeline as it is now, and it can be used.
        self._sure = not isinstance(protocol, Unchecked)
        self._refused_until = self._looked_at = 0.0
        self._after_fresh = False
        self._well_at = 0  # when a batch went well, as the crew counts
        self._trouble = protocol.reason if isinstance(protocol, Unchecked) else ""

    @property
    def trouble(self) -> str:
        """Why nothing is measured, since when and until when; empty: all is well."""
        since, until = self._engine.down_since, self._engine.next_try_at
        if since is None or until is None:
            return self._trouble
        times = f"since {timestamp(since)}, next try at {timestamp(until)}"
        return f"CellProfiler is down {times}: {self._engine.last_error.partition(chr(10))[0]}"

    def start(self, now: float) -> None:
        """Clear what a killed daemon left; of a crew the first does it, the others wait."""
        self._crew.once(lambda: clear_leftovers(self._results, self._ledger, self._folder, now))

    def step(self, now: float) -> bool:
        """Measure one batch, if one is due; returns whether there was one."""
        if 0 < self._refused_until - now <= _REFUSED_SECONDS:  # the clock may be set back
            return False
        down = self._engine.state == "down"
        try:
            if self._due(now) is None:
                if self._is_time_to_look(now):
                    self._looked_at = now
                    self._check_pipeline()
                return False
            self._engine.start()
            if not self._sure:
                self._check_pipeline()
        except EngineError as error:
            if isinstance(error, PipelineError):
                self._refused_until = now + _REFUSED_SECONDS
            self._engine_trouble(error)
            return False
        with self._crew.turn:
            due = self._due(now)  # another worker may have begun what was
            if due is None:
                return False
            # One image tells as much as a batch, and costs the least time if the worker hangs.
            limit = 1 if down else due.limit
            images = self._ledger.claim(
                "segmented", now, plate=due.plate, suspects=due.suspects, limit=limit
            )
            self._held = [image.id for image in images]
        if not images:
            return False
        return self._run(due, images, now)

    def _due(self, now: float) -> Due | None:
        return next_batch(
            self._ledger.pending_plates(),
            self._protocol.rule,
            now,
            more_coming=self._more_coming(),
            suspects_first=self._after_fresh,
        )

    def hand_back(self) -> None:
        """Give up the claims that a step which raised still holds."""
        self._release(self._held)

    def _release(self, ids: Sequence[int], *, suspect: bool = False) -> None:
        self._ledger.release(ids, suspect=suspect)
        self._held = []

    def stop(self) -> None:
        """End the worker; a batch it still has is handed back by the step that waits for it."""
        self._stopping = True
        self._engine.stop()

    def _is_time_to_look(self, now: float) -> bool:
        """Whether to see, with nothing to measure, if what went wrong has passed: at the pace of
        the engine's own back-off while it fails, else once a minute."""
        if not self._trouble and self._engine.state == "ready":
            return False
        recently = 0 <= now - self._looked_at < _LOOK_SECONDS  # the clock may be set back
        return self._engine.retry_in == 0 and (self._engine.failures > 0 or not recently)

    # -- one batch ----------------------------------------------------------------------

    def _run(self, due: Due, images: Sequence[Image], now: float) -> bool:
        self._after_fresh = not due.suspects
        batch_id, folder = open_batch(
            self._results, self._folder, self._protocol, self._engine.version, images, now
        )
        log = self._log.bind(plate=due.plate, batch=batch_id, images=len(images))
        started = time.perf_counter()
        try:
            work = [self._work_on(image) for image in images]
            inputs = [input_of(item, self._folder.root) for item in work]
            outcomes = self._engine.measure(
                self._protocol.pipeline, inputs, folder, labels_of=self._protocol.object_name
            )
        except Exception as error:
            drop_spreadsheets(folder)
            self._results.close_batch(batch_id, f"failed as a whole: {error}", now)
            if isinstance(error, EngineError):
                self._engine_trouble(error)
            self._hand_back(images, error, now)
            if not isinstance(error, EngineError):
                raise
            return True
        self._trouble = ""
        later = now + (time.perf_counter() - started)
        try:
            failed = self._record(work, outcomes, batch_id, later)
        except Exception as error:
            self._results.close_batch(batch_id, f"could not be recorded: {error}", later)
            raise
        finally:
            drop_labels(outcomes.values())
        self._held = []
        outcome = "complete" if not failed else f"{failed} of {len(images)} images failed"
        self._results.close_batch(batch_id, outcome, later)
        log.info("batch measured", seconds=round(later - now, 3), failed=failed)
        return True

    def _work_on(self, image: Image) -> Work:
        return Work(image, self._results.segmentation(image.id), self._folder.original(image.id))

    # -- outcomes --------------------------------------------------------------------------

    def _record(
        self,
        work: Sequence[Work],
        outcomes: Mapping[str, ImageOutcome],
        batch_id: int,
        now: float,
    ) -> int:
        """Store every image's outcome; returns how many failed."""
        failed = undrawn = 0
        well: list[int] = []
        for item in work:
            log = self._log.bind(
                plate=item.image.plate, well=item.image.well, path=printable(item.image.path)
            )
            outcome = outcomes.get(item.key)
            record = result_of(item, outcome, self._protocol, batch_id, self._folder)
            try:
                if isinstance(record, str):
                    failed += 1
                    again = self._ledger.fail(item.image, record, now)
                    log.error("measurement failed", reason=record, again=again)
                    continue
                undrawn += record.outline_path is None
                made_with = recipe_of(item.segmentation, self._protocol)
                run = self._runs.live(item.image.plate, made_with, now)
                self._results.measured(item.image, replace(record, run_id=run), now)
                well.append(item.image.id)
            except ClaimLostError:
                # Its original may be somebody else's by now; one that nobody wants is cleared.
                log.info("superseded while it was measured")
                continue
            self._folder.original(item.image.id).unlink(missing_ok=True)
            log.info("measured", area_px=record.area_px, flags=",".join(record.flags))
        if undrawn:
            self._log.warning(NO_OUTLINE, plate=work[0].image.plate, batch=batch_id, images=undrawn)
        if well:
            self._well_at = self._crew.well(well)
        return failed

    # -- trouble ---------------------------------------------------------------------------

    def _hand_back(self, images: Sequence[Image], error: Exception, now: float) -> None:
        """The images go back to their stage, and are tried alone from then on.

        One that fails the worker alone is to blame if others went well meanwhile; while
        nothing goes well, it is tried again for ever.
        """
        ids = [image.id for image in images]
        for image in images:
            self._log.warning(
                "handed back",
                plate=image.plate,
                well=image.well,
                path=printable(image.path),
                reason=str(error).partition("\n")[0],
            )
        if isinstance(error, (OSError, sqlite3.Error)):  # the disk, too many open files
            self._release(ids)
            return
        if isinstance(error, PipelineError):
            self._release(ids)
            self._sure = False  # its file was changed under way
            return
        proven = self._crew.is_to_blame(ids[0], self._well_at)
        self._crew.failed(ids)
        if self._stopping or len(images) > 1 or images[0].attempts == 0:
            self._release(ids, suspect=not self._stopping)
        else:
            reason = f"alone in its batch, it failed CellProfiler as a whole: {error}"
            self._ledger.fail(images[0], reason, now, for_ever=not proven)

    def _check_pipeline(self) -> None:
        """Have CellProfiler look at the pipeline, and go on with it as it is now.

        Raises:
            PipelineError: it can't be used, or not with the images that are made.
            EngineError: CellProfiler does not work.
        """
        self._sure = False  # what is looked at is what the engine takes from now on
        known = self._protocol
        if isinstance(known, Unchecked):
            found = known.check()
            self._require_images(found.images)
        else:
            info = self._engine.validate(known.pipeline)
            self._require_images(info.images.values())
            if known.object_name not in info.measured:
                raise PipelineError(
                    f"The pipeline {known.pipeline} was changed and does not measure "
                    f"{known.object_name} any more.",
                    "Change it back, or name another object in the configuration and start again.",
                )
            found = replace(known, pipeline_sha256=info.sha256)
            if found != known:
                self._log.warning("the pipeline was changed; measuring with it", sha256=info.sha256)
        self._protocol, self._sure, self._trouble = found, True, ""

    def _require_images(self, wanted: Iterable[str]) -> None:
        if not self._protocol.images.issuperset(wanted):
            raise PipelineError(
                f"The pipeline {self._protocol.pipeline} was changed and asks for another image.",
                "Change it back, or start again so that the image is made.",
            )

    def _engine_trouble(self, error: EngineError) -> None:
        if error.message != self._trouble:
            self._log.error("CellProfiler's worker", reason=error.message, next_step=error.hint)
        self._trouble = error.message
