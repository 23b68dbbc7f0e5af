BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'spheroidd','m001_first_schema','2026-11-23 09:35:16.981631+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'spheroidd','m002_runs_reviews_checks','2026-11-23 09:35:16.999438+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'spheroidd','m003_upkeep','2026-11-23 09:35:17.004085+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'spheroidd','m004_archive','2026-11-23 09:35:17.010659+00:00');
CREATE TABLE alerts (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL,            -- what it is about: `disk`, `flags/<plate>/<well>`, …
    urgent     INTEGER NOT NULL CHECK (urgent IN (0, 1)),
    title      TEXT NOT NULL,
    body       TEXT NOT NULL,
    raised_at  TEXT NOT NULL,
    told_at    TEXT,                     -- last time; NULL: not yet (quiet hours, no way through)
    ended_at   TEXT,
    end_told_at TEXT,
    tries      INTEGER NOT NULL DEFAULT 0,
    error      TEXT                      -- why telling failed, without secrets
);
INSERT INTO "alerts" VALUES(1,'images/P',0,'No image','of P','2026-01-03T00:00:00.000+00:00',NULL,NULL,NULL,0,NULL);
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
INSERT INTO "batches" VALUES(1,'P','mask','ab','4.2.8',1,'batches/P/000001','2026-01-01T00:00:00.000+00:00','2026-01-01T00:00:00.000+00:00','complete');
INSERT INTO "batches" VALUES(2,'P','mask','ab','4.2.8',1,'batches/P/000002','2026-01-01T01:00:00.000+00:00','2026-01-01T01:00:00.000+00:00','complete');
INSERT INTO "batches" VALUES(3,'P','mask','ab','4.2.8',1,'batches/P/000003','2026-01-01T02:00:00.000+00:00','2026-01-01T02:00:00.000+00:00','complete');
INSERT INTO "batches" VALUES(4,'P','mask','ab','4.2.8',1,'batches/P/000004','2026-01-01T03:00:00.000+00:00','2026-01-01T03:00:00.000+00:00','complete');
CREATE TABLE conditions (
    name      TEXT PRIMARY KEY,          -- disk, database, engine, accelerator, backup, …
    trouble   TEXT NOT NULL DEFAULT '',  -- in words; empty: well
    next_step TEXT NOT NULL DEFAULT '',  -- what to do about it
    urgent    INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1)),  -- nothing is measured meanwhile
    since     TEXT NOT NULL              -- UTC: when it became well, or ill
);
INSERT INTO "conditions" VALUES('disk','','',0,'2026-01-01T00:00:00.000+00:00');
CREATE TABLE folders (
    root     TEXT PRIMARY KEY,
    health   TEXT NOT NULL CHECK (health IN ('ok', 'degraded')),
    since    TEXT NOT NULL,
    reason   TEXT NOT NULL DEFAULT '',
    observer TEXT,                            -- native or polling, as it runs
    scanned_at TEXT
);
INSERT INTO "folders" VALUES('/export','ok','2026-01-01T00:00:00.000+00:00','',NULL,NULL);
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
    measured_at   TEXT, excluded INTEGER NOT NULL DEFAULT 0 CHECK (excluded IN (0, 1)), backlog INTEGER NOT NULL DEFAULT 0 CHECK (backlog IN (0, 1)),
    UNIQUE (path, version),
    CHECK (state NOT IN ('ready', 'segmented', 'measured') OR
           (sha256 IS NOT NULL AND plate IS NOT NULL AND well IS NOT NULL
            AND captured_at IS NOT NULL)),
    CHECK (state <> 'failed' OR (reason IS NOT NULL AND failed_from IS NOT NULL))
);
INSERT INTO "images" VALUES(1,'/export','/export/P/A1/0.jpg',1,9,7,'measured','P','A1','0.jpg',0,NULL,NULL,'2026-01-01T00:00:00.000+00:00','name','P','A1','2026-01-01T00:00:00.000+00:00','0000000000000000000000000000000000000000000000000000000000000001',40,30,8,2.0,NULL,NULL,0,NULL,NULL,'2026-01-01T00:00:00.000+00:00','2026-01-01T00:00:00.000+00:00','2026-01-01T00:00:00.000+00:00','2026-01-01T00:00:00.000+00:00',0,0);
INSERT INTO "images" VALUES(2,'/export','/export/P/A1/1.jpg',1,9,7,'measured','P','A1','1.jpg',1,NULL,NULL,'2026-01-01T01:00:00.000+00:00','name','P','A1','2026-01-01T01:00:00.000+00:00','0000000000000000000000000000000000000000000000000000000000000002',40,30,8,2.0,NULL,NULL,0,NULL,NULL,'2026-01-01T01:00:00.000+00:00','2026-01-01T01:00:00.000+00:00','2026-01-01T01:00:00.000+00:00','2026-01-01T01:00:00.000+00:00',0,0);
INSERT INTO "images" VALUES(3,'/export','/export/P/A1/2.jpg',1,9,7,'measured','P','A1','2.jpg',2,NULL,NULL,'2026-01-01T02:00:00.000+00:00','name','P','A1','2026-01-01T02:00:00.000+00:00','0000000000000000000000000000000000000000000000000000000000000003',40,30,8,NULL,NULL,NULL,0,NULL,NULL,'2026-01-01T02:00:00.000+00:00','2026-01-01T02:00:00.000+00:00','2026-01-01T02:00:00.000+00:00','2026-01-01T02:00:00.000+00:00',1,0);
INSERT INTO "images" VALUES(4,'/export','/export/P/A2/3.jpg',1,9,7,'measured','P','A2','3.jpg',3,NULL,NULL,'2026-01-01T03:00:00.000+00:00','name','P','A2','2026-01-01T03:00:00.000+00:00','0000000000000000000000000000000000000000000000000000000000000004',40,30,8,2.0,NULL,NULL,0,NULL,NULL,'2026-01-01T03:00:00.000+00:00','2026-01-01T03:00:00.000+00:00','2026-01-01T03:00:00.000+00:00','2026-01-01T03:00:00.000+00:00',0,0);
INSERT INTO "images" VALUES(5,'/export','/export/P/A1/new.jpg',1,1,1,'waiting',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'2026-01-02T00:00:00.000+00:00',NULL,NULL,NULL,0,0);
INSERT INTO "images" VALUES(6,'/export','/export/P/A1/bad.jpg',1,1,1,'failed',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'truncated','waiting',3,NULL,NULL,'2026-01-02T00:00:00.000+00:00',NULL,NULL,NULL,0,0);
INSERT INTO "images" VALUES(7,'/export','/export/P/A1/0.jpg',2,1,1,'superseded',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'2026-01-02T00:00:00.000+00:00',NULL,NULL,NULL,0,0);
CREATE TABLE judging (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    rules TEXT NOT NULL
);
INSERT INTO "judging" VALUES(1,'[]');
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
    outline_path    TEXT,
    version         TEXT NOT NULL,
    measured_at     TEXT NOT NULL, run_id INTEGER REFERENCES runs (id), checks TEXT NOT NULL DEFAULT '{}', decision TEXT CHECK (decision IN ('confirmed', 'chosen')),
    UNIQUE (segmentation_id, batch_id)
);
INSERT INTO "measurements" VALUES(1,1,1,1,1,1000.0,4000.0,2.0,1,1,'',NULL,'0.1.0','2026-01-01T00:00:00.000+00:00',1,'{}',NULL);
INSERT INTO "measurements" VALUES(2,2,2,2,1,1300.0,5200.0,2.0,1,1,'area_jump',NULL,'0.1.0','2026-01-01T01:00:00.000+00:00',1,'{}','confirmed');
INSERT INTO "measurements" VALUES(3,3,3,3,1,5000.0,NULL,NULL,1,1,'touches_border,area_jump',NULL,'0.1.0','2026-01-01T02:00:00.000+00:00',1,'{}',NULL);
INSERT INTO "measurements" VALUES(4,4,4,4,1,0.0,0.0,2.0,0,NULL,'no_spheroid',NULL,'0.1.0','2026-01-01T03:00:00.000+00:00',1,'{}',NULL);
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
INSERT INTO "objects" VALUES(1,1,'Spheroids',1,1,1000.0,'{"AreaShape_Area": 1000.0}');
INSERT INTO "objects" VALUES(2,2,'Spheroids',1,1,1300.0,'{"AreaShape_Area": 1300.0}');
INSERT INTO "objects" VALUES(3,3,'Spheroids',1,1,5000.0,'{"AreaShape_Area": 5000.0}');
CREATE TABLE plates (
    plate      TEXT PRIMARY KEY,
    origin_at  TEXT,                          -- time zero, for elapsed times and frame numbers
    scale_low  INTEGER,                       -- 16-bit values that become 0 and 255
    scale_high INTEGER
, run_id INTEGER REFERENCES runs (id));
INSERT INTO "plates" VALUES('P','2026-01-01T00:00:00.000+00:00',NULL,NULL,NULL);
CREATE TABLE review_images (
    review_id      INTEGER NOT NULL REFERENCES reviews (id),
    image_id       INTEGER NOT NULL REFERENCES images (id),
    measurement_id INTEGER NOT NULL REFERENCES measurements (id),
    object_number  INTEGER,                   -- the spheroid, as it was settled
    was            TEXT NOT NULL,             -- JSON: what the event changed, as it was before
    PRIMARY KEY (review_id, image_id)
) WITHOUT ROWID;
INSERT INTO "review_images" VALUES(1,3,3,1,'{"excluded": 0}');
INSERT INTO "review_images" VALUES(2,2,2,1,'{"decision": null}');
CREATE TABLE reviews (
    id     INTEGER PRIMARY KEY,
    at     TEXT NOT NULL,
    who    TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('confirm', 'exclude', 'restore', 'choose')),
    reason TEXT NOT NULL DEFAULT ''
);
INSERT INTO "reviews" VALUES(1,'2026-01-03T01:00:00.000+00:00','Ada','exclude','a bubble');
INSERT INTO "reviews" VALUES(2,'2026-01-03T02:00:00.000+00:00','Bob','confirm','');
CREATE TABLE run_failures (
    run_id   INTEGER NOT NULL REFERENCES runs (id),
    image_id INTEGER NOT NULL REFERENCES images (id),
    at       TEXT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (run_id, image_id)
) WITHOUT ROWID;
INSERT INTO "run_failures" VALUES(2,3,'2026-01-03T00:00:00.000+00:00','gone');
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
INSERT INTO "runs" VALUES(1,'P','live','u2netp','8e83ca70',0.5,NULL,'mask','ab','2026-01-01T00:00:00.000+00:00',NULL);
INSERT INTO "runs" VALUES(2,'P','again','isnet',NULL,0.5,NULL,'mask','ab','2026-01-03T00:00:00.000+00:00',NULL);
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
, refinement TEXT, evidence TEXT NOT NULL DEFAULT '{}');
INSERT INTO "segmentations" VALUES(1,1,'u2netp','8e83ca70',0.5,'CPU',0.97,9,'images/P/A1/0.1.mask.png',NULL,0.1,'0.1.0','2026-01-01T00:00:00.000+00:00',NULL,'{}');
INSERT INTO "segmentations" VALUES(2,2,'u2netp','8e83ca70',0.5,'CPU',0.97,9,'images/P/A1/1.2.mask.png',NULL,0.1,'0.1.0','2026-01-01T01:00:00.000+00:00',NULL,'{}');
INSERT INTO "segmentations" VALUES(3,3,'u2netp','8e83ca70',0.5,'CPU',0.97,9,'images/P/A1/2.3.mask.png',NULL,0.1,'0.1.0','2026-01-01T02:00:00.000+00:00',NULL,'{}');
INSERT INTO "segmentations" VALUES(4,4,'u2netp','8e83ca70',0.5,'CPU',0.97,9,'images/P/A2/3.4.mask.png',NULL,0.1,'0.1.0','2026-01-01T03:00:00.000+00:00',NULL,'{}');
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
, reloads INTEGER NOT NULL DEFAULT 0);
INSERT INTO "service" VALUES(1,4711,'0.1.0','2026-01-01T00:00:00.000+00:00','2026-01-02T00:00:00.000+00:00',NULL,'running','u2netp',NULL,NULL,'',0);
CREATE TABLE steps (
    from_state TEXT NOT NULL,                 -- '': an image was seen
    to_state   TEXT NOT NULL,
    n          INTEGER NOT NULL,
    PRIMARY KEY (from_state, to_state)
) WITHOUT ROWID;
INSERT INTO "steps" VALUES('','waiting',4);
INSERT INTO "steps" VALUES('segmented','measured',4);
CREATE TABLE tallies (
    plate    TEXT NOT NULL,                   -- '' and '': not known yet
    well     TEXT NOT NULL,
    state    TEXT NOT NULL,
    excluded INTEGER NOT NULL,
    n        INTEGER NOT NULL,                -- never 0: such a row is removed
    PRIMARY KEY (plate, well, state, excluded)
) WITHOUT ROWID;
INSERT INTO "tallies" VALUES('','','failed',0,1);
INSERT INTO "tallies" VALUES('','','superseded',0,1);
INSERT INTO "tallies" VALUES('','','waiting',0,1);
INSERT INTO "tallies" VALUES('P','A1','measured',0,2);
INSERT INTO "tallies" VALUES('P','A1','measured',1,1);
INSERT INTO "tallies" VALUES('P','A2','measured',0,1);
CREATE TABLE transitions (
    id         INTEGER PRIMARY KEY,
    image_id   INTEGER NOT NULL REFERENCES images (id),
    from_state TEXT,
    to_state   TEXT NOT NULL,
    at         TEXT NOT NULL,
    reason     TEXT NOT NULL DEFAULT ''
);
INSERT INTO "transitions" VALUES(1,1,NULL,'waiting','2026-01-01T00:00:00.000+00:00','');
INSERT INTO "transitions" VALUES(2,1,'segmented','measured','2026-01-01T00:00:00.000+00:00','area 1000 px');
INSERT INTO "transitions" VALUES(3,2,NULL,'waiting','2026-01-01T01:00:00.000+00:00','');
INSERT INTO "transitions" VALUES(4,2,'segmented','measured','2026-01-01T01:00:00.000+00:00','area 1300 px');
INSERT INTO "transitions" VALUES(5,3,NULL,'waiting','2026-01-01T02:00:00.000+00:00','');
INSERT INTO "transitions" VALUES(6,3,'segmented','measured','2026-01-01T02:00:00.000+00:00','area 5000 px');
INSERT INTO "transitions" VALUES(7,4,NULL,'waiting','2026-01-01T03:00:00.000+00:00','');
INSERT INTO "transitions" VALUES(8,4,'segmented','measured','2026-01-01T03:00:00.000+00:00','area 0 px');
CREATE TABLE unjudged (
    plate TEXT NOT NULL,
    well  TEXT NOT NULL,
    PRIMARY KEY (plate, well)
) WITHOUT ROWID;
INSERT INTO "unjudged" VALUES('P','A1');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX images_frame ON images (plate, well, timepoint) WHERE state <> 'superseded';
CREATE INDEX transitions_image ON transitions (image_id);
CREATE INDEX segmentations_image ON segmentations (image_id);
CREATE UNIQUE INDEX measurements_current ON measurements (image_id) WHERE current;
CREATE INDEX runs_plate ON runs (plate);
CREATE INDEX measurements_run ON measurements (run_id, image_id);
CREATE INDEX measurements_image ON measurements (image_id, id);
CREATE INDEX review_images_image ON review_images (image_id);
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
CREATE UNIQUE INDEX alerts_open ON alerts (key) WHERE ended_at IS NULL;
CREATE INDEX measurements_flagged ON measurements (image_id)
    WHERE current AND flags <> '' AND decision IS NULL;
