"""The daemon's whole life on one page: build, start, ready, wait, stop.

intake (one per folder) → segment → measure → judge, each a part on a loop of its own,
with the ledger between them; the judge moves no image, it looks at whole wells.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.assembly import Finished, Parts, build
from spheroidd.config import Config
from spheroidd.errors import SpheroiddError
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.system.lock import only_one
from spheroidd.system.notify import notify
from spheroidd.system.signals import stop_signals

_TICK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
_STOP_SECONDS = 60.0  # for the steps in hand; systemd's TimeoutStopSec is longer
_HAND_BACK_SECONDS = 10.0


def run(
    config: Config, home: Path, log: FilteringBoundLogger, finished: Finished | None = None
) -> int:
    """Run the daemon until it is told to stop, or until it is idle and `finished()`.

    Args:
        home: where model weights and CellProfiler's environment lie.
        finished: whether no more images will come; None: run for ever.

    Returns:
        0, or 3 when it ended idle with failed images or wells that could not be judged.

    Raises:
        SpheroiddError: it can't start, or a folder can't be read and so idle means nothing.
    """
    folder = StateFolder(config.state_dir)
    folder.create()
    with only_one(folder.lock), Database(folder.database) as database, stop_signals() as stopping:
        health = Health(database)
        health.started(time.time(), pid=os.getpid(), version=__version__)
        try:
            parts = build(config, home, folder, database, log, finished)
            try:
                failed = _live(parts, stopping, finished, log)
            finally:
                _stop(parts, log)
        except SpheroiddError as error:
            health.ended(time.time(), "failed", str(error))
            raise
        health.ended(time.time(), "stopped")
    return 3 if finished is not None and failed and not stopping.is_set() else 0


def _live(
    parts: Parts, stopping: threading.Event, finished: Finished | None, log: FilteringBoundLogger
) -> int:
    """From the first scan to the wish to end; returns how many images failed, and how many
    wells could not be judged."""
    for loop in parts.loops:
        loop.start()
    _await_scans(parts, [1] * len(parts.intakes), stopping)
    notify("READY=1")
    log.info("ready", folders=[str(intake.root) for intake in parts.intakes])
    _wait(parts, stopping, finished, log)
    return parts.ledger.counts()["failed"] + len(parts.histories.aside)


# -- wait ------------------------------------------------------------------------------


def _await_scans(parts: Parts, numbers: list[int], stopping: threading.Event) -> None:
    while not all(
        intake.scanned(number) for intake, number in zip(parts.intakes, numbers, strict=True)
    ):
        if stopping.wait(0.05):
            return


def _wait(
    parts: Parts, stopping: threading.Event, finished: Finished | None, log: FilteringBoundLogger
) -> None:
    """Tick until stopped, or until idle; a full disk or a locked database is waited out."""
    heartbeat = 0.0
    while not stopping.wait(_TICK_SECONDS):
        now = time.time()
        for loop in parts.loops:
            if not loop.alive:  # it guards every step, so this should not be; never in silence
                raise SpheroiddError(f"The part {loop.name!r} has died.", "See the log.")
        try:
            parts.ledger.retry_due(now)
            if abs(now - heartbeat) >= _HEARTBEAT_SECONDS:
                heartbeat = now
                _tell_how_it_is(parts, now)
            if finished is not None and finished() and _idle(parts, stopping):
                return
        except (OSError, sqlite3.Error) as error:
            log.error("the state folder can't be used; trying again", reason=str(error))
            notify(f"STATUS=trouble: {error}")
            stopping.wait(_HEARTBEAT_SECONDS)


def _tell_how_it_is(parts: Parts, now: float) -> None:
    """A heartbeat for `status`, and systemd's status line."""
    trouble = "; ".join(filter(None, _troubles(parts)))
    parts.health.update(now, phase="running", trouble=trouble)
    line = ", ".join(f"{count} {state}" for state, count in parts.ledger.counts().items())
    notify(f"STATUS={line}; trouble: {trouble}" if trouble else f"STATUS={line}")


def _idle(parts: Parts, stopping: threading.Event) -> bool:
    """Nothing to do, and a fresh look at every folder finds nothing either."""
    if _unfinished(parts):
        return False
    _await_scans(parts, [intake.rescan() for intake in parts.intakes], stopping)
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
    return sum([counts["waiting"], counts["ready"], counts["segmented"], parts.histories.pending()])


def _troubles(parts: Parts) -> Iterator[str]:
    for loop in parts.loops:
        yield loop.trouble or loop.stuck
    for intake in parts.intakes:
        yield f"{intake.root}: {intake.degraded}" if intake.degraded else ""
    yield parts.measure.trouble
    yield parts.judge.trouble


# -- stop -------------------------------------------------------------------------------


def _stop(parts: Parts, log: FilteringBoundLogger) -> None:
    """Let every step in hand end, in the order of the images' life; then hand back."""
    notify("STOPPING=1")
    log.info("stopping: the work in hand is finished or handed back; again to force")
    for loop in parts.loops:
        loop.ask_to_end()
    end = time.monotonic() + _STOP_SECONDS
    for loop in parts.loops:
        if not loop.join(max(0.1, end - time.monotonic())):
            log.warning("still busy; its work is handed back", part=loop.name)
    for intake in parts.intakes:
        intake.stop()
    parts.measure.stop()
    for loop in parts.loops:
        loop.join(_HAND_BACK_SECONDS)
    try:
        parts.ledger.recover()
    except (OSError, sqlite3.Error) as error:  # the next start does it
        log.error("claims are handed back at the next start", reason=str(error))
    log.info("stopped")
