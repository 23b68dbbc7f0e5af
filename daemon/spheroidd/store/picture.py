"""Everything about one image: what was found in it, by what, and what happened to it when."""

import json
from collections.abc import Sequence

from spheroidd.store.reader import Reader, Row
from spheroidd.store.reading import HOURS, flags_of

_MOST_CANDIDATES = 50  # of a measurement; precipitate may be a thousand objects
_PLACES = ", ".join(
    f"'$.AreaShape_{name}'"
    for name in (
        "Center_X",
        "Center_Y",
        "BoundingBoxMinimum_X",
        "BoundingBoxMinimum_Y",
        "BoundingBoxMaximum_X",
        "BoundingBoxMaximum_Y",
    )
)


def image(reader: Reader, image_id: int) -> Row | None:
    """Everything of one image; None: there is none of that number.

    Returns:
        its own columns (image_id, plate, well, name, path, field, channel, timepoint,
        captured_at, captured_from, hours, state, reason, attempts, next_try_at, excluded,
        version, width, height, bit_depth, pixel_size_um, sha256, size, seen_at, ready_at,
        segmented_at, measured_at), and what is shown of it, each None where it has none:

        `measurement`: measurement_id, area_px, area_um2, pixel_size_um, n_objects,
        object_number, flags (list), checks (flag → value, limit, raised), decision, outline
        (whether there is a picture), version, measured_at;
        `segmentation`: segmentation_id, model, model_md5, threshold, provider,
        peak_probability, foreground_px, refinement, evidence (name → number), mask, seconds,
        version, created_at (where it is not measured: the newest one);
        `batch`: batch_id, pipeline, pipeline_sha256, cellprofiler, n_images, started_at,
        finished_at, outcome;
        `run`: run_id, kind (live or again), started_at, finished_at;
        and `objects`: all that CellProfiler found, as `objects` says, with `features`.
    """
    rows = reader.rows(_IMAGE, {"image": image_id})
    if not rows:
        return None
    [found] = rows
    found["excluded"] = bool(found["excluded"])
    measurement = _one(reader, _MEASURED, image_id)
    segmentation = _one(reader, _SEGMENTED, image_id)
    if measurement is not None:
        measurement["flags"] = flags_of(measurement["flags"])
        measurement["checks"] = json.loads(measurement["checks"])
        measurement["outline"] = bool(measurement["outline"])
    if segmentation is not None:
        segmentation["evidence"] = json.loads(segmentation["evidence"])
        segmentation["mask"] = bool(segmentation["mask"])
    return {
        **found,
        "measurement": measurement,
        "segmentation": segmentation,
        "batch": _one(reader, _BATCH, image_id),
        "run": _one(reader, _RUN, image_id),
        "objects": objects(reader, measurement["measurement_id"]) if measurement else [],
    }


def _one(reader: Reader, sql: str, image_id: int) -> Row | None:
    rows = reader.rows(sql, {"image": image_id})
    return rows[0] if rows else None


def objects(reader: Reader, measurement_id: int) -> list[Row]:
    """All objects of a measurement, the spheroid first, then the largest.

    Returns:
        Rows of name (CellProfiler's, of the kind), number, is_spheroid, area_px, x, y (centre),
        box (left, top, right, bottom), all in pixels of the image and None where CellProfiler
        gave none, and features (name → number).
    """
    rows = reader.rows(
        f"SELECT o.name, o.number, o.is_spheroid, o.area_px, o.features,"  # noqa: S608
        f" json_extract(o.features, {_PLACES}) AS places"
        " FROM objects o WHERE o.measurement_id = :id"
        " ORDER BY o.is_spheroid DESC, o.area_px DESC, o.name, o.number",
        {"id": measurement_id},
    )
    return [{**_placed(row), "features": json.loads(row.pop("features"))} for row in rows]


def candidates(reader: Reader, measurements: Sequence[int]) -> dict[int, list[Row]]:
    """The objects of measurements that a person may choose from, the largest first.

    Returns:
        measurement_id → at most fifty rows of number, is_spheroid, area_px, x, y, box (as
        `objects` gives them); of the kind that the spheroid is of.
    """
    rows = reader.rows(_CANDIDATES, {"measurements": json.dumps(measurements)})
    found: dict[int, list[Row]] = {number: [] for number in measurements}
    for row in rows:
        found[row.pop("measurement_id")].append(_placed(row))
    return found


def _placed(row: Row) -> Row:
    x, y, *box = json.loads(row.pop("places"))
    row["is_spheroid"] = bool(row["is_spheroid"])
    return {**row, "x": x, "y": y, "box": None if None in box else box}


def pictures(reader: Reader, image_id: int) -> Row | None:
    """Where the pictures of what is shown lie, relative to the state folder.

    Returns:
        outline_path, mask_path (None: there is none, or it was removed in its time); None:
        there is no such image.
    """
    return _one(reader, _PICTURES, image_id)


def story(reader: Reader, image_id: int) -> list[Row]:
    """What happened to an image, in the order of time.

    Returns:
        rows of `at`, `kind` and what belongs to the kind:
        `step`: from_state (None: it was seen), to_state, reason;
        `segmentation`: segmentation_id, model, model_md5, threshold, refinement, provider,
        peak_probability, seconds, version;
        `batch` (when it began): batch_id, pipeline, pipeline_sha256, cellprofiler, n_images,
        finished_at, outcome;
        `measurement`: measurement_id, segmentation_id, batch_id, run_id, run (live or again),
        area_px, area_um2, n_objects, flags (list; as they are now), current, version;
        `run failure`: run_id, reason;
        `review`: event, who, action, reason, measurement_id, object_number.
    """
    found: list[Row] = []
    for kind, sql in _STORY.items():
        for row in reader.rows(sql, {"image": image_id}):
            if kind == "measurement":
                row["flags"] = flags_of(row["flags"])
                row["current"] = bool(row["current"])
            found.append({"at": row.pop("at"), "kind": kind, **row})
    return sorted(found, key=lambda row: row["at"])  # stable: the order of `_STORY` among equals


