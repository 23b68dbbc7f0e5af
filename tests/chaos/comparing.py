"""What a place after kills has in other ways than one that nobody disturbed."""

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from killing import REPLACED, Place, Tempo

Facts = dict[str, Any]

_LEGAL = {
    *((before, "superseded") for before in ("waiting", "ready", "segmented", "measured", "failed")),
    *((before, "failed") for before in ("waiting", "ready", "segmented")),
    *(("failed", after) for after in ("waiting", "ready", "segmented")),
    *((None, "waiting"), ("waiting", "ready"), ("ready", "segmented")),
    *(("segmented", "measured"), ("segmented", "ready")),
}
# What counts of each image: all of it but numbers and times that a restart may change.
_IMAGES = """
SELECT i.id, i.root, i.path, i.state, i.plate, i.well, i.name, i.timepoint, i.captured_at,
       i.captured_from, i.plate_key, i.well_key, i.time_key, i.sha256, i.size, i.mtime_ns,
       i.width, i.height, i.bit_depth, i.excluded, i.reason,
       m.id AS measurement, m.area_px, m.area_um2, m.n_objects, m.object_number, m.flags,
       m.checks, m.outline_path,
       s.model, s.model_md5, s.threshold, s.provider, s.peak_probability, s.foreground_px,
       s.evidence, s.mask_path, s.white_path, b.pipeline, b.pipeline_sha256
  FROM images i
  LEFT JOIN measurements m ON m.image_id = i.id AND m.current
  LEFT JOIN segmentations s ON s.id = m.segmentation_id
  LEFT JOIN batches b ON b.id = m.batch_id
 WHERE i.state <> 'superseded'
"""
_PICTURES = ("mask_path", "white_path", "outline_path")


@dataclass(frozen=True)
class Outcome:
    """What came of all images: by path (below the watched folder) everything that was found;
    the plate's settings; the names of the pictures and of a batch's spreadsheets."""

    images: Mapping[str, list[Facts]]
    plates: list[Facts]
    runs: Mapping[str, int]
    pictures: set[str]
    spreadsheets: set[str]


@dataclass(frozen=True)
class Undisturbed:
    """What came of the pictures where nobody killed anything, and how long it took."""

    place: Place
    pictures: Path
    tempo: Tempo
    outcome: Outcome


def differences(place: Place, undisturbed: Outcome) -> list[str]:
    """Everything that kills have changed or left behind, in words; empty: nothing at all."""
    with closing(_open(place)) as sql:
        return [
            *_damaged(sql),
            *_lost_or_doubled(place, sql),
            *_illegal(sql),
            *_other_results(outcome_of(place), undisturbed),
            *_left_behind(place, sql, undisturbed),
            *_touched(place),
        ]


def outcome_of(place: Place) -> Outcome:
    """Everything that was found on this place's images."""
    images: dict[str, list[Facts]] = {}
    with closing(_open(place)) as sql:
        for row in _rows(sql, _IMAGES):
            path = str(Path(row.pop("path")).relative_to(row.pop("root")))
            facts = {**row, "objects": _objects(sql, row["measurement"])}
            for picture in _PICTURES:
                facts[picture] = _digest(place.state, facts[picture])
            images.setdefault(path, []).append(_without(facts, "id", "measurement"))
        plates = [dict(row) for row in _rows(sql, "SELECT * FROM plates")]
        runs = Counter(_as_text(row) for row in _rows(sql, _RUNS))
    pictures = {
        re.sub(r"\.\d+\.(mask|white|outline)\.", r".\1.", str(path.relative_to(place.state)))
        for path in (place.state / "images").rglob("*")
        if path.is_file()
    }
    sheets = {path.name for path in (place.state / "batches").glob("*/*/*")}
    return Outcome(images, plates, runs, pictures, sheets)


_RUNS = "SELECT plate, kind, model, threshold, refinement, pipeline, pipeline_sha256 FROM runs"


# -- what can be wrong --------------------------------------------------------------------


def _damaged(sql: sqlite3.Connection) -> Iterator[str]:
    for [verdict] in sql.execute("PRAGMA integrity_check"):
        if verdict != "ok":
            yield f"integrity_check: {verdict}"
    for row in sql.execute("PRAGMA foreign_key_check"):
        yield f"foreign_key_check: {tuple(row)}"


def _lost_or_doubled(place: Place, sql: sqlite3.Connection) -> Iterator[str]:
    """Exactly one current measurement per path and content, and no trace of a second one."""
    current = Counter(
        (row["path"], row["sha256"])
        for row in _rows(
            sql,
            "SELECT path, sha256 FROM images i JOIN measurements m ON m.image_id = i.id"
            " WHERE m.current",
        )
    )
    for path in _image_files(place):
        number = current.pop((str(path), hashlib.sha256(path.read_bytes()).hexdigest()), 0)
        if number != 1:
            yield f"{path.name} of {path.parent.name} has {number} current measurements"
    for (path, _), number in current.items():
        if number != 1 or not path.endswith(REPLACED):
            yield f"{path} has {number} measurements of a content that is not there"
    for row in _rows(sql, _COUNTS):
        for what in ("segmentation", "measurement"):
            if row[f"{what}s"] != row[f"{what}_moves"]:
                yield f"{row['path']}: {row[f'{what}s']} × {what}, moved {row[f'{what}_moves']} ×"
        if row["measurements"] > 1:
            yield f"{row['path']} was measured {row['measurements']} times"


_COUNTS = """
SELECT i.path, i.state,
       (SELECT count(*) FROM segmentations WHERE image_id = i.id) AS segmentations,
       (SELECT count(*) FROM transitions WHERE image_id = i.id
           AND to_state = 'segmented' AND from_state = 'ready') AS segmentation_moves,
       (SELECT count(*) FROM measurements WHERE image_id = i.id) AS measurements,
       (SELECT count(*) FROM transitions WHERE image_id = i.id
           AND to_state = 'measured') AS measurement_moves
  FROM images i
"""


