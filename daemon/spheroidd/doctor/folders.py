"""The folders: what is watched, and where the state lies."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spheroidd.assembly import folder_of
from spheroidd.config import Watch
from spheroidd.doctor.finding import Finding, Installation, Survey
from spheroidd.errors import ImageError
from spheroidd.intake.scan import Found, Unreadable, walk
from spheroidd.intake.watcher import choose
from spheroidd.store.mounts import filesystem_of, network_filesystem
from spheroidd.store.paths import printable, to_real, to_stored
from spheroidd.system.disk import GB

_AHEAD_SECONDS = 120.0
_READ_BYTES = 65536


def watched(here: Installation, watch: Watch) -> Iterator[Finding]:
    """One watched folder: can it be read, is the newest image an image to us, who tells us of
    the next one?"""
    what = f"folder {watch.path}"
    kind = filesystem_of(watch.path)
    observer = choose(watch.observer, kind)
    found: list[Found] = []
    unreadable: list[Unreadable] = []
    try:
        for entry in walk(str(watch.path), watch.extensions):
            if isinstance(entry, Found):
                found.append(entry)
            elif isinstance(entry, Unreadable):
                unreadable.append(entry)
    except OSError as error:
        yield Finding(what, "wrong", f"it can't be read: {error.strerror}", _access(watch.path))
        return
    here.surveys[watch.path] = Survey(len(found), _folders(found, watch), observer == "native")
    if unreadable:
        first = f"{printable(unreadable[0].path)}: {unreadable[0].reason}"
        seen = f"{len(unreadable)} places in it can't be read, first {first}"
        yield Finding(what, "wrong", seen, _access(watch.path))
    else:
        yield _readable(what, watch, found, f"{kind or 'unknown file system'}, {observer} events")
    if watch.observer == "native" and choose("auto", kind) == "polling":
        yield Finding(
            f"observer of {watch.path}",
            "warning",
            f"native, but {kind} reports nothing that other machines write",
            "Set `observer: auto`; until then only the scan finds new images.",
        )


def _folders(found: list[Found], watch: Watch) -> int:
    """How many folders hold the images, those in between and the root among them."""
    root = Path(to_stored(str(watch.path)))
    direct = {Path(one.path).parent for one in found}
    between = {parent for folder in direct for parent in folder.parents}
    return len({root} | {one for one in direct | between if one.is_relative_to(root)})


def _access(path: Path) -> str:
    return f"Mount the share, and let the service's user list and read {path}."


def _readable(what: str, watch: Watch, found: list[Found], how: str) -> Finding:
    if not found:
        return Finding(what, "warning", f"no image in it; {how}",
                       "Is it the right folder? `spheroidd check -c FILE --names` shows what is "
                       "there, and why it is no image.")  # fmt: skip
    newest = max(found, key=lambda one: one.mtime_ns)
    relative = newest.path[len(to_stored(str(watch.path))) :].lstrip("/")
    name = printable(relative)
    try:
        with Path(to_real(newest.path)).open("rb") as file:
            file.read(_READ_BYTES)
    except OSError as error:
        advice = "Let the service's user read the files, not only the folders."
        return Finding(what, "wrong", f"{name} can't be read: {error.strerror}", advice)
    try:
        folder_of(watch).pattern.parse(relative)
    except ImageError as error:
        advice = "Change `pattern`; `spheroidd check -c FILE --names` shows all."
        found_out = f"its newest image has no plate and well: {error.message}"
        return Finding(what, "wrong", found_out, advice)
    ahead = newest.mtime_ns / 1e9 - time.time()
    if ahead > _AHEAD_SECONDS:
        return Finding(what, "warning", f"{name} is from the future, by {ahead / 60:.0f} min",
                       "The instrument's clock is ahead, or this one is behind: set them "
                       "right.")  # fmt: skip
    writable = os.geteuid() != 0 and os.access(watch.path, os.W_OK)
    advice = "This user could write there; nothing ever does, but read-only is safer."
    return Finding(what, "ok", f"{len(found)} image files, the newest can be read; {how}",
                   advice if writable else "")  # fmt: skip


def state(here: Installation) -> Iterator[Finding]:
    """Where the state lies: is it ours, is it on a disk of this machine, is there room?"""
    folder = here.config.state_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    kind, network = filesystem_of(there), network_filesystem(there)
    if network:
        yield Finding(
            "state folder",
            "wrong",
            f"{folder} lies on a network file system ({network})",
            "Put `state_dir` on a disk of this machine: SQLite is not safe on a share.",
        )
    elif there != folder:
        able = os.access(there, os.W_OK)
        advice = "" if able else f"Make {folder} and give it to the service's user."
        yield Finding(
            "state folder",
            "ok" if able else "warning",
            f"{folder} is not there yet; the first start makes it",
            advice,
        )
    elif trouble := _can_not_write(folder):
        yield Finding(
            "state folder",
            "wrong",
            f"{folder} can't be written: {trouble}",
            "Give it to the service's user (`chown -R`), or look as that user.",
        )
    else:
        yield Finding("state folder", "ok", f"{folder} can be written ({kind})")
    yield _room(there, here.config.disk.reserve_gb)


def _can_not_write(folder: Path) -> str:
    probe = folder / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"")
    except OSError as error:
        return error.strerror or str(error)
    with suppress(OSError):
        probe.unlink()
    return ""


def _room(folder: Path, reserve_gb: float) -> Finding:
    free = shutil.disk_usage(folder).free / GB
    found = f"{free:.1f} GB free, of which {reserve_gb:g} GB are left alone"
    if free < reserve_gb:
        return Finding("disk", "wrong", found, "Make room, or lower `disk.reserve_gb`: nothing is "
                       "measured until then.")  # fmt: skip
    if free < 2 * reserve_gb + 1:
        return Finding("disk", "warning", found, "It will not last: make room, or keep less "
                       "(`keep` in the configuration).")  # fmt: skip
    return Finding("disk", "ok", found)
