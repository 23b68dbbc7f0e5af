"""From the configuration to the parts of the daemon, made and warm."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.config import Config, Watch
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.intake.patience import Patience
from spheroidd.intake.stage import Intake
from spheroidd.keepers import keepers_of, monitor_of
from spheroidd.measure.engine import Engine, default_deadline
from spheroidd.measure.judge import JudgeStage
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.stage import MeasureStage
from spheroidd.parts import Finished, Parts
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.alerting import PreviousEnd
from spheroidd.store.conditions import Conditions
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.histories import Histories
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_stored
from spheroidd.store.results import Results
from spheroidd.store.runs import Runs
from spheroidd.system.disk import Reserve
from spheroidd.system.loop import Loop
from spheroidd.warming import keeping_white, warm_engine, warm_recipe

# A batch that is late is given up and its worker replaced; only beyond that a part is stuck.
_BATCH_MARGIN_SECONDS = 300.0
_COPY_SECONDS = 3600.0  # a backup of gigabytes on a slow disk


def build(
    config: Config,
    home: Path,
    folder: StateFolder,
    database: Database,
    log: FilteringBoundLogger,
    finished: Finished | None,
    previous: PreviousEnd | None,
) -> Parts:
    """Make every part; the slow ones (model, CellProfiler) come up warm, and last.

    Args:
        previous: how the daemon before this one ended, if not as it should.
    """
    ledger, health, histories = Ledger(database), Health(database), Histories(database)
    keepers = keepers_of(config, folder, database, log, finished, previous)
    monitor = monitor_of(config, folder, log)
    patience = Patience(lambda image: read_original(ledger, image))
    watched = [_intake(watch, ledger, health, patience, log) for watch in config.watch]
    reserve = Reserve(folder.root, config.disk.reserve_gb)
    judge = judge_of(config, histories, log)
    _take_up(ledger, config, log)
    recipe = warm_recipe(config, home, log)
    engine, protocol = warm_engine(config, home, folder.scratch, log, patient=finished is None)
    with contextlib.ExitStack() as undo:
        undo.callback(engine.stop)
        recipe = keeping_white(config, recipe, protocol)
        _tell_what_runs(health, recipe, protocol)
        segment = _segment_stage(database, folder, patience, recipe, log)
        measure = _measure_stage(database, folder, engine, protocol, log, finished)
        if monitor is not None:
            monitor.start()
        undo.pop_all()
    return Parts(
        ledger=ledger,
        histories=histories,
        health=health,
        told=Conditions(database),
        finished=finished,
        patience=patience,
        finder=recipe.finder,
        intakes=[intake for intake, _ in watched],
        measure=measure,
        judge=judge,
        reserve=reserve,
        work=_work_loops(config, segment, measure, judge, reserve, log),
        around=[loop for _, loop in watched]
        + [Loop(name, part, log, deadline=_COPY_SECONDS) for name, part in keepers.items()],
        keepers=keepers,
        monitor=monitor,
    )


def _work_loops(
    config: Config,
    segment: SegmentStage,
    measure: MeasureStage,
    judge: JudgeStage,
    reserve: Reserve,
    log: FilteringBoundLogger,
) -> list[Loop]:
    batch_deadline = default_deadline(config.measurement.batch.max_images) + _BATCH_MARGIN_SECONDS
    return [
        Loop("segment", segment, log, gate=reserve.short),
        Loop("measure", measure, log, gate=reserve.short, deadline=batch_deadline),
        Loop("judge", judge, log),
    ]


def _segment_stage(
    database: Database,
    folder: StateFolder,
    patience: Patience,
    recipe: Recipe,
    log: FilteringBoundLogger,
) -> SegmentStage:
    stage = SegmentStage(Ledger(database), Results(database), folder, patience.read, recipe, log)
    if again := stage.redo_incomplete(time.time()):
        log.warning("segmented under another configuration; done again", images=again)
    return stage


def _measure_stage(
    database: Database,
    folder: StateFolder,
    engine: Engine,
    protocol: Protocol,
    log: FilteringBoundLogger,
    finished: Finished | None,
) -> MeasureStage:
    ledger = Ledger(database)
    coming = _more_coming(ledger, finished)
    results, runs = Results(database), Runs(database)
    return MeasureStage(ledger, results, runs, folder, engine, protocol, log, coming)


def _tell_what_runs(health: Health, recipe: Recipe, protocol: Protocol) -> None:
    first = recipe.finder.first if recipe.finder else None
    health.update(
        time.time(),
        model=first.model.name if first else "none",
        provider=first.provider if first else None,
        pipeline=protocol.pipeline_name,
    )


def _more_coming(ledger: Ledger, finished: Finished | None) -> Callable[[], bool]:
    """Whether waiting for a fuller batch may gain anything."""

    def more_coming() -> bool:
        if finished is None or not finished():
            return True
        counts = ledger.counts()
        return counts["waiting"] + counts["ready"] > 0

    return more_coming


def judge_of(config: Config, histories: Histories, log: FilteringBoundLogger) -> JudgeStage:
    """The judge, as the configuration wants it."""
    return JudgeStage(histories, config.flags.bounds(), log, config.measurement.objects)


def _take_up(ledger: Ledger, config: Config, log: FilteringBoundLogger) -> None:
    """Go on where the last daemon ended, however it ended."""
    now = time.time()
    log.info(
        "starting",
        version=__version__,
        handed_back=ledger.recover(after_a_kill=True),
        tried_again=ledger.look_again(now),
        not_watched_any_more=ledger.leave(
            [to_stored(str(watch.path)) for watch in config.watch], now
        ),
    )


def _intake(
    watch: Watch, ledger: Ledger, health: Health, patience: Patience, log: FilteringBoundLogger
) -> tuple[Intake, Loop]:
    """A folder's intake, and the loop that its watcher's hints wake."""
    wake = threading.Event()
    answers = patience.answers(to_stored(str(watch.path)))
    intake = Intake(folder_of(watch), ledger, health, log, wake.set, answers)
    return intake, Loop(intake.name, intake, log, wake=wake)


def folder_of(watch: Watch) -> Folder:
    return Folder(
        root=watch.path,
        pattern=NamePattern(watch.pattern),
        extensions=watch.extensions,
        observer=watch.observer,
        settle_seconds=watch.settle_seconds,
        poll_seconds=watch.poll_seconds,
        scan_seconds=watch.scan_seconds,
        interval_minutes=watch.interval_minutes,
        timezone=ZoneInfo(watch.timezone) if watch.timezone else None,
        pixel_size_um=watch.pixel_size_um,
    )
