"""What each file of a watched folder would become, without entering anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from spheroidd.errors import ImageError
from spheroidd.intake.capture import capture_time
from spheroidd.intake.folder import Folder
from spheroidd.intake.imagefile import read_image
from spheroidd.intake.naming import natural_key
from spheroidd.intake.scan import Found, walk
from spheroidd.store.paths import printable, to_real, to_stored


@dataclass(frozen=True)
class Outcome:
    """One file, printable: plate, well, time (UTC) and where the time is from, or a reason."""

    path: str
    reason: str = ""
    plate: str = ""
    well: str = ""
    time: str = ""
    source: str = ""


def preview(folder: Folder) -> Iterator[Outcome]:
    """Read every file as intake would, in natural order.

    Raises:
        OSError: the folder can't be listed.
    """
    root = str(folder.root)
    origins: dict[str, datetime] = {}
    entries = sorted(walk(root, folder.extensions), key=lambda entry: natural_key(entry.path))
    for entry in entries:
        relative = entry.path[len(to_stored(root)) :].lstrip("/")
        if isinstance(entry, Found):
            try:
                yield _image(folder, relative, entry, origins)
            except ImageError as error:
                yield Outcome(printable(relative), str(error))
        else:
            yield Outcome(printable(relative), entry.reason)


def _image(folder: Folder, relative: str, found: Found, origins: dict[str, datetime]) -> Outcome:
    parsed = folder.pattern.parse(relative)
    file = read_image(to_real(found.path))
    captured = capture_time(
        parsed,
        mtime=file.mtime_ns / 1e9,
        metadata_time=file.taken_at,
        interval_minutes=folder.interval_minutes,
        origin=origins.get(parsed.plate),
        zone=folder.timezone,
    )
    if captured.origin is not None:
        origins.setdefault(parsed.plate, captured.origin)
    return Outcome(
        printable(relative),
        plate=printable(parsed.plate),
        well=printable(parsed.well),
        time=captured.at.isoformat(sep=" ", timespec="minutes"),
        source=captured.source,
    )
