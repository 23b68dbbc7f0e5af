"""From the configuration to the parts of the daemon, made and warm."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.config import Config, Watch
from spheroidd.errors import ModelError, PipelineError, SpheroiddError
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.intake.stage import Intake
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import Engine, PipelineInfo, worker_command
from spheroidd.measure.environment import check as check_environment
from spheroidd.measure.judge import JudgeStage
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.measure.stage import MeasureStage
from spheroidd.segment.finding import Finder
from spheroidd.segment.models import Model, resolve
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.histories import Histories
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_stored
from spheroidd.store.results import Results
from spheroidd.store.runs import Runs
from spheroidd.system.loop import Loop

Finished = Callable[[], bool]


@dataclass(frozen=True)
class Parts:
    """Everything that was built, by name."""

    ledger: Ledger
    histories: Histories
    health: Health
    intakes: list[Intake]
    measure: MeasureStage
    judge: JudgeStage
    loops: list[Loop]


def build(
    config: Config,
    home: Path,
    folder: StateFolder,
    database: Database,
    log: FilteringBoundLogger,
    finished: Finished | None,
) -> Parts:
    """Make every part; the slow ones (model, CellProfiler) come up warm."""
    ledger, results, health = Ledger(database), Results(database), Health(database)
    _take_up(ledger, config, log)
    recipe = warm_recipe(config, home, log)
    engine, protocol = warm_engine(config, home, folder.scratch, log)
    first = recipe.finder.first if recipe.finder else None
    health.update(
        time.time(),
        model=first.model.name if first else "none",
        provider=first.provider if first else None,
        pipeline=protocol.pipeline_name,
    )

    def more_coming() -> bool:
        if finished is None or not finished():
            return True
        counts = ledger.counts()
        return counts["waiting"] + counts["ready"] > 0

    segment = SegmentStage(
        ledger, results, folder, lambda image: read_original(ledger, image), recipe, log
    )
    if again := segment.redo_incomplete(time.time()):
        log.warning("segmented under another configuration; done again", images=again)
    measure = MeasureStage(
        ledger, results, Runs(database), folder, engine, protocol, log, more_coming
    )
    watched = [_intake(watch, ledger, health, log) for watch in config.watch]
    loops = [loop for _, loop in watched]
    histories = Histories(database)
    judge = judge_of(config, histories, log)
    loops += [
        Loop(name, part, log)
        for name, part in (("segment", segment), ("measure", measure), ("judge", judge))
    ]
    intakes = [intake for intake, _ in watched]
    return Parts(ledger, histories, health, intakes, measure, judge, loops)


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
    watch: Watch, ledger: Ledger, health: Health, log: FilteringBoundLogger
) -> tuple[Intake, Loop]:
    """A folder's intake, and the loop that its watcher's hints wake."""
    wake = threading.Event()
    intake = Intake(folder_of(watch), ledger, health, log, wake.set)
    return intake, Loop(f"intake {watch.path}", intake, log, wake=wake)


def warm_recipe(config: Config, home: Path, log: FilteringBoundLogger) -> Recipe:
    """How the configuration says that masks are made; its models loaded and tried."""
    wanted = config.segmentation
    if not wanted.enabled:
        log.warning("no model: CellProfiler finds the spheroids on the original images")
        return Recipe(None, __version__)
    # The one that may be missing after an upgrade is looked for before the slow one is loaded.
    second = _second_model(config, home)
    first = _warm_session(resolve(wanted.model, home), config, home, log)
    finder = Finder(
        first,
        _warm_session(second, config, home, log) if second else None,
        wanted.threshold,
        refine=wanted.refine,
        dense=wanted.spheroid == "dense",
    )
    recipe = Recipe(finder, __version__)
    log.info("masks", threshold=wanted.threshold, refinement=recipe.refinement or "none")
    return recipe


def _second_model(config: Config, home: Path) -> Model | None:
    names = config.segmentation.models[1:]
    try:
        return resolve(names[0], home) if names else None
    except ModelError as error:
        raise ModelError(
            f"segmentation.second_model, which looks again where {config.segmentation.model} is "
            f"unsure: {error.message}",
            f"{error.hint} Or set `second_model: none`, or `refine: false`.",
        ) from error


def _warm_session(model: Model, config: Config, home: Path, log: FilteringBoundLogger) -> Session:
    session = open_session(
        model,
        home=home,
        device=config.segmentation.device,
        require=config.segmentation.require,
        warn=lambda message: log.warning("accelerator", model=model.name, reason=message),
    )
    log.info("model warm", model=model.name, md5=model.md5, provider=session.provider)
    return session


def warm_engine(
    config: Config, home: Path, scratch: Path, log: FilteringBoundLogger
) -> tuple[Engine, Protocol]:
    """CellProfiler's worker, running, and the pipeline, checked.

    Args:
        scratch: a folder for this worker alone.
    """
    wanted = config.measurement
    path = pipeline_path(wanted.pipeline)
    environment = check_environment(home)
    if not environment.current:
        log.warning(
            "CellProfiler's environment is of another version of spheroidd",
            next_step="spheroidd engine install",
        )
    engine = Engine(worker_command(environment.python, scratch), log=_worker_log(log))
    engine.start()
    try:
        info = engine.validate(path, wanted.images)
        if not config.segmentation.enabled:
            _without_model(info, path)
        name = _spheroids_of(info, path, wanted.spheroid)
    except SpheroiddError:
        engine.stop()
        raise
    log.info(
        "CellProfiler warm",
        cellprofiler=engine.version,
        pipeline=wanted.pipeline,
        sha256=info.sha256,
        images=dict(info.images),
        objects=list(info.objects),
        spheroid=name,
    )
    rule = Rule(wanted.batch.max_images, wanted.batch.max_wait_seconds)
    return engine, Protocol(path, wanted.pipeline, info.sha256, name, rule, __version__)


def _without_model(info: PipelineInfo, path: Path) -> None:
    """With `model: none` there is the original alone."""
    missing = [
        given if name == given else f"{given} (as '{name}')"
        for name, given in info.images.items()
        if given != "Original"
    ]
    if missing:
        raise PipelineError(
            f"The pipeline {path} asks for {', '.join(missing)}, which "
            "segmentation.model: none does not provide.",
            "It can have Original; name a model, or change the pipeline or measurement.images.",
        )


def _spheroids_of(info: PipelineInfo, path: Path, wanted: str | None) -> str:
    """Which kind of object is the spheroid: the configured one, `Spheroids`, or the only one."""
    found = ", ".join(info.measured)
    if wanted is not None:
        if wanted in info.measured:
            return wanted
        makes = "makes but does not measure" if wanted in info.objects else "does not make"
        raise PipelineError(
            f"measurement.spheroid is {wanted!r}, which the pipeline {path} {makes}.",
            f"It measures the area of {found}; name one of these, or measure another one "
            "with MeasureObjectSizeShape.",
        )
    if "Spheroids" in info.measured:
        return "Spheroids"
    if len(info.measured) == 1:
        return info.measured[0]
    raise PipelineError(
        f"The pipeline {path} measures the area of {found}, and which is the spheroid is not said.",
        f"Say in the configuration, under `measurement:`, for example "
        f"`spheroid: {info.measured[0]}`.",
    )


def _worker_log(log: FilteringBoundLogger) -> Callable[..., None]:
    def tell(event: str, *, level: str = "info", **fields: object) -> None:
        getattr(log, level)(event, part="cellprofiler", **fields)

    return tell


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
