"""The fourth migration: what is asked again and again costs the same at any number of images."""

ARCHIVE = """
-- Written long before it was seen: live images go before it.
ALTER TABLE images ADD COLUMN backlog INTEGER NOT NULL DEFAULT 0 CHECK (backlog IN (0, 1));

-- How many images there are of each kind; triggers keep it, so no statement can forget to.
CREATE TABLE tallies (
    plate    TEXT NOT NULL,                   -- '' and '': not known yet
    well     TEXT NOT NULL,
    state    TEXT NOT NULL,
    excluded INTEGER NOT NULL,
    n        INTEGER NOT NULL,                -- never 0: such a row is removed
    PRIMARY KEY (plate, well, state, excluded)
) WITHOUT ROWID;
INSERT INTO tallies SELECT coalesce(plate, ''), coalesce(well, ''), state, excluded, count(*)
    FROM images GROUP BY 1, 2, 3, 4;
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

-- The same for steps: how often one was taken, ever.
CREATE TABLE steps (
    from_state TEXT NOT NULL,                 -- '': an image was seen
    to_state   TEXT NOT NULL,
    n          INTEGER NOT NULL,
    PRIMARY KEY (from_state, to_state)
) WITHOUT ROWID;
INSERT INTO steps
    SELECT coalesce(from_state, ''), to_state, count(*) FROM transitions GROUP BY 1, 2;
CREATE TRIGGER transitions_counted AFTER INSERT ON transitions BEGIN
    INSERT INTO steps VALUES (coalesce(new.from_state, ''), new.to_state, 1)
        ON CONFLICT (from_state, to_state) DO UPDATE SET n = n + 1;
END;

-- One row: what all plates were settled by, in the judge's own words.
CREATE TABLE judging (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    rules TEXT NOT NULL
);

-- What is still to be done. These hold few rows however many images were measured; a question
-- finds them if it says its conditions in these very words, with literals.
DROP INDEX images_state;
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

-- How an area counts objects: 1, the spheroid alone (several of them are checked for); 0, all;
-- -1, it was never judged.
CREATE INDEX measurements_counting ON measurements (
    CASE WHEN checks = '{}' THEN -1 WHEN object_number IS NOT NULL
         THEN json_extract(checks, '$.several_objects') IS NOT NULL END, image_id)
    WHERE current AND decision IS NULL;

-- With all that is asked of a plate's newest images.
DROP INDEX images_plate;
CREATE INDEX images_plate ON images (plate, captured_at, seen_at) WHERE state <> 'superseded';
"""
