"""The database's schema as an ordered list of migrations, one transaction each.

A released migration is never edited: a change is a new function at the end.
"""

from sqlite_utils import Database as SqliteUtils
from sqlite_utils import Migrations

from spheroidd.store.schema_archive import ARCHIVE
from spheroidd.store.schema_changes import CHANGES
from spheroidd.store.schema_runs import RUNS_AND_REVIEWS
from spheroidd.store.schema_upkeep import UPKEEP

migrations = Migrations("spheroidd")


@migrations()
def m001_first_schema(db: SqliteUtils) -> None:
    """Images and their transitions, segmentations, batches, objects, measurements."""
    db.executescript(_FIRST_SCHEMA)


@migrations()
def m002_runs_reviews_checks(db: SqliteUtils) -> None:
    """Runs, review events, evidence of each mask, the checks behind every flag."""
    db.executescript(RUNS_AND_REVIEWS)


@migrations()
def m003_upkeep(db: SqliteUtils) -> None:
    """How the service is, and the alerts that it raised."""
    db.executescript(UPKEEP)


@migrations()
def m004_archive(db: SqliteUtils) -> None:
    """What is asked again and again costs the same at any number of images."""
    db.executescript(ARCHIVE)


@migrations()
def m005_changes(db: SqliteUtils) -> None:
    """Which wells have something new to show."""
    db.executescript(CHANGES)


