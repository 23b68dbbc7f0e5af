"""Waiting for scans, and the question whether there is nothing left to do (`--until-idle`)."""

import contextlib
import sqlite3
import threading
import time

from spheroidd.errors import SpheroiddError
from spheroidd.heartbeat import BEAT_SECONDS
from spheroidd.parts import Parts


def await_scans(parts: Parts, numbers: list[int], stopping: threading.Event) -> None:
    """Until every folder has been scanned, or does not answer: that may last for ever."""
    beat = time.monotonic()
    while not all(
        intake.scanned(number) or intake.silent
        for intake, number in zip(parts.intakes, numbers, strict=True)
    ):
        if stopping.wait(0.05):
            return
        parts.look_at_folders(time.time())
        if time.monotonic() - beat >= BEAT_SECONDS:  # a first scan may take minutes
            beat = time.monotonic()
            with contextlib.suppress(sqlite3.Error):
                parts.health.update(time.time())


def is_idle(parts: Parts, stopping: threading.Event) -> bool:
    """Nothing to do, and a fresh look at every folder finds nothing either."""
    if _unfinished(parts):
        return False
    await_scans(parts, [intake.rescan() for intake in parts.intakes], stopping)
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
    """What is still to be done, but for images in folders that are out of reach."""
    counts = parts.ledger.counts()
    states = counts["waiting"], counts["ready"], counts["segmented"]
    stranded = sum(intake.stranded for intake in parts.intakes)
    return sum(states) + parts.histories.pending() - stranded
