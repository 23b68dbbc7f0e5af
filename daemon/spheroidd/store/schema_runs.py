"""The second migration: runs, reviews, checks, and the view `growth` that honours them."""

RUNS_AND_REVIEWS = """
DROP VIEW growth;

-- One way of measuring a plate. Images measured as they arrive belong to a live run; a change
-- of model, threshold or pipeline begins another. `spheroidd remeasure` makes the others.
CREATE TABLE runs (
    id              INTEGER PRIMARY KEY,
    plate           TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('live', 'again')),
    model           TEXT NOT NULL,
    model_md5       TEXT,
    threshold       REAL,
    refinement      TEXT,                     -- see segment/recipe.py; NULL: none
    pipeline        TEXT NOT NULL,
    pipeline_sha256 TEXT NOT NULL,
    started_at      TEXT NOT NULL,
    finished_at     TEXT                      -- NULL: live, or not finished yet
);
CREATE INDEX runs_plate ON runs (plate);

-- Images that a run could not measure; the live line keeps its failures in `images`.
CREATE TABLE run_failures (
    run_id   INTEGER NOT NULL REFERENCES runs (id),
    image_id INTEGER NOT NULL REFERENCES images (id),
    at       TEXT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (run_id, image_id)
) WITHOUT ROWID;

-- The run that `growth` shows of a plate; NULL: what was measured as it arrived. An image that
-- the chosen run does not have is shown as it was measured live.
ALTER TABLE plates ADD COLUMN run_id INTEGER REFERENCES runs (id);

ALTER TABLE segmentations ADD COLUMN refinement TEXT;
ALTER TABLE segmentations ADD COLUMN evidence TEXT NOT NULL DEFAULT '{}';  -- JSON: name → number

ALTER TABLE measurements ADD COLUMN run_id INTEGER REFERENCES runs (id);
-- JSON: flag → {value, limit, raised}; `flags` names those that are raised
ALTER TABLE measurements ADD COLUMN checks TEXT NOT NULL DEFAULT '{}';
-- what a person has settled; nothing but a person changes such a row
ALTER TABLE measurements ADD COLUMN decision TEXT CHECK (decision IN ('confirmed', 'chosen'));
CREATE INDEX measurements_run ON measurements (run_id, image_id);
CREATE INDEX measurements_image ON measurements (image_id, id);

INSERT INTO runs (plate, kind, model, model_md5, threshold, pipeline, pipeline_sha256, started_at)
    SELECT i.plate, 'live', s.model, s.model_md5, s.threshold, b.pipeline, b.pipeline_sha256,
           min(m.measured_at)
      FROM measurements m
      JOIN images i ON i.id = m.image_id
      JOIN segmentations s ON s.id = m.segmentation_id
      JOIN batches b ON b.id = m.batch_id
     GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY min(m.id);
UPDATE measurements SET run_id = (
    SELECT r.id FROM images i, segmentations s, batches b, runs r
     WHERE i.id = measurements.image_id AND s.id = measurements.segmentation_id
       AND b.id = measurements.batch_id AND r.plate = i.plate AND r.model = s.model
       AND r.model_md5 IS s.model_md5 AND r.threshold IS s.threshold
       AND r.pipeline = b.pipeline AND r.pipeline_sha256 = b.pipeline_sha256);

-- Excluding concerns the image, whatever measured it.
ALTER TABLE images ADD COLUMN excluded INTEGER NOT NULL DEFAULT 0 CHECK (excluded IN (0, 1));
UPDATE images SET excluded = 1
    WHERE id IN (SELECT image_id FROM measurements WHERE current AND excluded);
ALTER TABLE measurements DROP COLUMN excluded;

-- What people have settled: events, never changed, undone by later events.
CREATE TABLE reviews (
    id     INTEGER PRIMARY KEY,
    at     TEXT NOT NULL,
    who    TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('confirm', 'exclude', 'restore', 'choose')),
    reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE review_images (
    review_id      INTEGER NOT NULL REFERENCES reviews (id),
    image_id       INTEGER NOT NULL REFERENCES images (id),
    measurement_id INTEGER NOT NULL REFERENCES measurements (id),
    object_number  INTEGER,                   -- the spheroid, as it was settled
    was            TEXT NOT NULL,             -- JSON: what the event changed, as it was before
    PRIMARY KEY (review_id, image_id)
) WITHOUT ROWID;
CREATE INDEX review_images_image ON review_images (image_id);

-- Wells with new evidence: the spheroid and the flags of all their frames are to be judged anew.
CREATE TABLE unjudged (
    plate TEXT NOT NULL,
    well  TEXT NOT NULL,
    PRIMARY KEY (plate, well)
) WITHOUT ROWID;
INSERT INTO unjudged SELECT DISTINCT plate, well FROM images WHERE state = 'measured';

CREATE VIEW growth AS
WITH measured AS (
    SELECT i.plate, i.well, i.path AS image_path, i.captured_at, i.id,
           i.plate_key, i.well_key, i.time_key,
           (SELECT min(f.captured_at) FROM images f
             WHERE f.plate = i.plate AND f.state <> 'superseded') AS plate_start,
           m.area_px, m.area_um2, m.n_objects, s.peak_probability, m.flags, i.excluded,
           s.model, b.pipeline, m.measured_at,
           first_value(CASE WHEN i.excluded THEN NULL ELSE m.area_px END) OVER first AS first_px,
           first_value(CASE WHEN i.excluded THEN NULL ELSE m.area_um2 END) OVER first AS first_um2
      FROM images i
      JOIN measurements m ON m.image_id = i.id AND m.current
      JOIN segmentations s ON s.id = m.segmentation_id
      JOIN batches b ON b.id = m.batch_id
     WHERE i.state = 'measured' AND i.state <> 'superseded'  -- as images_plate has it
    WINDOW first AS (PARTITION BY i.plate, i.well, i.field, i.channel
                         ORDER BY i.excluded, i.time_key, i.id)
)
SELECT plate, well, image_path, captured_at,
       round((julianday(captured_at) - julianday(plate_start)) * 24, 4) AS hours,
       area_px, area_um2,
       -- In µm², for the magnification may change; in pixels only where neither size is known.
       round(100.0 * CASE WHEN area_um2 IS NULL AND first_um2 IS NULL
                          THEN area_px / nullif(first_px, 0)
                          ELSE area_um2 / nullif(first_um2, 0) END, 3) AS relative_area_pct,
       n_objects, peak_probability, flags, excluded, model, pipeline, measured_at
  FROM measured
 ORDER BY plate_key, plate, well_key, well, time_key, id;
"""
