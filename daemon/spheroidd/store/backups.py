"""Backups of the database as files: their names, which are there, which is the newest."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

# Made at (UTC), and a number where two fell into one second.
_NAME = re.compile(r"spheroidd-(\d{8}T\d{6}Z)(?:-(\d+))?\.db")
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, order=True)
class Backup:
    """One file; `made_at` in seconds since the epoch. They sort by age."""

    made_at: float
    number: int
    path: Path


def stamp(now: float) -> str:
    """A time in file names: UTC, such as 20260131T120000Z."""
    return datetime.fromtimestamp(now, UTC).strftime(_STAMP)


def backup_name(now: float, number: int = 1) -> str:
    """The file name of a backup made at this time."""
    return f"spheroidd-{stamp(now)}{f'-{number}' if number > 1 else ''}.db"


def backups_in(folder: Path) -> list[Backup]:
    """The backups in a folder, the oldest first, judged by their names; none if there is no
    such folder.

    Raises:
        OSError: it can't be read.
    """
    found = []
    try:
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is None or path.is_symlink() or not path.is_file():
                continue
            try:
                made = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
            except ValueError:  # digits that are no date: not ours
                continue
            found.append(Backup(made.timestamp(), int(match[2] or 1), path))
    except FileNotFoundError:
        return []
    return sorted(found)
