"""The database, the daemon that writes it, its copies, and whom alerts go to."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from spheroidd.alerts.addresses import addresses
from spheroidd.doctor.finding import Finding, Installation, Level
from spheroidd.errors import SpheroiddError
from spheroidd.report import status
from spheroidd.store import reading
from spheroidd.store.backups import backups_in
from spheroidd.store.reader import SCHEMA, Reader, Row
from spheroidd.store.soundness import damaged

_START = "Start it: `systemctl start spheroidd`, or `spheroidd run -c FILE`."
_LOCKS = Path("/proc/locks")


def database(here: Installation) -> Finding:
    """Whether the database is there and whole; reads all of it."""
    path = here.state.database
    if not path.exists():
        return Finding("database", "ok", f"{path} is not there yet; the first start makes it")
    try:
        with Reader(path) as reader:
            damage = reading.damage(reader)
            images = sum(reading.state_counts(reader).values())
    except SpheroiddError as error:
        return Finding("database", "wrong", error.message, error.hint)
    if damage:
        advice = damaged(path, damage[0], _backups(here)).hint
        return Finding("database", "wrong", f"{path} is damaged: {damage[0]}", advice)
    size = path.stat().st_size / 1e6
    return Finding("database", "ok", f"whole, {size:.1f} MB, {images} images, schema {SCHEMA}")


def daemon(here: Installation) -> Iterator[Finding]:
    """Whether the daemon lives, and what it says of its own parts."""
    holder, row = lock_holder(here.state.lock), None
    conditions = []
    if here.state.database.exists():
        with Reader(here.state.database) as reader:
            row, conditions = reading.service(reader), reading.conditions(reader)
    if row is None:
        yield Finding("daemon", "warning", "it has never run on this state folder", _START)
        return
    seen = status.daemon(row, time.time())
    silent = abs(seen["silent_seconds"])
    if row["stopped_at"] is not None:
        reason = f": {row['trouble']}" if row["trouble"] else ""
        yield Finding("daemon", "warning", f"{row['phase']} at {row['stopped_at']}{reason}", _START)
    elif seen["running"]:
        found = f"{row['phase']}, process {row['pid']}, version {row['version']}"
        yield Finding("daemon", "ok", f"{found}; heartbeat {silent:.0f} s ago")
        yield from _parts(conditions)
    elif holder is not None:
        found = f"process {holder} lives, but its last heartbeat was {silent:.0f} s ago: it hangs"
        yield Finding("daemon", "wrong", found, "`systemctl restart spheroidd`; keep its log.")
    else:
        yield Finding("daemon", "wrong", f"it ended without a word {silent:.0f} s ago", _START)


def _parts(conditions: list[Row]) -> Iterator[Finding]:
    for row in conditions:
        if row["trouble"]:
            level: Level = "wrong" if row["urgent"] else "warning"
            found = f"{row['trouble']} (since {row['since']})"
            yield Finding(row["name"], level, found, row["next_step"])


def lock_holder(path: Path, locks: Path = _LOCKS) -> int | None:
    """The process that holds the state folder's lock, as the kernel's table of locks has it;
    None: nobody, or nobody that we can see.  The lock itself is not touched: who tries it
    could keep a daemon from starting."""
    try:
        inode = str(path.stat().st_ino)
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    for line in lines:  # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
        fields = line.split()
        if "FLOCK" in fields and fields[-3].rpartition(":")[2] == inode:
            return int(fields[-4])
    return None


def backups(here: Installation) -> Finding:
    """How old the newest copy of the database is."""
    wanted, folder = here.config.backup, _backups(here)
    try:
        found = backups_in(folder)
    except OSError as error:
        return Finding("backups", "wrong", f"{folder} can't be read: {error.strerror}",
                       "Check `backup.folder`, its disk and its permissions.")  # fmt: skip
    if wanted.every_hours is None:
        return Finding("backups", "warning", "none are made by themselves",
                       "Set `backup.every_hours`, or run `spheroidd backup -c FILE` on a "
                       "schedule.")  # fmt: skip
    if not found and not here.state.database.exists():
        return Finding("backups", "ok", "nothing to copy yet")
    if not found:
        return Finding("backups", "warning", f"none in {folder} yet", "The running daemon makes "
                       "them; `spheroidd backup -c FILE` makes one now.")  # fmt: skip
    hours = (time.time() - found[-1].made_at) / 3600
    said = f"{len(found)} in {folder}, the newest {hours:.1f} h old"
    if hours > 2 * wanted.every_hours:
        return Finding("backups", "warning", f"{said}, though one is due every "
                       f"{wanted.every_hours:g} h", "Is the daemon running, and is there room? "
                       "`spheroidd backup -c FILE` says why not.")  # fmt: skip
    return Finding("backups", "ok", said)


def _backups(here: Installation) -> Path:
    return here.state.backups(here.config.backup.folder)


def alerts(here: Installation) -> Iterator[Finding]:
    """How many addresses alerts go to; none of them is shown."""
    wanted = here.config.alerts
    try:
        known = addresses(wanted.targets, wanted.targets_file, os.environ)
    except SpheroiddError as error:
        yield Finding("alerts", "wrong", error.message, error.hint)
        return
    for warning in known.warnings:
        yield Finding("alerts", "warning", "an address may be read by others", warning)
    if known.found:
        yield Finding("alerts", "ok", f"{len(known.found)} addresses",
                      "`spheroidd alerts test -c FILE` sends one to each.")  # fmt: skip
    else:
        yield Finding("alerts", "warning", "no addresses that this user can see: nobody is told "
                      "when something goes wrong", "Set `alerts.targets_file`.")  # fmt: skip
