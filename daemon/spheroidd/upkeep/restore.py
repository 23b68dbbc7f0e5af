"""A backup takes the database's place, and what it knows nothing of is put aside."""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spheroidd.errors import StoreError
from spheroidd.store.backups import stamp
from spheroidd.store.copying import Contents, Tell, contents_of, copy_database, is_in_use
from spheroidd.store.files import flush
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import seconds_of
from spheroidd.upkeep.backup import give_to_owner_of

# images/<plate>/<well>/<name>.<image>.<kind>.<ending>, and batches/<plate>/<batch>
_PICTURE = re.compile(r".*\.(\d+)\.[a-z]+\.(?:png|jpg)")
_BATCH = re.compile(r"\d{6,}")
_WRITING_SECONDS = 60.0  # an original is written a moment before the database hears of it


@dataclass(frozen=True)
class Restored:
    """`aside` holds all that was put aside, None where there was nothing; `before` is what the
    database that was there held, None if that can't be read any more; `files`: how many
    pictures and batches the backup knows nothing of."""

    now: Contents
    before: Contents | None
    aside: Path | None
    files: int


def restore(
    backup: Path, state: StateFolder, now: float, tell: Tell = lambda _done, _of: None
) -> Restored:
    """Put a copy of a backup in the database's place; nobody else may have that open.

    At every moment there is a database: the old one, or the whole new one.  Nothing is
    deleted: the old one goes to `before-restore-<time>` in the state folder, and with it
    pictures, spreadsheets and originals of images that the backup does not know, for their
    numbers will be given to other images.

    Args:
        backup: a backup, or any other copy of spheroidd's database.

    Raises:
        StoreError: the backup can't be used, or the database is in use; nothing was changed.
    """
    if not backup.is_file():
        raise StoreError(f"There is no backup {backup}.", "See which there are: spheroidd restore.")
    if state.database.exists() and backup.samefile(state.database):
        raise StoreError(f"{backup} is the database itself.", "Name one of its backups.")
    if state.database.exists() and is_in_use(state.database):
        raise StoreError(
            f"Another program has the database {state.database} open.",
            f"End it first; `fuser {state.database}` tells which it is.",
        )
    fresh = state.root / f".{state.database.name}.{os.getpid()}.part"
    try:
        copy_database(backup, fresh, tell)
        give_to_owner_of(state.root, fresh)
        contents, before = contents_of(fresh), _before(state.database)
        aside = _new_folder(state.root, now)
        try:
            files = _put_aside(state, contents, aside)
            _swap(state.database, fresh, aside)
        except BaseException:
            _take_back(state.root, aside)
            raise
    except OSError as error:
        raise StoreError(
            f"{backup} can't be restored: {error.strerror or error} ({error.filename}).",
            "Do it as the user that the daemon runs as (`sudo -u spheroidd …`).",
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    if not any(aside.iterdir()):
        aside.rmdir()
        return Restored(contents, before, None, files)
    return Restored(contents, before, aside, files)


def _before(database: Path) -> Contents | None:
    with contextlib.suppress(StoreError, sqlite3.Error):
        if database.exists():
            return contents_of(database)
    return None


def _new_folder(root: Path, now: float) -> Path:
    number = 1
    while True:
        more = f"-{number}" if number > 1 else ""
        folder = root / f"before-restore-{stamp(now)}{more}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        give_to_owner_of(root, folder)
        return folder


def _put_aside(state: StateFolder, contents: Contents, aside: Path) -> int:
    """Move what the backup knows nothing of; returns how many pictures and batches."""
    unknown = list(_unknown(state.root, contents))
    strange = [path for path in state.handover.glob("*.npy") if not _belongs(path, contents)]
    for path in unknown + strange:
        place = aside / path.relative_to(state.root)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return len(unknown)


def _belongs(original: Path, contents: Contents) -> bool:
    """Whether an original on its way is of the image that has its number in the backup.

    One that was written later may be another's, and would be measured in its place; without
    it, it is made again from the image itself.
    """
    latest = seconds_of(contents.latest) if contents.latest else 0.0
    known = original.stem.isdecimal() and int(original.stem) <= contents.last_image
    return known and original.stat().st_mtime <= latest + _WRITING_SECONDS


def _swap(database: Path, fresh: Path, aside: Path) -> None:
    """The old database keeps its place until the new one takes it, but not its log: SQLite
    would play that into the new one."""
    if database.exists():
        try:
            (aside / database.name).hardlink_to(database)
        except OSError:  # a file system without hard links
            database.rename(aside / database.name)
    for ending in ("-wal", "-shm", "-journal"):
        beside = database.with_name(database.name + ending)
        if beside.exists():
            beside.rename(aside / beside.name)
    fresh.replace(database)
    flush(aside)
    flush(database.parent)


def _take_back(root: Path, aside: Path) -> None:
    """What was put aside goes back to where it was, as far as the disk allows."""
    with contextlib.suppress(OSError):
        for folder, _, names in os.walk(aside, topdown=False):
            for name in names:
                path = Path(folder, name)
                place = root / path.relative_to(aside)
                if place.exists():  # the database, which never left its place
                    path.unlink()
                else:
                    path.rename(place)
            Path(folder).rmdir()


def _unknown(root: Path, contents: Contents) -> Iterator[Path]:
    for folder, _, names in os.walk(root / "images"):
        for name in names:
            match = _PICTURE.fullmatch(name)
            if match and int(match[1]) > contents.last_image:
                yield Path(folder, name)
    for path in list((root / "batches").glob("*/*")):
        if _BATCH.fullmatch(path.name) and int(path.name) > contents.last_batch:
            yield path
