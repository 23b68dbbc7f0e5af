"""From the configuration to the parts of the daemon, made and warm."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.config import Config, Watch
from spheroidd.intake.folder import Folder
from spheroidd.intake.fresh import Fresh
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.intake.patience import Patience
from spheroidd.intake.stage import Intake
from spheroidd.keepers import keepers_of, monitor_of
from spheroidd.measure.crew import Crew, free_memory, workers_for
from spheroidd.measure.engine import Engine, default_deadline
from spheroidd.measure.judge import JudgeStage
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.stage import MeasureStage
from spheroidd.parts import Finished, Keeper, Parts
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.stage import Flow, SegmentStage
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
from spheroidd.warming import begin_engine, keeping_white, warm_engine, warm_recipe

# A batch that is late is given up and its worker replaced; only beyond that a part is stuck.
_BATCH_MARGIN_SECONDS = 300.0
_INTAKE_IDLE_SECONDS = 0.1  # nothing wakes it when a file has been quiet for long enough
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
    fresh, segmented = Fresh(), threading.Event()
    patience = Patience(lambda image: read_original(ledger, image), fresh)
    intakes = [_intake(watch, ledger, health, patience, fresh, log) for watch in config.watch]
    reserve = Reserve(folder.root, config.disk.reserve_gb)
    judge = judge_of(config, histories, log)
    _take_up(ledger, config, log)
    with contextlib.ExitStack() as undo:
        recipe, warm = _warm_up(config, home, folder, log, undo, patient=finished is None)
        _tell_what_runs(health, recipe, warm[0][1])
        segment = _segment_stage(config, database, folder, patience, recipe, segmented.set, log)
        measures = _measure_stages(config, database, folder, warm, log)
        if monitor is not None:
            monitor.start()
        undo.pop_all()
    stages = segment, measures, judge
    return Parts(
        ledger=ledger,
        histories=histories,
        health=health,
        told=Conditions(database),
        finished=finished,
        patience=patience,
        finder=recipe.finder,
        intakes=intakes,
        segment=segment,
        measures=measures,
        judge=judge,
        reserve=reserve,
        work=_work_loops(config, stages, (fresh.more, segmented), reserve, log),
        around=_loops_around(intakes, keepers, log),
        keepers=keepers,
        monitor=monitor,
    )


def _loops_around(
    intakes: Sequence[Intake], keepers: Mapping[str, Keeper], log: FilteringBoundLogger
) -> list[Loop]:
    idle = _INTAKE_IDLE_SECONDS
    return [
        *(Loop(intake.name, intake, log, wake=intake.wake, idle=idle) for intake in intakes),
        *(Loop(name, keeper, log, deadline=_COPY_SECONDS) for name, keeper in keepers.items()),
    ]


def _warm_up(
    config: Config,
    home: Path,
    folder: StateFolder,
    log: FilteringBoundLogger,
    undo: contextlib.ExitStack,
    *,
    patient: bool,
) -> tuple[Recipe, list[tuple[Engine, Protocol]]]:
    """The models, and CellProfiler's workers; `undo` stops these."""
    count = workers_for(len(os.sched_getaffinity(0)), free_memory(), config.measurement.workers)
    log.info("CellProfiler's workers", workers=count)
    # The first one's folder is that of all others: it empties only `tmp` in it.
    scratches = [folder.scratch, *(folder.scratch / str(n) for n in range(2, count + 1))]
    engines = [begin_engine(config, home, scratch, log) for scratch in scratches]
    for engine in engines:
        undo.callback(engine.stop)
    recipe = warm_recipe(config, home, log)
    warm = [(one, warm_engine(one, config, home, log, patient=patient)) for one in engines]
    return keeping_white(config, recipe, warm[0][1]), warm


def _segment_stage(
    config: Config,
    database: Database,
    folder: StateFolder,
    patience: Patience,
    recipe: Recipe,
    segmented: Callable[[], None],
    log: FilteringBoundLogger,
) -> SegmentStage:
    stage = SegmentStage(
        Ledger(database),
        Results(database),
        folder,
        patience.read,
        recipe,
        log,
        Flow(
            lanes=recipe.lanes,
            newest_first=config.segmentation.backlog == "newest",
            segmented=segmented,
        ),
    )
    if again := stage.redo_incomplete(time.time()):
        log.warning("segmented under another configuration; done again", images=again)
    return stage


def _measure_stages(
    config: Config,
    database: Database,
    folder: StateFolder,
    warm: list[tuple[Engine, Protocol]],
    log: FilteringBoundLogger,
) -> list[MeasureStage]:
    ledger, results, runs, crew = Ledger(database), Results(database), Runs(database), Crew()
    full = config.measurement.batch.max_images

    def more_coming() -> bool:
        """Where fewer are on their way than fill a batch, waiting gains little."""
        return ledger.any_ready(full)

    return [
        MeasureStage(ledger, results, runs, folder, engine, protocol, log, more_coming, crew)
        for engine, protocol in warm
    ]


def _work_loops(
    config: Config,
    parts: tuple[SegmentStage, list[MeasureStage], JudgeStage],
    wakes: tuple[threading.Event, threading.Event],
    reserve: Reserve,
    log: FilteringBoundLogger,
) -> list[Loop]:
    segment, measures, judge = parts
    ready, segmented = wakes
    deadline = default_deadline(config.measurement.batch.max_images) + _BATCH_MARGIN_SECONDS
    return [
        Loop("segment", segment, log, wake=ready, gate=reserve.short),
        *(
            Loop(
                "measure" if number == 1 else f"measure {number}",
                stage,
                log,
                wake=segmented,
                gate=reserve.short,
                deadline=deadline,
            )
            for number, stage in enumerate(measures, start=1)
        ),
        Loop("judge", judge, log),
    ]


def _tell_what_runs(health: Health, recipe: Recipe, protocol: Protocol) -> None:
    first = recipe.finder.first if recipe.finder else None
    health.update(
        time.time(),
        model=first.model.name if first else "none",
        provider=first.provider if first else None,
        pipeline=protocol.pipeline_name,
    )


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
    watch: Watch,
    ledger: Ledger,
    health: Health,
    patience: Patience,
    fresh: Fresh,
    log: FilteringBoundLogger,
) -> Intake:
    answers = patience.answers(to_stored(str(watch.path)))
    return Intake(folder_of(watch), ledger, health, log, answers, fresh)


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
