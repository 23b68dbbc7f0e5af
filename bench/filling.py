"""A ledger as years of work leave it, written straight into the real schema.

The rows are what the daemon would have written, in the order of time: a few plates run at once,
an image has its transitions, segmentation, measurement and object; a few per cent are still on
their way, have failed, wait for review, are excluded or superseded.
"""

import json
import os
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from spheroidd.intake.naming import natural_key
from spheroidd.measure.quality import FLAGS
from spheroidd.store.database import Database, timestamp

LARGE = (384, 300)  # wells and time points of the one large plate
WELLS = 96
SIDE_BY_SIDE = 4  # plates that run at once
STEP_SECONDS = 20.0  # between two images
BATCH = 12
AT_ONCE = 20_000  # images per transaction
MD5, SHA = "8e83ca70e441ab06c318d82300c84806", "184d9530cb343914ee308414cbce2e185fab395e5e5f6f02"
EVIDENCE = json.dumps(
    {"looks": 2.0, "agreement": 0.980173, "mean_probability": 0.982238, "uncertain_share": 0.127799,
     "ghosts": 0.0, "focus": 1.461968, "background": 126.0, "darkness": 34.03, "texture": 9.34}
)  # fmt: skip
CHECKS = json.dumps({flag: {"value": 0.0341, "limit": 0.25, "raised": False} for flag in FLAGS})
# As many numbers as the shipped pipeline gives; those that are read have their own names.
SHAPES = ("Solidity", "Eccentricity", "FormFactor", "BoundingBoxMinimum_X", "BoundingBoxMinimum_Y",
          "BoundingBoxMaximum_X", "BoundingBoxMaximum_Y", "Center_X", "Center_Y")  # fmt: skip
FEATURES = {
    **{f"AreaShape_{name}": 0.6393946708410615 for name in SHAPES},
    "Intensity_MeanIntensity_Original": 0.312077948117112,
    **{f"Intensity_SomeMoreOrLessIt_{n:02d}_Original": 0.0638201970721187 for n in range(38)},
}


@dataclass(frozen=True)
class Shot:
    """One image of the plan: which plate (0 is the large one), well, frame, and when."""

    plate: int
    well: str
    frame: int
    at: float