_IMAGE = f"""
SELECT i.id AS image_id, i.plate, i.well, i.name, i.path, i.field, i.channel, i.timepoint,
       i.captured_at, i.captured_from, {HOURS} AS hours, i.state,
       CASE WHEN i.state = 'failed' THEN i.reason END AS reason, i.attempts, i.next_try_at,
       i.excluded, i.version, i.width, i.height, i.bit_depth, i.pixel_size_um, i.sha256, i.size,
       i.seen_at, i.ready_at, i.segmented_at, i.measured_at
  FROM images i WHERE i.id = :image
"""  # noqa: S608
_SHOWN = (
    "measurements m ON m.image_id = i.id AND m.current AND i.state = 'measured' WHERE i.id = :image"
)
_MEASURED = f"""
SELECT m.id AS measurement_id, m.area_px, m.area_um2, m.pixel_size_um, m.n_objects,
       m.object_number, m.flags, m.checks, m.decision, m.outline_path IS NOT NULL AS outline,
       m.version, m.measured_at
  FROM images i JOIN {_SHOWN}
"""  # noqa: S608
_SEGMENTATION = (
    "segmentations s ON s.id = coalesce((SELECT m.segmentation_id FROM measurements m"
    " WHERE m.image_id = i.id AND m.current AND i.state = 'measured'),"
    " (SELECT max(n.id) FROM segmentations n WHERE n.image_id = i.id))"
)
_SEGMENTED = f"""
SELECT s.id AS segmentation_id, s.model, s.model_md5, s.threshold, s.provider,
       s.peak_probability, s.foreground_px, s.refinement, s.evidence,
       s.mask_path IS NOT NULL AS mask, s.seconds, s.version, s.created_at
  FROM images i JOIN {_SEGMENTATION} WHERE i.id = :image
"""  # noqa: S608
_BATCH_COLUMNS = (
    "b.id AS batch_id, b.pipeline, b.pipeline_sha256, b.cellprofiler, b.n_images, b.finished_at,"
    " b.outcome"
)
_BATCH = f"""
SELECT {_BATCH_COLUMNS}, b.started_at FROM batches b WHERE b.id =
       (SELECT m.batch_id FROM images i JOIN {_SHOWN})
"""  # noqa: S608
_RUN = f"""
SELECT r.id AS run_id, r.kind, r.started_at, r.finished_at FROM runs r WHERE r.id =
       (SELECT m.run_id FROM images i JOIN {_SHOWN})
"""  # noqa: S608
_PICTURES = f"""
SELECT (SELECT m.outline_path FROM measurements m WHERE m.image_id = i.id AND m.current
           AND i.state = 'measured') AS outline_path, s.mask_path
  FROM images i LEFT JOIN {_SEGMENTATION} WHERE i.id = :image
"""  # noqa: S608
# Of the kind that the spheroid is of; where none is marked, that kind was stored first.
_CANDIDATES = f"""
SELECT measurement_id, number, is_spheroid, area_px,
       json_extract(features, {_PLACES}) AS places
  FROM (SELECT o.*, row_number() OVER (PARTITION BY o.measurement_id
                        ORDER BY o.is_spheroid DESC, o.area_px DESC, o.number) AS place
          FROM json_each(:measurements) wanted
          CROSS JOIN objects o ON o.measurement_id = wanted.value AND o.name = (
                   SELECT k.name FROM objects k WHERE k.measurement_id = wanted.value
                    ORDER BY k.is_spheroid DESC, k.id LIMIT 1)
         WHERE o.area_px IS NOT NULL)
 WHERE place <= {_MOST_CANDIDATES}
 ORDER BY measurement_id, area_px DESC, number
"""  # noqa: S608
_STORY = {
    "step": "SELECT at, from_state, to_state, reason FROM transitions"
    " WHERE image_id = :image ORDER BY id",
    "segmentation": "SELECT created_at AS at, id AS segmentation_id, model, model_md5, threshold,"
    " refinement, provider, peak_probability, seconds, version FROM segmentations"
    " WHERE image_id = :image ORDER BY id",
    "batch": f"SELECT b.started_at AS at, {_BATCH_COLUMNS} FROM batches b WHERE b.id IN"  # noqa: S608
    " (SELECT m.batch_id FROM measurements m WHERE m.image_id = :image) ORDER BY b.id",
    "measurement": "SELECT m.measured_at AS at, m.id AS measurement_id, m.segmentation_id,"
    " m.batch_id, m.run_id, r.kind AS run, m.area_px, m.area_um2, m.n_objects, m.flags,"
    " m.current, m.version FROM measurements m LEFT JOIN runs r ON r.id = m.run_id"
    " WHERE m.image_id = :image ORDER BY m.id",
    "run failure": "SELECT f.at, f.run_id, f.reason FROM runs r JOIN run_failures f"
    " ON f.run_id = r.id AND f.image_id = :image"
    " WHERE r.plate = (SELECT i.plate FROM images i WHERE i.id = :image) ORDER BY f.run_id",
    "review": "SELECT r.at, r.id AS event, r.who, r.action, r.reason, t.measurement_id,"
    " t.object_number FROM review_images t JOIN reviews r ON r.id = t.review_id"
    " WHERE t.image_id = :image ORDER BY r.id",
}