_FIRST_SCHEMA = """
-- One row per content (sha256) of a path; a path with new content gets a new version.
CREATE TABLE images (
    id            INTEGER PRIMARY KEY,
    root          TEXT NOT NULL,              -- the watched folder
    path          TEXT NOT NULL,              -- absolute; see store/paths.py for odd bytes
    version       INTEGER NOT NULL DEFAULT 1,
    size          INTEGER NOT NULL,           -- bytes, as last seen
    mtime_ns      INTEGER NOT NULL,
    state         TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN
                  ('waiting', 'ready', 'segmented', 'measured', 'failed', 'superseded')),
    plate         TEXT,
    well          TEXT,
    name          TEXT,
    timepoint     INTEGER,                    -- frame number, from the name
    field         TEXT,
    channel       TEXT,
    captured_at   TEXT,                       -- UTC, ISO 8601
    captured_from TEXT CHECK (captured_from IN
                  ('name', 'elapsed', 'metadata', 'interval', 'mtime')),
    plate_key     TEXT,                       -- natural order: A2 before A10
    well_key      TEXT,
    time_key      TEXT,
    sha256        TEXT,
    width         INTEGER,
    height        INTEGER,
    bit_depth     INTEGER,
    pixel_size_um REAL,
    reason        TEXT,                       -- why it failed, in words
    failed_from   TEXT CHECK (failed_from IN ('waiting', 'ready', 'segmented')),
    attempts      INTEGER NOT NULL DEFAULT 0, -- failures at the present stage
    next_try_at   TEXT,                       -- NULL while failed: set aside
    claimed_at    TEXT,                       -- a stage has it in hand
    seen_at       TEXT NOT NULL,
    ready_at      TEXT,
    segmented_at  TEXT,
    measured_at   TEXT,
    UNIQUE (path, version),
    CHECK (state NOT IN ('ready', 'segmented', 'measured') OR
           (sha256 IS NOT NULL AND plate IS NOT NULL AND well IS NOT NULL
            AND captured_at IS NOT NULL)),
    CHECK (state <> 'failed' OR (reason IS NOT NULL AND failed_from IS NOT NULL))
);
CREATE INDEX images_work ON images (state, next_try_at, id)
    WHERE state IN ('waiting', 'ready', 'segmented', 'failed');
CREATE INDEX images_frame ON images (plate, well, timepoint) WHERE state <> 'superseded';
CREATE INDEX images_plate ON images (plate, captured_at) WHERE state <> 'superseded';

-- Every step an image took; nothing is ever removed from here.
CREATE TABLE transitions (
    id         INTEGER PRIMARY KEY,
    image_id   INTEGER NOT NULL REFERENCES images (id),
    from_state TEXT,
    to_state   TEXT NOT NULL,
    at         TEXT NOT NULL,
    reason     TEXT NOT NULL DEFAULT ''
);
CREATE INDEX transitions_image ON transitions (image_id);

-- What all images of a plate share.
CREATE TABLE plates (
    plate      TEXT PRIMARY KEY,
    origin_at  TEXT,                          -- time zero, for elapsed times and frame numbers
    scale_low  INTEGER,                       -- 16-bit values that become 0 and 255
    scale_high INTEGER
);

CREATE TABLE segmentations (
    id               INTEGER PRIMARY KEY,
    image_id         INTEGER NOT NULL REFERENCES images (id),
    model            TEXT NOT NULL,           -- 'none' where CellProfiler works alone
    model_md5        TEXT,
    threshold        REAL,                    -- on raw probabilities
    provider         TEXT,                    -- CUDA, TensorRT, OpenVINO, CPU
    peak_probability REAL,
    foreground_px    INTEGER,
    mask_path        TEXT,                    -- relative to the state folder
    white_path       TEXT,
    seconds          REAL NOT NULL,
    version          TEXT NOT NULL,           -- of spheroidd
    created_at       TEXT NOT NULL
);
CREATE INDEX segmentations_image ON segmentations (image_id);

CREATE TABLE batches (
    id              INTEGER PRIMARY KEY,
    plate           TEXT NOT NULL,
    pipeline        TEXT NOT NULL,
    pipeline_sha256 TEXT NOT NULL,
    cellprofiler    TEXT NOT NULL,
    n_images        INTEGER NOT NULL,
    folder          TEXT NOT NULL,            -- CellProfiler's spreadsheets, in the state folder
    started_at      TEXT NOT NULL,
    finished_at     TEXT,
    outcome         TEXT                      -- NULL while it runs
);

CREATE TABLE measurements (
    id              INTEGER PRIMARY KEY,
    image_id        INTEGER NOT NULL REFERENCES images (id),
    segmentation_id INTEGER NOT NULL REFERENCES segmentations (id),
    batch_id        INTEGER NOT NULL REFERENCES batches (id),
    current         INTEGER NOT NULL DEFAULT 1 CHECK (current IN (0, 1)),
    area_px         REAL NOT NULL CHECK (area_px >= 0),
    area_um2        REAL,
    pixel_size_um   REAL,
    n_objects       INTEGER NOT NULL CHECK (n_objects >= 0),
    object_number   INTEGER,                  -- which of `objects` is the spheroid
    flags           TEXT NOT NULL DEFAULT '', -- comma-separated
    excluded        INTEGER NOT NULL DEFAULT 0 CHECK (excluded IN (0, 1)),
    outline_path    TEXT,
    version         TEXT NOT NULL,
    measured_at     TEXT NOT NULL,
    UNIQUE (segmentation_id, batch_id)
);
-- exactly one current result per image
CREATE UNIQUE INDEX measurements_current ON measurements (image_id) WHERE current;

-- Every object that CellProfiler found, with every number it gave.
CREATE TABLE objects (
    id             INTEGER PRIMARY KEY,
    measurement_id INTEGER NOT NULL REFERENCES measurements (id),
    name           TEXT NOT NULL,             -- CellProfiler's name of the kind of object
    number         INTEGER NOT NULL,
    is_spheroid    INTEGER NOT NULL CHECK (is_spheroid IN (0, 1)),
    area_px        REAL,
    features       TEXT NOT NULL,             -- JSON: feature name → number
    UNIQUE (measurement_id, name, number)
);

CREATE TABLE folders (
    root     TEXT PRIMARY KEY,
    health   TEXT NOT NULL CHECK (health IN ('ok', 'degraded')),
    since    TEXT NOT NULL,
    reason   TEXT NOT NULL DEFAULT '',
    observer TEXT,                            -- native or polling, as it runs
    scanned_at TEXT
);

-- One row: the daemon that runs, or ran last.
CREATE TABLE service (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    pid          INTEGER NOT NULL,
    version      TEXT NOT NULL,
    started_at   TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    stopped_at   TEXT,
    phase        TEXT NOT NULL,
    model        TEXT,
    provider     TEXT,
    pipeline     TEXT,
    trouble      TEXT NOT NULL DEFAULT ''
);

CREATE VIEW growth AS
WITH measured AS (
    SELECT i.plate, i.well, i.path AS image_path, i.captured_at, i.id,
           i.plate_key, i.well_key, i.time_key,
           (SELECT min(f.captured_at) FROM images f
             WHERE f.plate = i.plate AND f.state <> 'superseded') AS plate_start,
           m.area_px, m.area_um2, m.n_objects, s.peak_probability, m.flags, m.excluded,
           s.model, b.pipeline, m.measured_at,
           first_value(CASE WHEN m.excluded THEN NULL ELSE m.area_px END) OVER (
               PARTITION BY i.plate, i.well, i.field, i.channel
               ORDER BY m.excluded, i.time_key, i.id) AS first_area
      FROM images i
      JOIN measurements m ON m.image_id = i.id AND m.current = 1
      JOIN segmentations s ON s.id = m.segmentation_id
      JOIN batches b ON b.id = m.batch_id
     WHERE i.state = 'measured'
)
SELECT plate, well, image_path, captured_at,
       round((julianday(captured_at) - julianday(plate_start)) * 24, 4) AS hours,
       area_px, area_um2,
       round(100.0 * area_px / nullif(first_area, 0), 3) AS relative_area_pct,
       n_objects, peak_probability, flags, excluded, model, pipeline, measured_at
  FROM measured
 ORDER BY plate_key, plate, well_key, well, time_key, id;
"""
