"""The fifth migration: which wells have something new to show, in the order in which it came."""

CHANGES = """
-- One row per well that ever had an image; `seq` is that of its newest change and rises over all
-- wells, so whoever remembers the highest one finds what is new by the index.
CREATE TABLE well_changes (
    plate TEXT NOT NULL,
    well  TEXT NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (plate, well)
) WITHOUT ROWID;
CREATE UNIQUE INDEX well_changes_seq ON well_changes (seq);
INSERT INTO well_changes
    SELECT plate, well, row_number() OVER (ORDER BY plate, well) FROM tallies
     WHERE plate <> '' AND well <> '' GROUP BY plate, well;

-- What an image's own row shows, from when its well is known.  `ready` and `segmented` are on
-- their way and change nothing that is drawn.
CREATE TRIGGER images_shown AFTER UPDATE OF plate, well, state, excluded ON images
WHEN new.plate IS NOT NULL AND new.well IS NOT NULL
 AND (new.excluded <> old.excluded OR new.plate IS NOT old.plate OR new.well IS NOT old.well
      OR new.state <> old.state AND (new.state IN ('measured', 'failed', 'superseded')
                                     OR old.state IN ('measured', 'failed', 'superseded')))
BEGIN
    INSERT INTO well_changes
        VALUES (new.plate, new.well, (SELECT coalesce(max(seq), 0) + 1 FROM well_changes))
        ON CONFLICT (plate, well) DO UPDATE SET seq = excluded.seq;
END;

-- What a measurement shows.  One that is stored as its image arrives is told of when the image
-- moves on to `measured`, in the same transaction.
CREATE TRIGGER measurements_shown AFTER INSERT ON measurements WHEN new.current
BEGIN
    INSERT INTO well_changes
        SELECT plate, well, (SELECT coalesce(max(seq), 0) + 1 FROM well_changes)
          FROM images WHERE id = new.image_id AND state = 'measured'
        ON CONFLICT (plate, well) DO UPDATE SET seq = excluded.seq;
END;
-- Not `checks`: with a plate's limits those of all its images change, and nothing that is drawn.
CREATE TRIGGER measurements_reshown AFTER UPDATE OF
    current, area_px, area_um2, n_objects, object_number, flags, decision, outline_path
    ON measurements
WHEN new.current <> old.current OR new.current AND (
    new.area_px <> old.area_px OR new.area_um2 IS NOT old.area_um2
    OR new.n_objects <> old.n_objects OR new.object_number IS NOT old.object_number
    OR new.flags <> old.flags OR new.decision IS NOT old.decision
    OR new.outline_path IS NOT old.outline_path)
BEGIN
    INSERT INTO well_changes
        SELECT plate, well, (SELECT coalesce(max(seq), 0) + 1 FROM well_changes)
          FROM images WHERE id = new.image_id AND state = 'measured'
        ON CONFLICT (plate, well) DO UPDATE SET seq = excluded.seq;
END;
"""
