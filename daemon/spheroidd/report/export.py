"""The view `growth` as CSV, with exactly its columns."""

import csv
from typing import TextIO

from spheroidd.store.reader import Reader
from spheroidd.store.reading import GROWTH_COLUMNS, growth


def export_csv(reader: Reader, stream: TextIO, plate: str | None = None) -> int:
    """Write a header and one line per measured image; returns how many images.

    Empty cells are values that are not there (no pixel size, say), never zero.
    """
    rows = growth(reader, plate)
    writer = csv.DictWriter(stream, GROWTH_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return len(rows)
