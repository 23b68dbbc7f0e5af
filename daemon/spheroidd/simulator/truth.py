"""The truth about simulated images: a table beside them, never in their names."""

import csv
import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from spheroidd.errors import SpheroiddError

TRUTH_NAME = "truth.csv"


@dataclass(frozen=True)
class Truth:
    """What is true of one image.

    Args:
        plate: folder of the experiment.
        well: such as `B03`.
        timepoint: number of the frame, from 0.
        hours: since the plate's first frame.
        kind: what was drawn.
        image_path: relative to the folder of the table, with forward slashes.
        area_px: pixels of the spheroid, counted from what was drawn; 0 in an empty well. Of
            several spheroids, the one that is both the largest and the nearest to the middle.
        area_all_px: pixels of all spheroids in the picture.
    """

    plate: str
    well: str
    timepoint: int
    hours: float
    kind: str
    image_path: str
    area_px: int
    area_all_px: int


COLUMNS = tuple(field.name for field in fields(Truth))


def append_truth(path: Path, truth: Truth) -> None:
    """Add one row, and the header to a new file; each line is written in one piece."""
    with path.open("a", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        if table.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerow(astuple(truth))
        table.flush()
        os.fsync(table.fileno())


def read_truth(path: Path) -> list[Truth]:
    """All rows of a truth table, in the order in which the images were written.

    Raises:
        SpheroiddError: the file is missing, or isn't such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as table:
            reader = csv.DictReader(table)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise SpheroiddError(
                    f"{path} is not a truth table: its columns are {reader.fieldnames}.",
                    f"Expected {', '.join(COLUMNS)}, as `spheroidd simulate` writes them.",
                )
            return [_row(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise SpheroiddError(
            f"Can't read {path}: {error.strerror}.", "`spheroidd simulate --to DIR` writes one."
        ) from error


def _row(path: Path, line: int, row: dict[str, str]) -> Truth:
    try:
        return Truth(
            plate=row["plate"],
            well=row["well"],
            timepoint=int(row["timepoint"]),
            hours=float(row["hours"]),
            kind=row["kind"],
            image_path=row["image_path"],
            area_px=int(row["area_px"]),
            area_all_px=int(row["area_all_px"]),
        )
    except (TypeError, ValueError) as error:
        raise SpheroiddError(
            f"{path}, line {line}: {error}.", "Delete the folder and simulate it again."
        ) from error