CREATE INDEX segmentations_white ON segmentations (created_at, id) WHERE white_path IS NOT NULL;
CREATE INDEX segmentations_mask ON segmentations (created_at, id) WHERE mask_path IS NOT NULL;
CREATE INDEX measurements_outline ON measurements (measured_at, id)
    WHERE outline_path IS NOT NULL;
CREATE INDEX batches_kept ON batches (finished_at, id) WHERE folder <> '';
CREATE TRIGGER images_counted AFTER INSERT ON images BEGIN
    INSERT INTO tallies
        VALUES (coalesce(new.plate, ''), coalesce(new.well, ''), new.state, new.excluded, 1)
        ON CONFLICT (plate, well, state, excluded) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER images_uncounted AFTER DELETE ON images BEGIN
    UPDATE tallies SET n = n - 1 WHERE plate = coalesce(old.plate, '')
        AND well = coalesce(old.well, '') AND state = old.state AND excluded = old.excluded;
    DELETE FROM tallies WHERE plate = coalesce(old.plate, '')
        AND well = coalesce(old.well, '') AND state = old.state AND excluded = old.excluded
        AND n = 0;
END;
CREATE TRIGGER images_recounted AFTER UPDATE OF plate, well, state, excluded ON images
WHEN old.plate IS NOT new.plate OR old.well IS NOT new.well OR old.state <> new.state
    OR old.excluded <> new.excluded
