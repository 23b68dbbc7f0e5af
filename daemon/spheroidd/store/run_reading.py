"""What readers ask about runs, over a read-only connection; light, for commands and pages."""

from spheroidd.store.reader import Reader, Row, seconds_of

_SILENT_SECONDS = 60.0  # a daemon whose heart has not beaten for so long is not there


def runs(reader: Reader, plate: str | None = None) -> list[Row]:
    """All runs (of one plate), by plate and number.

    Returns:
        The columns of `runs`, and `images` (of the plate's measured ones, how many it has),
        `total` (how many there are), `failures`, `shown` (how many images `growth` shows from
        it), `chosen` (whether it is the plate's; live runs: whether no other is).
    """
    return reader.rows(
        """
        SELECT r.*,
               (SELECT count(DISTINCT i.id) FROM measurements m JOIN images i ON i.id = m.image_id
                 WHERE m.run_id = r.id AND i.state = 'measured') AS images,
               (SELECT count(*) FROM images i
                 WHERE i.plate = r.plate AND i.state = 'measured'
                   AND i.state <> 'superseded') AS total,
               (SELECT count(*) FROM run_failures f JOIN images i ON i.id = f.image_id
                 WHERE f.run_id = r.id AND i.state = 'measured') AS failures,
               (SELECT count(*) FROM measurements m JOIN images i ON i.id = m.image_id
                 WHERE m.run_id = r.id AND m.current AND i.state = 'measured') AS shown,
               CASE WHEN p.run_id IS NULL THEN r.kind = 'live' ELSE p.run_id = r.id END AS chosen
          FROM runs r LEFT JOIN plates p ON p.plate = r.plate
         WHERE :plate IS NULL OR r.plate = :plate
         ORDER BY (SELECT min(i.plate_key) FROM images i
                    WHERE i.plate = r.plate AND i.state <> 'superseded'), r.plate, r.id
        """,
        {"plate": plate},
    )


def areas(reader: Reader, plate: str, run_id: int | None) -> list[Row]:
    """What one run measured on a plate, by well and time.

    Args:
        run_id: None: every image as it was measured live.

    Returns:
        `image_id, well, hours` (since the plate's first image), `image_path, area_px, area_um2`
        (None where the pixel size is unknown), `excluded`, `largest` (1 where the area is that
        of the largest of several objects: what was never shown is not judged).
    """
    return reader.rows(
        """
        SELECT i.id AS image_id, i.well,
               round((julianday(i.captured_at) - julianday(
                   (SELECT min(f.captured_at) FROM images f
                     WHERE f.plate = i.plate AND f.state <> 'superseded'))) * 24, 4) AS hours,
               i.path AS image_path, m.area_px, m.area_um2, i.excluded,
               m.n_objects > 1 AND m.checks = '{}' AND m.decision IS NULL AS largest
          FROM images i JOIN measurements m ON m.id = (
               SELECT max(n.id) FROM measurements n LEFT JOIN runs r ON r.id = n.run_id
                WHERE n.image_id = i.id
                  AND CASE WHEN :run IS NULL THEN r.kind IS NOT 'again' ELSE n.run_id = :run END)
         WHERE i.plate = :plate AND i.state = 'measured' AND i.state <> 'superseded'
         ORDER BY i.well_key, i.well, i.time_key, i.id
        """,
        {"plate": plate, "run": run_id},
    )


def failures(reader: Reader, run_id: int) -> list[Row]:
    """The images that a run could not measure, each with the reason."""
    return reader.rows(
        "SELECT i.id AS image_id, i.well, i.path AS image_path, f.at, f.reason FROM run_failures f"
        " JOIN images i ON i.id = f.image_id WHERE f.run_id = :run AND i.state = 'measured'"
        " ORDER BY i.well_key, i.well, i.time_key, i.id",
        {"run": run_id},
    )


def live_work(reader: Reader, now: float) -> int:
    """How many images the daemon has in hand or next in line; 0 where none is running.

    Images that wait for their batch to fill are not counted: nobody works on them yet.
    """
    rows = reader.rows(
        "SELECT heartbeat_at, (SELECT count(*) FROM images WHERE state = 'ready'"
        " OR (state = 'segmented' AND claimed_at IS NOT NULL)) AS work"
        " FROM service WHERE stopped_at IS NULL"
    )
    if not rows:
        return 0
    silent = now - seconds_of(rows[0]["heartbeat_at"])
    return int(rows[0]["work"]) if abs(silent) < _SILENT_SECONDS else 0
