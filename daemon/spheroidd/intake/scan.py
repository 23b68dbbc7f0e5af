"""The reconciling scan: what lies in a watched folder, held against the ledger.

Events can be missed (network shares, overflows, a service that was down); the scan
is the truth.  It only lists: no file is opened here.
"""

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spheroidd.store.images import Known
from spheroidd.store.paths import to_stored

# Names that instruments, sync programs and desktops leave beside images.
_IGNORED_NAMES = frozenset(
    {"thumbs.db", "desktop.ini", "@eadir", ".stfolder", "$recycle.bin", "system volume information"}
)
_UNFINISHED = ("~", ".tmp", ".part", ".partial", ".crdownload", ".filepart")


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that should be an image; `path` is in its stored form."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that is no image, and why it is not looked at."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder or entry that could not be looked at; what it holds is unknown, not gone."""

    path: str
    reason: str


Entry = Found | Ignored | Unreadable
Action = Literal["new", "grown", "again", "nothing"]


def look(path: str, extensions: Collection[str]) -> Entry | None:
    """What one path is; None for a folder, and for what has just gone.

    `path` is a real path, as `os` gives it.
    """
    stored = to_stored(path)
    name = path.rpartition("/")[2]
    reason = _unwanted(name)
    if reason is not None:
        return Ignored(stored, reason)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unreadable(stored, error.strerror or str(error))
    if stat.S_ISDIR(status.st_mode):
        return None
    reason = _no_image(name, status.st_mode, extensions)
    if reason is not None:
        return Ignored(stored, reason)
    return Found(stored, status.st_size, storable_ns(status.st_mtime_ns))


def storable_ns(mtime_ns: int) -> int:
    """A file's time as SQLite can hold it: odd clocks write years beyond 2262."""
    return max(-(2**63), min(mtime_ns, 2**63 - 1))


def walk(root: str, extensions: Collection[str]) -> Iterator[Entry]:
    """Everything under a watched folder, in no particular order.

    Args:
        root: a real path.
        extensions: in lower case, without the dot.

    Raises:
        OSError: the folder itself can't be listed (below it, that is an `Unreadable`).
    """
    with os.scandir(root):
        pass
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                paths = [entry.path for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone since its parent was listed, or never a folder
        except OSError as error:
            yield Unreadable(to_stored(folder), error.strerror or str(error))
            continue
        for path in paths:
            entry = look(path, extensions)
            if entry is None:
                folders.append(path)
            else:
                yield entry


def hinted(root: str, path: str, extensions: Collection[str]) -> Found | None:
    """The image that an event speaks of, if the scan would have found it too."""
    folders = path[len(root) :].split("/")[:-1]
    if not path.startswith(root) or any(_unwanted(name) for name in folders if name):
        return None
    entry = look(path, extensions)
    return entry if isinstance(entry, Found) else None


def beside(
    files: Sequence[Found], known: Iterable[tuple[str, Known]]
) -> Iterator[tuple[Found, Known | None]]:
    """Each file with the last of what is known of its path; both by path."""
    rows = iter(known)
    path, row = next(rows, (None, None))
    for found in files:
        match = None
        while path is not None and path <= found.path:
            match = row if path == found.path else None
            path, row = next(rows, (None, None))
        yield found, match


def compare(found: Found, known: Known | None) -> Action:
    """What a file means to the ledger.

    `new`: a path, or a content, that is not there yet; `grown`: still waiting, and it
    has changed; `again`: it failed before it was ever read in full, and has changed.
    """
    if known is None:
        return "new"
    if (found.size, found.mtime_ns) == (known.size, known.mtime_ns):
        return "nothing"
    if known.state == "waiting":
        return "grown"
    if known.state == "failed" and not known.hashed:
        return "again"
    return "new"


def _unwanted(name: str) -> str | None:
    lowered = name.lower()
    if lowered in _IGNORED_NAMES:
        return "left by the system, not by the instrument"
    if name.startswith("."):
        return "hidden"
    if lowered.endswith(_UNFINISHED):
        return "a temporary name: still being written, or left over"
    return None


def _no_image(name: str, mode: int, extensions: Collection[str]) -> str | None:
    if stat.S_ISLNK(mode):
        return "a symbolic link; watch the folder that holds the file itself"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    _, dot, extension = name.rpartition(".")
    if not dot or extension.lower() not in extensions:
        return f"its name does not end in one of {', '.join(sorted(extensions))}"
    return None