def _illegal(sql: sqlite3.Connection) -> Iterator[str]:
    """Each image's steps make one chain, from its arrival to the state it is in."""
    steps: dict[int, list[tuple[str | None, str]]] = {}
    for row in _rows(sql, "SELECT image_id, from_state, to_state FROM transitions ORDER BY id"):
        steps.setdefault(row["image_id"], []).append((row["from_state"], row["to_state"]))
    for row in _rows(sql, "SELECT id, path, state, claimed_at FROM images"):
        chain = steps.get(row["id"], [])
        before = [None, *(after for _, after in chain)]
        told = " → ".join(after for _, after in chain)
        if not set(chain) <= _LEGAL or [step[0] for step in chain] != before[:-1]:
            yield f"{row['path']} took steps that can't be: {chain}"
        elif before[-1] != row["state"]:
            yield f"{row['path']} is {row['state']}, its steps are {told}"
        if row["claimed_at"]:
            yield f"{row['path']} is still claimed"


def _other_results(now: Outcome, undisturbed: Outcome) -> Iterator[str]:
    for path, expected in undisturbed.images.items():
        [one], found = expected, now.images.get(path, [])
        if len(found) != 1:
            yield f"{path} is there {len(found)} times"
            continue
        for name, value in one.items():
            if found[0][name] != value:
                yield f"{path}: {name} is {found[0][name]!r}, undisturbed {value!r}"
    for path in now.images.keys() - undisturbed.images.keys():
        yield f"{path} is not there undisturbed"
    if now.plates != undisturbed.plates:
        yield f"plates: {now.plates}, undisturbed {undisturbed.plates}"
    if now.runs != undisturbed.runs:
        yield f"runs: {now.runs}, undisturbed {undisturbed.runs}"


def _left_behind(place: Place, sql: sqlite3.Connection, undisturbed: Outcome) -> Iterator[str]:
    """Temporary files, pictures that no image has, spreadsheets of batches that came to nothing,
    work that nobody will take up."""
    state = place.state
    for path in state.rglob("*"):
        if path.name.endswith((".part", ".tmp")) or path.name.startswith(".write-test"):
            yield f"stray: {path.relative_to(state)}"
    # That of a superseded image stays until the next start, or for an hour: harmless.
    ended = {row["id"] for row in _rows(sql, "SELECT id FROM images WHERE state = 'superseded'")}
    for path in (state / "handover").iterdir():
        if path.suffix != ".npy" or int(path.stem) not in ended:
            yield f"stray: {path.relative_to(state)}"
    for path in (state / "tmp" / "cellprofiler" / "tmp").iterdir():
        yield f"stray: {path.relative_to(state)}"
    now = outcome_of(place)
    for name in sorted(now.pictures ^ undisturbed.pictures):
        yield f"picture {'too many' if name in now.pictures else 'missing'}: {name}"
    used = {row["batch_id"] for row in _rows(sql, "SELECT DISTINCT batch_id FROM measurements")}
    for row in _rows(sql, "SELECT id, folder, outcome FROM batches"):
        # No folder is named where the kill came before that.
        place_of = state / (row["folder"] or f"batches/P/{row['id']:06d}")
        names = {path.name for path in place_of.glob("*")}
        if row["outcome"] is None:
            yield f"batch {row['id']} is still open"
        if row["id"] in used and names != undisturbed.spreadsheets:
            yield f"batch {row['id']} ({row['outcome']}) has the files {sorted(names)}"
        if row["id"] not in used and place_of.exists():
            yield f"batch {row['id']} ({row['outcome']}) measured nothing, and left {sorted(names)}"
    for row in _rows(sql, "SELECT plate, well FROM unjudged"):
        yield f"never judged: {row['plate']}/{row['well'] or 'the whole plate'}"


def _touched(place: Place) -> Iterator[str]:
    """The instrument's files are as they came."""
    for path in place.export.rglob("*"):
        if not path.is_file():
            continue
        name = str(path.relative_to(place.export))
        source = place.pictures / (f"{name}.new" if name == REPLACED else name)
        if not source.exists():
            yield f"{name} appeared in the watched folder"
        elif (source.read_bytes(), source.stat().st_mtime_ns) != (
            path.read_bytes(), path.stat().st_mtime_ns,
        ):  # fmt: skip
            yield f"{name} was changed in the watched folder"


# -- reading --------------------------------------------------------------------------------


def _open(place: Place) -> sqlite3.Connection:
    sql = sqlite3.connect(place.state / "spheroidd.db")
    sql.row_factory = sqlite3.Row
    return sql


def _rows(sql: sqlite3.Connection, statement: str, *values: Any) -> Iterator[Facts]:
    return (dict(row) for row in sql.execute(statement, values))


def _objects(sql: sqlite3.Connection, measurement: int | None) -> list[Facts]:
    statement = (
        "SELECT name, number, is_spheroid, area_px, features FROM objects"
        " WHERE measurement_id = ? ORDER BY name, number"
    )
    return list(_rows(sql, statement, measurement))


def _digest(state: Path, name: str | None) -> str | None:
    """None where the picture is no longer kept, too: `differences` looks at what is there."""
    path = state / name if name else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.exists() else None


def _without(facts: Facts, *names: str) -> Facts:
    return {name: value for name, value in facts.items() if name not in names}


def _as_text(row: Facts) -> str:
    return json.dumps(row, sort_keys=True)


def _image_files(place: Place) -> Iterator[Path]:
    return (path for path in sorted(place.export.rglob("*")) if path.is_file())
