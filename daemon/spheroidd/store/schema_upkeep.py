"""The third migration's tables: how the service itself is, and whom it told."""

UPKEEP = """
-- How each part of the service is; one row per part, kept while it is well, too.
CREATE TABLE conditions (
    name      TEXT PRIMARY KEY,          -- disk, database, engine, accelerator, backup, …
    trouble   TEXT NOT NULL DEFAULT '',  -- in words; empty: well
    next_step TEXT NOT NULL DEFAULT '',  -- what to do about it
    urgent    INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1)),  -- nothing is measured meanwhile
    since     TEXT NOT NULL              -- UTC: when it became well, or ill
);

-- Every alert, from the moment it was raised; nothing is deleted.
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
-- one open alert per key
CREATE UNIQUE INDEX alerts_open ON alerts (key) WHERE ended_at IS NULL;

-- How often the daemon has read its configuration again; whoever asked for it waits for that.
ALTER TABLE service ADD COLUMN reloads INTEGER NOT NULL DEFAULT 0;

-- What is in which state, and all that `status` counts, so that no row need be read for it.
DROP INDEX images_work;
CREATE INDEX images_state ON images (state, plate, well, excluded);
CREATE INDEX measurements_flagged ON measurements (image_id)
    WHERE current AND flags <> '' AND decision IS NULL;

-- What may go in its time, the oldest first: what is gone already, or may stay, is not read.
CREATE INDEX segmentations_white ON segmentations (created_at, id) WHERE white_path IS NOT NULL;
CREATE INDEX segmentations_mask ON segmentations (created_at, id) WHERE mask_path IS NOT NULL;
CREATE INDEX measurements_outline ON measurements (measured_at, id)
    WHERE outline_path IS NOT NULL;
CREATE INDEX batches_kept ON batches (finished_at, id) WHERE folder <> '';
"""
