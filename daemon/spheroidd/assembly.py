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
from spheroidd.errors import PipelineError, SpheroiddError
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.intake.stage import Intake
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import Engine, PipelineInfo, worker_command
from spheroidd.measure.environment import check as check_environment
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.measure.stage import MeasureStage, Protocol
from spheroidd.segment.models import resolve
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
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
    health: Health
    intakes: list[Intake]
    measure: MeasureStage
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
    log.info(
        "starting",
        version=__version__,
        handed_back=ledger.recover(after_a_kill=True),
        tried_again=ledger.look_again(time.time()),
        not_watched_any_more=ledger.leave(
            [to_stored(str(watch.path)) for watch in config.watch], time.time()
        ),
    )

    session = _session(config, home, log)
    engine, protocol = _engine(config, home, folder, log)
    health.update(
        time.time(),
        model=session.model.name if session else "none",
        provider=session.provider if session else None,
        pipeline=protocol.pipeline_name,
    )

    def more_coming() -> bool:
        if finished is None or not finished():
            return True
        counts = ledger.counts()
        return counts["waiting"] + counts["ready"] > 0

    recipe = Recipe(session, config.segmentation.threshold, __version__)
    segment = SegmentStage(
        ledger, results, folder, lambda image: read_original(ledger, image), recipe, log
    )
    if again := segment.redo_incomplete(time.time()):
        log.warning("segmented under another configuration; done again", images=again)
    measure = MeasureStage(ledger, results, Runs(database), folder, engine, protocol, log, more_coming)
    loops = [Loop("segment", segment, log), Loop("measure", measure, log)]
    intakes = []
    for watch in config.watch:
        intake, loop = _intake(watch, ledger, health, log)
        intakes.append(intake)
        loops.insert(0, loop)
    return Parts(ledger, health, intakes, measure, loops)


def _intake(
    watch: Watch, ledger: Ledger, health: Health, log: FilteringBoundLogger
) -> tuple[Intake, Loop]:
    """A folder's intake, and the loop that its watcher's hints wake."""
    wake = threading.Event()
    intake = Intake(folder_of(watch), ledger, health, log, wake.set)
    return intake, Loop(f"intake {watch.path}", intake, log, wake=wake)


def _session(config: Config, home: Path, log: FilteringBoundLogger) -> Session | None:
    wanted = config.segmentation
    if not wanted.enabled:
        log.warning("no model: CellProfiler finds the spheroids on the original images")
        return None
    session = open_session(
        resolve(wanted.model, home),
        home=home,
        device=wanted.device,
        require=wanted.require,
        warn=lambda message: log.warning("accelerator", reason=message),
    )
    model = session.model
    log.info("model warm", model=model.name, md5=model.md5, provider=session.provider)
    return session


def _engine(
    config: Config, home: Path, folder: StateFolder, log: FilteringBoundLogger
) -> tuple[Engine, Protocol]:
    wanted = config.measurement
    path = pipeline_path(wanted.pipeline)
    environment = check_environment(home)
    if not environment.current:
        log.warning(
            "CellProfiler's environment is of another version of spheroidd",
            next_step="spheroidd engine install",
        )
    engine = Engine(worker_command(environment.python, folder.scratch), log=_worker_log(log))
    engine.start()
    try:
        info = engine.validate(path)
        offered = {"Original", "Mask", "Spheroid"} if config.segmentation.enabled else {"Original"}
        missing = sorted(set(info.images) - offered)
        if missing:
            raise PipelineError(
                f"The pipeline {path} asks for {', '.join(missing)}, which "
                f"segmentation.model: {config.segmentation.model} does not provide.",
                f"It can have {', '.join(sorted(offered))}.",
            )
        name = _spheroids_of(info, path)
    except SpheroiddError:
        engine.stop()
        raise
    log.info(
        "CellProfiler warm",
        cellprofiler=engine.version,
        pipeline=wanted.pipeline,
        sha256=info.sha256,
        objects=list(info.objects),
    )
    rule = Rule(wanted.batch.max_images, wanted.batch.max_wait_seconds)
    return engine, Protocol(path, wanted.pipeline, info.sha256, name, rule, __version__)


def _spheroids_of(info: PipelineInfo, path: Path) -> str:
    """Which kind of object is the spheroid: `Spheroids`, or the only kind with an area."""
    if "Spheroids" in info.measured:
        return "Spheroids"
    if len(info.measured) == 1:
        return info.measured[0]
    raise PipelineError(
        f"The pipeline {path} measures the area of {', '.join(info.measured) or 'nothing'}.",
        "Name the objects that are the spheroid `Spheroids`, and measure them with "
        "MeasureObjectSizeShape.",
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