BEGIN
    UPDATE tallies SET n = n - 1 WHERE plate = coalesce(old.plate, '')
        AND well = coalesce(old.well, '') AND state = old.state AND excluded = old.excluded;
    DELETE FROM tallies WHERE plate = coalesce(old.plate, '')
        AND well = coalesce(old.well, '') AND state = old.state AND excluded = old.excluded
        AND n = 0;
    INSERT INTO tallies
        VALUES (coalesce(new.plate, ''), coalesce(new.well, ''), new.state, new.excluded, 1)
        ON CONFLICT (plate, well, state, excluded) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER transitions_counted AFTER INSERT ON transitions BEGIN
    INSERT INTO steps VALUES (coalesce(new.from_state, ''), new.to_state, 1)
        ON CONFLICT (from_state, to_state) DO UPDATE SET n = n + 1;
END;
CREATE INDEX images_active ON images (state)
    WHERE state = 'ready' OR state = 'segmented' OR state = 'failed';
CREATE INDEX images_waiting ON images (path) WHERE state = 'waiting';
CREATE INDEX images_unread ON images (path)
    WHERE sha256 IS NULL AND state IN ('waiting', 'failed');
CREATE INDEX images_ready ON images (backlog, attempts, id)
    WHERE state = 'ready' AND claimed_at IS NULL;
CREATE INDEX images_segmented ON images (plate, attempts, backlog, id, segmented_at)
    WHERE state = 'segmented' AND claimed_at IS NULL;
CREATE INDEX images_claimed ON images (state) WHERE claimed_at IS NOT NULL;
CREATE INDEX images_retry ON images (next_try_at, attempts)
    WHERE state = 'failed' AND next_try_at IS NOT NULL;
CREATE INDEX images_gone ON images (id)
    WHERE state = 'superseded' AND reason = 'gone before it was read';
CREATE INDEX batches_open ON batches (id) WHERE outcome IS NULL;
CREATE INDEX transitions_failed ON transitions (at) WHERE to_state = 'failed';
CREATE INDEX measurements_batch ON measurements (batch_id);
CREATE INDEX measurements_counting ON measurements (
    CASE WHEN checks = '{}' THEN -1 WHEN object_number IS NOT NULL
         THEN json_extract(checks, '$.several_objects') IS NOT NULL END, image_id)
    WHERE current AND decision IS NULL;
CREATE INDEX images_plate ON images (plate, captured_at, seen_at) WHERE state <> 'superseded';
COMMIT;
