"""The daemon's whole life on one page: build, start, ready, wait, stop; and again on SIGHUP.

intake (one per folder) → segment → measure → judge, each a part on a loop of its own,
with the ledger between them; the judge moves no image, it looks at whole wells.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.assembly import build
from spheroidd.config import Config
from spheroidd.errors import SpheroiddError
from spheroidd.parts import Finished, Parts
from spheroidd.reloading import Settings
from spheroidd.store.conditions import Condition
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.system.lock import only_one
from spheroidd.system.notify import notify, notify_reloading
from spheroidd.system.signals import Signals, service_signals

_TICK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
_STOP_SECONDS = 60.0  # for the steps in hand; systemd's TimeoutStopSec is longer
_HAND_BACK_SECONDS = 10.0


def run(
    load: Callable[[], Config],
    home: Path,
    log: FilteringBoundLogger,
    finished: Finished | None = None,
) -> int:
    """Run the daemon until it is told to stop, or until it is idle and `finished()`.

    Args:
        load: reads the configuration: now, and again on every SIGHUP.
        home: where model weights and CellProfiler's environment lie.
        finished: whether no more images will come; None: run for ever.

    Returns:
        0, or 3 when it ended idle with failed images or wells that could not be judged.

    Raises:
        SpheroiddError: it can't start, or a folder can't be read and so idle means nothing.
    """
    settings = Settings(load, log)
    folder = StateFolder(settings.now.state_dir)
    folder.create()
    with (
        only_one(folder.lock),
        Database(folder.database) as database,
        service_signals() as signals,
    ):

        def make(config: Config) -> Parts:
            return build(config, home, folder, database, log, finished)

        health = Health(database)
        health.started(time.time(), pid=os.getpid(), version=__version__)
        try:
            failed = _life(settings.apply(make), settings, signals, log)
            while signals.reloading.is_set():
                signals.reloading.clear()
                failed = _life(settings.apply(make), settings, signals, log)
        except SpheroiddError as error:
            health.ended(time.time(), "failed", str(error))
            raise
        health.ended(time.time(), "stopped")
    return 3 if finished is not None and failed and not signals.stopping.is_set() else 0


def _life(parts: Parts, settings: Settings, signals: Signals, log: FilteringBoundLogger) -> int:
    """From the first scan to the end, or until a new configuration is to be applied: then
    `signals.reloading` is set.  Returns how many images failed, and wells could not be judged."""
    try:
        for loop in parts.loops:
            loop.start()
        _await_scans(parts, [1] * len(parts.intakes), signals.stopping)
        log.info("ready", folders=[str(intake.root) for intake in parts.intakes])
        notify("READY=1")
        while not _wait(parts, settings, signals, log):
            notify_reloading()
            if settings.read_again():
                break
            signals.reloading.clear()
            notify("READY=1")
        return parts.ledger.counts()["failed"] + len(parts.histories.aside)
    finally:
        if not signals.reloading.is_set():
            notify("STOPPING=1")
        _stop(parts, log)


# -- wait ------------------------------------------------------------------------------


def _await_scans(parts: Parts, numbers: list[int], stopping: threading.Event) -> None:
    while not all(
        intake.scanned(number) for intake, number in zip(parts.intakes, numbers, strict=True)
    ):
        if stopping.wait(0.05):
            return


def _wait(
    parts: Parts,
    settings: Settings,
    signals: Signals,
    log: FilteringBoundLogger,
) -> bool:
    """Tick until stopped or idle (True), or until the configuration is to be read again (False).

    A full disk or a locked database is waited out.
    """
    heartbeat = 0.0
    while not signals.stopping.wait(_TICK_SECONDS):
        if signals.reloading.is_set():
            return False
        now = time.time()
        _raise_what_is_fatal(parts)
        try:
            parts.ledger.retry_due(now)
            if abs(now - heartbeat) >= _HEARTBEAT_SECONDS:
                heartbeat = now
                _tell_how_it_is(parts, settings, now)
            if parts.finished is not None and parts.finished() and _idle(parts, signals.stopping):
                return True
        except (OSError, sqlite3.Error) as error:
            log.error("the state folder can't be used; trying again", reason=str(error))
            # It answers, if only with an error: a restart would mend nothing, so systemd is
            # told that all is being done.
            _ping(parts)
            notify(f"STATUS=trouble: {error}")
            signals.stopping.wait(_HEARTBEAT_SECONDS)
    return True


def _raise_what_is_fatal(parts: Parts) -> None:
    for loop in parts.loops:
        if loop.fatal is not None:
            raise loop.fatal
        if not loop.alive:  # it guards every step, so this should not be; never in silence
            raise SpheroiddError(f"The part {loop.name!r} has died.", "See the log.")


def _tell_how_it_is(parts: Parts, settings: Settings, now: float) -> None:
    """A heartbeat for `status`, systemd's status line, and its watchdog."""
    refused = Condition(
        "configuration",
        settings.refused,
        "Mend it (`spheroidd check`), then `systemctl reload spheroidd`.",
    )
    parts.told.tell([*parts.conditions(), refused], now)
    trouble = "; ".join(filter(None, (parts.troubles(), refused.trouble)))
    parts.health.update(now, phase="running", trouble=trouble)
    line = ", ".join(f"{count} {state}" for state, count in parts.ledger.counts().items())
    notify(f"STATUS={line}; trouble: {trouble}" if trouble else f"STATUS={line}")
    _ping(parts)


def _ping(parts: Parts) -> None:
    """Only while work is possible: what is stuck for good, systemd's restart may mend."""
    if not parts.stuck():
        notify("WATCHDOG=1")


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


# -- stop -------------------------------------------------------------------------------


def _stop(parts: Parts, log: FilteringBoundLogger) -> None:
    """Let every step in hand end, in the order of the images' life; then hand back."""
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
