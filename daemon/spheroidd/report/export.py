"""The view `growth` as CSV, with exactly its columns."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from spheroidd.errors import SpheroiddError
from spheroidd.store.reader import Reader, Row
from spheroidd.store.reading import GROWTH_COLUMNS, growth


def export_csv(reader: Reader, stream: TextIO, plate: str | None = None) -> int:
    """Write a header and one line per measured image; returns how many images.

    Empty cells are values that are not there (no pixel size, say), never zero.
    """
    rows = growth(reader, plate)
    write_csv(rows, stream)
    return len(rows)


def write_csv(rows: Iterable[Row], stream: TextIO) -> None:
    """The same, of rows of the view `growth`."""
    writer = csv.DictWriter(stream, GROWTH_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def export_file(reader: Reader, path: Path, plate: str | None = None) -> int:
    """The same into a file, which appears whole or not at all; returns how many images.

    Raises:
        SpheroiddError: the file can't be written; one that was there is as before.
    """
    target = path.resolve()  # a link stays a link
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    if target.exists() and not target.is_file():
        part = target  # a pipe or a device can't be replaced
    try:
        try:
            with part.open("w", encoding="utf-8", newline="") as stream:
                count = export_csv(reader, stream, plate)
            if part != target:
                part.replace(target)
        finally:
            if part != target:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise SpheroiddError(
            f"{path} can't be written: {error.strerror}.",
            "Name a file in a folder that exists and that you may write to.",
        ) from error
    return count
