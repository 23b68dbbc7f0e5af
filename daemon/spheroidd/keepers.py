"""The parts that no image goes through: backups, what is kept, alerts, the monitor."""

import os
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from spheroidd.alerts.addresses import addresses
from spheroidd.alerts.seen import Wishes
from spheroidd.alerts.sending import Sender
from spheroidd.alerts.stage import AlertStage
from spheroidd.alerts.starting import Starting
from spheroidd.config import Config
from spheroidd.monitor.look import Look
from spheroidd.monitor.server import Monitor
from spheroidd.parts import Finished, Keeper
from spheroidd.store.alerting import PreviousEnd
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.kept import Kept, Kind
from spheroidd.store.paths import to_stored
from spheroidd.system.disk import GB
from spheroidd.upkeep.backup import BackupStage
from spheroidd.upkeep.retention import RetentionStage


def keepers_of(
    config: Config,
    folder: StateFolder,
    database: Database,
    log: FilteringBoundLogger,
    finished: Finished | None,
    previous: PreviousEnd | None,
) -> Mapping[str, Keeper]:
    """By name; a run until idle makes no backup and tells nobody, for somebody sits there.

    Args:
        previous: how the daemon before this one ended, if not as it should.
    """
    found: dict[str, Keeper] = {"keep": _retention(config, folder, database, log)}
    if finished is None:
        if config.backup.every_hours is not None:
            found["backup"] = BackupStage(
                database.path,
                folder.backups(config.backup.folder),
                config.backup.every_hours,
                config.backup.copies,
                log,
            )
        found["alerts"] = _alerts(config, database, log, previous)
    return found


def starting_of(config: Config, log: FilteringBoundLogger, finished: Finished | None) -> Starting:
    """Who tells that the service can't start; nobody for a run until idle: somebody sits there."""
    wanted = config.alerts
    if finished is not None:
        return Starting((), None, None, None, {}, log)
    return Starting(
        wanted.targets, wanted.targets_file, wanted.remind_hours, config.state_dir, os.environ, log
    )


def monitor_of(config: Config, folder: StateFolder, log: FilteringBoundLogger) -> Monitor | None:
    """The HTTP server for machines, not started; None where none is wanted."""
    wanted = config.monitor
    if wanted.port is None:
        return None
    return Monitor(wanted.host, wanted.port, Look(folder.database), log)


def _retention(
    config: Config, folder: StateFolder, database: Database, log: FilteringBoundLogger
) -> RetentionStage:
    keep = config.keep
    days: dict[Kind, float | None] = {
        "masks": keep.masks_days,
        "outlines": keep.outlines_days,
        "white": keep.white_days,
        "spreadsheets": keep.spreadsheets_days,
    }
    budget = keep.budget_gb * GB if keep.budget_gb else None
    return RetentionStage(Kept(database), folder.root, days, budget, log)


def _alerts(
    config: Config, database: Database, log: FilteringBoundLogger, previous: PreviousEnd | None
) -> AlertStage:
    wanted = config.alerts
    found = addresses(wanted.targets, wanted.targets_file, os.environ)
    for warning in found.warnings:
        log.warning("alerts", reason=warning)
    wishes = Wishes(
        wanted.no_image_minutes,
        wanted.failures_per_hour,
        wanted.flagged_in_a_row,
        wanted.remind_hours,
        wanted.quiet_hours,
    )
    roots = [to_stored(str(watch.path)) for watch in config.watch]
    return AlertStage(database, roots, wishes, Sender(found.found, log), log, previous)
