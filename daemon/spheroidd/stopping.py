"""The end, in order: steps in hand are finished, or handed back."""

import sqlite3
import time

from structlog.typing import FilteringBoundLogger

from spheroidd.parts import Parts
from spheroidd.system.loop import Loop

_STOP_SECONDS = 60.0  # for the steps in hand; systemd's TimeoutStopSec is longer
_HAND_BACK_SECONDS = 10.0
_NO_ANSWER_SECONDS = 5.0


def stop(parts: Parts, log: FilteringBoundLogger) -> list[str]:
    """Let every step in hand end, in the order of the images' life; then hand back.

    Returns the parts that still have not ended, other than those caught in a folder.
    """
    log.info("stopping: the work in hand is finished or handed back; again to force")
    for loop in parts.loops:
        loop.ask_to_end()
    parts.patience.stop()
    for keeper in parts.keepers.values():
        keeper.stop()  # or a mail server that hangs holds up the end
    end = time.monotonic() + _STOP_SECONDS
    for loop in parts.loops:
        if not _ended(loop, parts, end):
            log.warning("still busy; its work is handed back", part=loop.name)
    for intake in parts.intakes:
        intake.stop()
    parts.segment.stop()
    for measure in parts.measures:
        measure.stop()
    if parts.monitor is not None:
        parts.monitor.stop()
    left = [
        loop.name
        for loop in parts.loops
        if loop.name not in _caught(parts) and not loop.join(_HAND_BACK_SECONDS)
    ]
    try:
        parts.ledger.recover()
    except (OSError, sqlite3.Error) as error:  # the next start does it
        log.error("claims are handed back at the next start", reason=str(error))
    log.info("stopped")
    return left


def _ended(loop: Loop, parts: Parts, end: float) -> bool:
    """Whether it has ended in time; one that is caught in a folder is not waited for."""
    while not loop.join(0.2):
        if time.monotonic() >= end or loop.name in _caught(parts):
            return False
    return True


def _caught(parts: Parts) -> set[str]:
    """Loops that hang in a folder that does not answer: nothing can call them back, and they
    hold nothing that could be lost."""
    return {intake.name for intake in parts.intakes if intake.silent_seconds > _NO_ANSWER_SECONDS}
