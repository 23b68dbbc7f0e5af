"""The daemon's whole life on one page: build, start, ready, wait, stop; and again on SIGHUP.

intake (one per folder) → segment → measure → judge, each a part on a loop of its own,
with the ledger between them; the judge moves no image, it looks at whole wells.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.alerts.starting import Starting
from spheroidd.assembly import build
from spheroidd.config import Config
from spheroidd.errors import SpheroiddError
from spheroidd.heartbeat import BEAT_SECONDS, ping, tell_how_it_is
from spheroidd.idling import await_scans, is_idle
from spheroidd.keepers import starting_of
from spheroidd.parts import Finished, Parts
from spheroidd.reloading import Settings
from spheroidd.stopping import stop
from spheroidd.store.alerting import previous_end
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.soundness import LockedError, require_sound
from spheroidd.system.lock import only_one
from spheroidd.system.notify import notify, notify_ready, notify_reloading
from spheroidd.system.signals import Signals, service_signals

_TICK_SECONDS = 0.5


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
    starting = starting_of(settings.now, log, finished)
    with starting.guard():
        folder.create()
    with (
        only_one(folder.lock),  # outside the guard: one that runs already is no trouble
        _sound(folder, settings.now, starting) as database,
        service_signals() as signals,
    ):
        previous = previous_end(database)

        def make(config: Config) -> Parts:
            while True:
                try:
                    before = previous or starting.before()
                    return build(config, home, folder, database, log, finished, before)
                except LockedError as error:  # whoever has it will be done some day
                    log.error("waiting for the database", reason=str(error))
                    starting.it_ended(str(error), time.time())
                    if signals.stopping.wait(BEAT_SECONDS):
                        raise

        def parts() -> Parts:
            with starting.guard():
                built = settings.apply(make)
            starting.it_runs()
            return built

        health = Health(database)
        health.started(time.time(), pid=os.getpid(), version=__version__)
        try:
            while (failed := _life(parts(), settings, signals, log)) is None:
                previous = None
                health.update(time.time(), phase="starting")
        except SpheroiddError as error:
            health.ended(time.time(), "failed", str(error))
            raise
        health.ended(time.time(), "stopped")
    return 3 if finished is not None and failed and not signals.stopping.is_set() else 0


def _sound(folder: StateFolder, config: Config, starting: Starting) -> Database:
    """The database, looked at before anything is written to it; that may take minutes."""

    def takes_a_while(seconds: int) -> None:
        notify(f"EXTEND_TIMEOUT_USEC={seconds}000000")

    with starting.guard():
        require_sound(folder.database, config.backup.folder, lambda: takes_a_while(60))
        return Database(folder.database, lambda: takes_a_while(600))


def _life(
    parts: Parts, settings: Settings, signals: Signals, log: FilteringBoundLogger
) -> int | None:
    """From the first scan to the end: returns how many images failed, and wells could not be
    judged.  Or until a new configuration is to be applied: None."""
    again = False
    try:
        for loop in parts.loops:
            loop.start()
        await_scans(parts, [1] * len(parts.intakes), signals.stopping)
        log.info("ready", folders=[str(intake.root) for intake in parts.intakes])
        settings.answered += 1
        notify_ready()
        while not _wait(parts, settings, signals, log):
            signals.reloading.clear()  # before the file is read: one that comes now is another
            notify_reloading()
            again = settings.read_again()
            if again:
                return None
            settings.answered += 1
            notify_ready()
        return parts.ledger.counts()["failed"] + len(parts.histories.aside)
    except SpheroiddError as error:
        parts.last_words(str(error), time.time())
        raise
    finally:
        if not again:
            notify("STOPPING=1")
        left = stop(parts, log)
        if again and left:  # two lives at once would work on the same images
            raise SpheroiddError(
                f"{', '.join(left)} did not end, so the new configuration can't be applied.",
                "The service ends; systemd starts it again, with the new one.",
            )


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
        parts.look_at_folders(now)
        try:
            parts.ledger.retry_due(now)
            if abs(now - heartbeat) >= BEAT_SECONDS:
                heartbeat = now
                tell_how_it_is(parts, settings, now)
            if parts.finished is not None and parts.finished() and is_idle(parts, signals.stopping):
                return True
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, SpheroiddError) and error.fatal:
                raise  # a damaged database mends itself no more
            log.error("the state folder can't be used; trying again", reason=str(error))
            # It answers, if only with an error: a restart would mend nothing, so systemd is
            # told that all is being done.
            ping(parts)
            notify(f"STATUS=trouble: {error}")
            signals.stopping.wait(BEAT_SECONDS)
    return True


def _raise_what_is_fatal(parts: Parts) -> None:
    for loop in parts.loops:
        if loop.fatal is not None:
            raise loop.fatal
        if not loop.alive:  # it guards every step, so this should not be; never in silence
            raise SpheroiddError(f"The part {loop.name!r} has died.", "See the log.")