@dataclass
class Archive:
    """What was made: the database, and the tree whose files are all known to it."""

    database: Path
    watched: Path
    plates: list[str]
    known: int = 0
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    @property
    def large(self) -> str:
        return self.plates[0]

    @property
    def ordinary(self) -> str:
        return self.plates[len(self.plates) // 2]


def plate_names(count: int) -> list[str]:
    return [f"2026{n // 28 % 12 + 1:02d}{n % 28 + 1:02d} - Line {n:03d}" for n in range(count)]


def plan(images: int, plates: int, ends: float) -> Iterator[Shot]:
    """Every image, in the order of time; the last one is taken at `ends`."""
    frames = max(1, round(LARGE[1] * min(1.0, images / 1_000_000)))
    large = LARGE[0] * frames
    each = (images - large) // (plates - 1)
    sizes = [large] + [each] * (plates - 2) + [images - large - each * (plates - 2)]
    at = ends - images * STEP_SECONDS
    for first in range(0, plates, SIDE_BY_SIDE):
        series = [
            _of_plate(plate, sizes[plate])
            for plate in range(first, min(first + SIDE_BY_SIDE, plates))
        ]
        while series:
            for one in list(series):
                for _ in range(BATCH):
                    shot = next(one, None)
                    if shot is None:
                        series.remove(one)
                        break
                    at += STEP_SECONDS
                    yield Shot(*shot, at)


def _of_plate(plate: int, size: int) -> Iterator[tuple[int, str, int]]:
    wells = LARGE[0] if plate == 0 else WELLS
    columns = 24 if plate == 0 else 12
    for number in range(size):
        frame, well = divmod(number, wells)
        row, column = divmod(well, columns)
        yield plate, f"{'ABCDEFGHIJKLMNOP'[row]}{column + 1}", frame


def fill(folder: Path, images: int, plates: int, known: int, now: float) -> Archive:
    """Write a ledger of `images` into `folder`, and `known` of its files as a real tree."""
    archive = Archive(folder / "state" / "spheroidd.db", folder / "watched", plate_names(plates))
    archive.database.parent.mkdir()
    Database(archive.database).close()
    connection = sqlite3.connect(archive.database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    writer = _Writer(archive, images, known, now)
    for number, shot in enumerate(plan(images, plates, now - 60), start=1):
        writer.add(number, shot)
        if number % AT_ONCE == 0 or number == images:
            _flush(connection, archive.rows)
    writer.around()
    _flush(connection, archive.rows)
    connection.close()
    return archive


def _flush(connection: sqlite3.Connection, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    connection.execute("BEGIN")
    for table, values in rows.items():
        marks = ", ".join("?" * len(values[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    connection.execute("COMMIT")
    rows.clear()


class _Writer:
    """Turns shots into rows; the order of the columns is said with each table."""

    def __init__(self, archive: Archive, images: int, known: int, now: float) -> None:
        self._archive, self._images, self._wanted, self._now = archive, images, known, now
        self._chance = random.Random(1)
        self._keys = [natural_key(name) for name in archive.plates]
        self._wells: dict[str, str] = {}
        self._origins: dict[int, str] = {}
        self._transitions = self._batches = self._in_batch = 0
        self._of_batch = -1
        self._excluded: list[int] = []
        self._source: Path | None = None
        self._stat: os.stat_result | None = None
        self._folder = Path()

    def add(self, number: int, shot: Shot) -> None:
        """An image, with everything that hangs on it."""
        state, failed_from, reason, next_try = self._fate(number)
        name = self._archive.plates[shot.plate]
        file = f"{shot.well}_{shot.frame:03d}.jpg"
        root, size, mtime_ns = self._place(name, shot.well, file, state)
        path, at = f"{root}/{name}/{shot.well}/{file}", timestamp(shot.at)
        self._origins.setdefault(shot.plate, at)
        read = state != "waiting" and failed_from != "waiting"
        found = state in ("segmented", "measured", "superseded") or failed_from == "segmented"
        excluded = int(state == "measured" and number % 500 == 0)
        if excluded:
            self._excluded.append(number)
        key = self._wells.setdefault(shot.well, natural_key(shot.well))
        self._row(
            "images (id, root, path, size, mtime_ns, state, plate, well, name, timepoint,"
            " captured_at, captured_from, plate_key, well_key, time_key, sha256, width, height,"
            " bit_depth, pixel_size_um, reason, failed_from, attempts, next_try_at, seen_at,"
            " ready_at, segmented_at, measured_at, excluded)",
            (number, root, path, size, mtime_ns, state)
            + ((name, shot.well, file, shot.frame, at, "name", self._keys[shot.plate], key, at,
                f"{number:064x}", 2048, 1536, 8, 1.5) if read else (None,) * 14)
            + (reason.format(path) if reason else None, failed_from, 5 if failed_from else 0,
               next_try, at, at if read else None, at if found else None,
               at if state == "measured" else None, excluded),
        )  # fmt: skip
        self._steps(number, shot, state, failed_from, reason.format(path))
        stem = f"images/{name}/{shot.well}/{file[:-4]}.{number}"
        if found:
            self._segmentation(number, stem, at)
        if state in ("measured", "superseded"):
            self._measurement(number, shot, stem, at)

    def _fate(self, number: int) -> tuple[str, str | None, str, str | None]:
        """State, where it failed, why, and when it is tried again."""
        left = (self._images - number) / self._images
        for share, state in ((0.005, "waiting"), (0.010, "ready"), (0.015, "segmented")):
            if left < share:
                return state, None, "", None
        lot = self._chance.random()
        if lot < 0.005:
            return "superseded", None, "", None
        if lot < 0.020:
            stage = ("waiting", "ready", "segmented")[number % 3]
            why = ("'{}': It is cut short.", "segmentation failed: {}", "no worker took {}")
            again = timestamp(self._now + 1000) if lot < 0.008 else None
            return "failed", stage, why[number % 3], again
        return "measured", None, "", None

    def _place(self, plate: str, well: str, file: str, state: str) -> tuple[str, int, int]:
        """The watched folder an image lies in, and the file's size and time; what is to be known
        lies there for real, as one of many links to the same few files."""
        archive = self._archive
        if archive.known == self._wanted or state in ("superseded", "waiting", "failed"):
            return "/data/export", 70846, 1795395943560985248
        folder = archive.watched / plate / well
        if folder != self._folder:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
        if archive.known % 50_000 == 0:  # a file can have 65,000 names
            self._source = archive.watched.with_name(f"source-{archive.known}")
            self._source.write_bytes(b"image")
            self._stat = self._source.stat()
        assert self._source is not None
        assert self._stat is not None
        os.link(self._source, folder / file)
        archive.known += 1
        return str(archive.watched), self._stat.st_size, self._stat.st_mtime_ns

    def _steps(self, number: int, shot: Shot, state: str, failed: str | None, why: str) -> None:
        stages = ["waiting", "ready", "segmented", "measured"]
        last = failed or ("measured" if state == "superseded" else state)
        steps: list[tuple[str | None, str, str]] = [(None, "waiting", "seen")]
        done = stages[: stages.index(last) + 1]
        words = {"ready": "complete", "segmented": "u2netp on CPU", "measured": "area 16745 px"}
        steps += [(a, b, words[b]) for a, b in pairwise(done)]
        if failed:
            again = [(failed, "failed", why), ("failed", failed, "due for retry")]
            steps += again * 4 + [(failed, "failed", why)]
        if state == "superseded":
            steps.append(("measured", "superseded", "new content under the same name"))
        for before, after, reason in steps:
            self._transitions += 1
            at = timestamp(shot.at + len(steps))
            self._row("transitions", (self._transitions, number, before, after, at, reason))

    def _segmentation(self, number: int, stem: str, at: str) -> None:
        self._row(
            "segmentations (id, image_id, model, model_md5, threshold, provider, peak_probability,"
            " foreground_px, mask_path, seconds, version, created_at, refinement, evidence)",
            (number, number, "u2netp", MD5, 0.5, "CPU", 0.99, 16745, f"{stem}.mask.png", 0.5,
             "0.1.0", at, "refined/1", EVIDENCE),
        )  # fmt: skip

    def _measurement(self, number: int, shot: Shot, stem: str, at: str) -> None:
        if shot.plate != self._of_batch or self._in_batch == BATCH:
            self._batches, self._in_batch, self._of_batch = self._batches + 1, 0, shot.plate
            plate = self._archive.plates[shot.plate]
            self._row(
                "batches",
                (self._batches, plate, "mask", SHA, "4.2.8.1", BATCH,
                 f"batches/{plate}/{self._batches:06d}", at, at, "complete"),
            )  # fmt: skip
        self._in_batch += 1
        area = 1000.0 + 40 * shot.frame + self._chance.random()
        flags = "area_jump" if self._chance.random() < 0.03 else ""
        self._row(
            "measurements (id, image_id, segmentation_id, batch_id, area_px, area_um2,"
            " pixel_size_um, n_objects, object_number, flags, outline_path, version, measured_at,"
            " run_id, checks)",
            (number, number, number, self._batches, area, area * 2.25, 1.5, 1, 1, flags,
             f"{stem}.outline.jpg", "0.1.0", at, shot.plate + 1, CHECKS),
        )  # fmt: skip
        features = json.dumps({"AreaShape_Area": area, **FEATURES})
        self._row("objects", (number, number, "Spheroids", 1, 1, area, features))

    def around(self) -> None:
        """What is not an image's: plates, runs, reviews, wells to judge, alerts, the service."""
        at = timestamp(self._now)
        for number, plate in enumerate(self._archive.plates):
            self._row("plates", (plate, self._origins.get(number, at), None, None, None))
            self._row(
                "runs",
                (number + 1, plate, "live", "u2netp", MD5, 0.5, "refined/1", "mask", SHA, at, None),
            )
        for well in range(1, 13):
            self._row("unjudged", (self._archive.plates[-1], f"A{well}"))
        for number, image in enumerate(self._excluded, start=1):
            self._row("reviews", (number, at, "Ada", "exclude", "a bubble"))
            self._row("review_images", (number, image, image, None, '{"excluded": 0}'))
        for number in range(1, 1001):
            plate = self._archive.plates[number % len(self._archive.plates)]
            ended = None if number > 998 else at
            self._row(
                "alerts",
                (number, f"images/{plate}/{number}", 0, "No image", "Nothing came", at, at, ended,
                 ended, 1, None),
            )  # fmt: skip
        for root in (str(self._archive.watched), "/data/export"):
            self._row("folders", (root, "ok", at, "", "native", at))
        for name in ("disk", "engine", "accelerator", "judge", "keep", "backup"):
            self._row("conditions", (name, "", "", 0, at))
        self._row(
            "service",
            (1, os.getpid(), "0.1.0", at, at, None, "running", "u2netp", "CPU", "mask", "", 0),
        )

    def _row(self, table: str, values: tuple[Any, ...]) -> None:
        self._archive.rows.setdefault(table, []).append(values)
