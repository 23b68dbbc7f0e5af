"""The daemon's whole life on one page: build, start, ready, wait, stop.

intake (one per folder) → segment → measure, each a part on a loop of its own,
with the ledger between them.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.config import Config, Watch
from spheroidd.errors import PipelineError, SpheroiddError
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.intake.stage import Folder, Intake
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import Engine, worker_command
from spheroidd.measure.environment import check as check_environment
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.measure.stage import MeasureStage, Protocol
from spheroidd.segment.models import resolve
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.stage import Recipe, SegmentStage
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results
from spheroidd.system.lock import only_one
from spheroidd.system.loop import Loop
from spheroidd.system.notify import notify

_TICK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
_STOP_SECONDS = 60.0  # for the step in hand; systemd's TimeoutStopSec is longer

Finished = Callable[[], bool]


@dataclass(frozen=True)
class Parts:
    """Everything that was built, by name."""

    ledger: Ledger
    health: Health
    intakes: list[Intake]
    segment: SegmentStage
    measure: MeasureStage
    loops: list[Loop]


def run(
    config: Config, home: Path, log: FilteringBoundLogger, finished: Finished | None = None
) -> int:
    """Run the daemon until it is told to stop, or until it is idle and `finished()`.

    Args:
        home: where model weights and CellProfiler's environment lie.
        finished: whether no more images will come; None: run for ever.

    Returns:
        0, or 3 when it ended idle with failed images.

    Raises:
        SpheroiddError: it can't start, or a folder can't be read and so idle means nothing.
    """
    folder = StateFolder(config.state_dir)
    folder.create()
    with only_one(folder.lock), _database(folder) as database, _signals() as stopping:
        parts = build(config, home, folder, database, log, finished)
        try:
            for loop in parts.loops:
                loop.start()
            _await_first_scan(parts, stopping)
            notify("READY=1")
            log.info("ready", folders=[str(watch.path) for watch in config.watch])
            _wait(parts, stopping, finished)
        finally:
            _stop(parts, log)
        failed = parts.ledger.counts()["failed"]
    return 3 if finished is not None and failed and not stopping.is_set() else 0


# -- build ---------------------------------------------------------------------------


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
    health.started(time.time(), pid=os.getpid(), version=__version__)
    handed_back = ledger.recover()
    again = ledger.look_again(time.time())
    log.info("starting", version=__version__, handed_back=handed_back, looked_at_again=again)

    session = _session(config, home, log)
    engine, protocol = _engine(config, home, folder, log)
    health.update(
        time.time(),
        model=session.model.name if session else "none",
        provider=session.provider if session else None,
        pipeline=protocol.pipeline_name,
    )

    def more_coming() -> bool:
        counts = ledger.counts()
        return finished is None or not finished() or counts["waiting"] + counts["ready"] > 0

    recipe = Recipe(session, config.segmentation.threshold, __version__)
    segment = SegmentStage(
        ledger, results, folder, lambda image: read_original(ledger, image), recipe, log
    )
    measure = MeasureStage(ledger, results, folder, engine, protocol, log, more_coming)
    loops = [Loop("segment", segment, log), Loop("measure", measure, log)]
    intakes = []
    for watch in config.watch:
        # The loop wakes on the watcher's hints, and needs the intake to exist first.
        wake = threading.Event()
        intake = Intake(folder_of(watch), ledger, health, log, wake.set)
        intakes.append(intake)
        loops.insert(0, Loop(f"intake {watch.path}", intake, log, wake=wake))
    return Parts(ledger, health, intakes, segment, measure, loops)


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
        # beside the weights, where `model fetch` has compiled already; a service that may not
        # write there keeps its own
        cache_dir=home / "cache" if os.access(home, os.W_OK) else config.state_dir / "tmp",
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
    python = check_environment(home).python
    engine = Engine(worker_command(python, folder.scratch), log=_worker_log(log))
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
    name = "Spheroids" if "Spheroids" in info.objects else info.objects[0]
    rule = Rule(wanted.batch.max_images, wanted.batch.max_wait_seconds)
    return engine, Protocol(path, wanted.pipeline, info.sha256, name, rule, __version__)


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


# -- wait ------------------------------------------------------------------------------


def _await_first_scan(parts: Parts, stopping: threading.Event) -> None:
    while not all(intake.looked.is_set() for intake in parts.intakes):
        if stopping.wait(0.05):
            return


def _wait(parts: Parts, stopping: threading.Event, finished: Finished | None) -> None:
    """Tick until stopped, or until idle; bring back what is due, keep the status current."""
    heartbeat = 0.0
    while not stopping.wait(_TICK_SECONDS):
        now = time.time()
        parts.ledger.retry_due(now)
        if abs(now - heartbeat) >= _HEARTBEAT_SECONDS:
            heartbeat = now
            trouble = "; ".join(filter(None, _troubles(parts)))
            parts.health.update(now, phase="running", trouble=trouble)
            notify(f"STATUS={_status(parts, trouble)}")
        if finished is not None and finished() and _idle(parts, stopping):
            return


def _idle(parts: Parts, stopping: threading.Event) -> bool:
    """Nothing to do, and a fresh look at every folder finds nothing either."""
    if _unfinished(parts):
        return False
    for intake in parts.intakes:
        intake.rescan()
    _await_first_scan(parts, stopping)
    if _unfinished(parts) or stopping.is_set():
        return False
    for intake in parts.intakes:
        if intake.degraded:
            raise SpheroiddError(
                f"{intake.root} can't be read ({intake.degraded}), so nobody knows whether "
                "everything is measured.",
                "Check the folder, its share and its permissions.",
            )
    return True


def _unfinished(parts: Parts) -> int:
    counts = parts.ledger.counts()
    return counts["waiting"] + counts["ready"] + counts["segmented"]


def _troubles(parts: Parts) -> Iterator[str]:
    for loop in parts.loops:
        yield loop.trouble
    for intake in parts.intakes:
        yield f"{intake.root}: {intake.degraded}" if intake.degraded else ""
    yield parts.measure.trouble


def _status(parts: Parts, trouble: str) -> str:
    line = ", ".join(f"{count} {state}" for state, count in parts.ledger.counts().items())
    return f"{line}; trouble: {trouble}" if trouble else line


# -- stop -------------------------------------------------------------------------------


def _stop(parts: Parts, log: FilteringBoundLogger) -> None:
    """Let every step in hand end, in the order of the images' life; then hand back."""
    notify("STOPPING=1")
    log.info("stopping: the work in hand is finished or handed back; again to force")
    for loop in parts.loops:
        loop.ask_to_end()
    for intake in parts.intakes:
        intake.stop()
    for loop in parts.loops:
        if not loop.join(_STOP_SECONDS):
            log.warning("still busy; its work is handed back", part=loop.name)
    parts.measure.stop()
    for loop in parts.loops:
        loop.join(_STOP_SECONDS)
    parts.ledger.recover()
    parts.health.stopped(time.time())
    log.info("stopped")


@contextlib.contextmanager
def _database(folder: StateFolder) -> Iterator[Database]:
    database = Database(folder.database)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT set a flag; the second one ends the process at once.

    Nothing is lost by that: claims are handed back at the next start, and the worker
    ends when its standard input closes.
    """
    stopping = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    previous = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
