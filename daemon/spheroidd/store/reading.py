"""Questions that readers ask, each over a read-only connection of its own."""

from spheroidd.store.reader import Reader, Row, Rows

GONE = "gone before it was read"  # the reason that `Arrivals.gone` writes
STAGES = ("waiting", "ready", "segmented")  # where an image can fail

GROWTH_COLUMNS = (
    "plate",
    "well",
    "image_path",
    "captured_at",
    "hours",
    "area_px",
    "area_um2",
    "relative_area_pct",
    "n_objects",
    "peak_probability",
    "flags",
    "excluded",
    "model",
    "pipeline",
    "measured_at",
)

# Since the plate's first image, of `images i`; as the view `growth` counts them.
HOURS = (
    "round((julianday(i.captured_at) - (SELECT julianday(min(f.captured_at)) FROM images f"
    " WHERE f.plate = i.plate AND f.state <> 'superseded')) * 24, 4)"
)

# In the words of the index `images_plate`.
_OF_PLATE = "FROM images f WHERE f.plate = g.plate AND f.state <> 'superseded'"


def flags_of(stored: str | None) -> list[str]:
    """The flags of a measurement, which are stored with commas between them."""
    return [flag for flag in (stored or "").split(",") if flag]


def growth(reader: Reader, plate: str | None = None) -> list[Row]:
    """The view `growth`: one row per measured image, ordered by plate, well, time."""
    columns = ", ".join(GROWTH_COLUMNS)
    where = "" if plate is None else " WHERE plate = :plate"
    return reader.rows(f"SELECT {columns} FROM growth{where}", {"plate": plate})  # noqa: S608


def outlines(reader: Reader, plate: str) -> list[Row]:
    """A plate's `growth` rows that have an outline picture, with its path."""
    return reader.rows(
        "SELECT g.plate, g.well, g.hours, g.area_px, g.area_um2, m.outline_path FROM growth g"
        " JOIN images i ON i.path = g.image_path AND i.state = 'measured'"
        " AND i.state <> 'superseded' JOIN measurements m ON m.image_id = i.id AND m.current"
        " WHERE g.plate = :plate AND m.outline_path IS NOT NULL"
        " ORDER BY i.well_key, i.time_key",
        {"plate": plate},
    )


def plate_counts(reader: Reader) -> list[Row]:
    """Per plate: images seen, how many are in which state, how many are excluded and how many
    wait for review (as `reviewing.flagged` says); natural order.
    """
    rows = reader.rows(
        "SELECT nullif(g.plate, '') AS plate, sum(n) AS seen,"  # noqa: S608
        " coalesce(sum(n) FILTER (WHERE state = 'waiting'), 0) AS waiting,"
        " coalesce(sum(n) FILTER (WHERE state = 'ready'), 0) AS ready,"
        " coalesce(sum(n) FILTER (WHERE state = 'segmented'), 0) AS segmented,"
        " coalesce(sum(n) FILTER (WHERE state = 'measured'), 0) AS measured,"
        " coalesce(sum(n) FILTER (WHERE state = 'failed'), 0) AS failed,"
        " count(DISTINCT nullif(well, '')) AS wells,"
        f" (SELECT min(f.captured_at) {_OF_PLATE}) AS first_at,"
        f" (SELECT max(f.captured_at) {_OF_PLATE}) AS last_at,"
        " coalesce(sum(n) FILTER (WHERE excluded AND state = 'measured'), 0) AS excluded"
        " FROM tallies g WHERE state <> 'superseded' GROUP BY g.plate"
        f" ORDER BY (SELECT f.plate_key {_OF_PLATE} LIMIT 1), g.plate"
    )
    waiting = _to_review(reader)
    return [{**row, "to_review": waiting.get(row["plate"], 0)} for row in rows]


def state_counts(reader: Rows) -> dict[str, int]:
    """State → images in it, of the states that count; those without any have 0."""
    rows = reader.rows("SELECT state, sum(n) AS n FROM tallies GROUP BY state")
    found = {row["state"]: row["n"] for row in rows}
    return {state: found.get(state, 0) for state in (*STAGES, "measured", "failed")}


def _to_review(reader: Reader) -> dict[str, int]:
    """Plate → measurements that wait to be looked at; CROSS JOIN: from the few that are
    flagged to their images, not the other way round."""
    rows = reader.rows(
        "SELECT i.plate, count(*) AS n"
        " FROM measurements m INDEXED BY measurements_flagged CROSS JOIN images i"
        " ON i.id = m.image_id AND i.state = 'measured' AND NOT i.excluded"
        " WHERE m.current AND m.flags <> '' AND m.decision IS NULL GROUP BY i.plate"
    )
    return {row["plate"]: row["n"] for row in rows}


def failures(reader: Reader, limit: int = 20) -> list[Row]:
    """The newest failed images: where, why, and when they are tried again (None: set aside)."""
    return reader.rows(
        "SELECT plate, well, path, reason, attempts, next_try_at FROM images"
        " WHERE state = 'failed' ORDER BY id DESC LIMIT :limit",
        {"limit": limit},
    )


def failure_groups(reader: Reader, limit: int = 5) -> list[Row]:
    """Failed images by reason, the most frequent first.

    Returns:
        Rows of reason (without the image's own path), count, set_aside (how many of them are
        not tried again by themselves), next_try_at (the first of the others), path (of the
        newest one).
    """
    return reader.rows(
        "SELECT replace(replace(reason, char(39) || path || char(39) || ': ', ''), path, '…')"
        " AS reason, count(*) AS count, sum(next_try_at IS NULL) AS set_aside,"
        " min(next_try_at) AS next_try_at, path, max(id) AS id"
        " FROM images WHERE state = 'failed' GROUP BY 1 ORDER BY count DESC, id DESC LIMIT :limit",
        {"limit": limit},
    )


def gone(reader: Reader) -> int:
    """Images that vanished from their folder before they could be read."""
    rows = reader.rows(
        "SELECT count(*) AS n FROM images"  # noqa: S608
        f" WHERE state = 'superseded' AND reason = '{GONE}'"  # as the index `images_gone` says
    )
    return int(rows[0]["n"])


def service(reader: Rows) -> Row | None:
    """The daemon that runs or ran last; None where none ever did."""
    rows = reader.rows("SELECT * FROM service")
    return rows[0] if rows else None


def folders(reader: Rows) -> list[Row]:
    """Every watched folder and how it is."""
    return reader.rows("SELECT * FROM folders ORDER BY root")


def conditions(reader: Rows) -> list[Row]:
    """Every part of the service and how it is, what is ill first, the oldest trouble first."""
    return reader.rows("SELECT * FROM conditions ORDER BY trouble = '', since, name")


def alerts_open(reader: Reader) -> int:
    """Alerts that were raised and have not ended."""
    return int(reader.rows("SELECT count(*) AS n FROM alerts WHERE ended_at IS NULL")[0]["n"])


def last_image_at(reader: Reader) -> str | None:
    """When the newest image was seen; None where there is none."""
    rows = reader.rows("SELECT seen_at FROM images ORDER BY id DESC LIMIT 1")
    return rows[0]["seen_at"] if rows else None


def last_measured(reader: Reader, limit: int = 100) -> list[Row]:
    """The images measured last as they arrived (not again): seen_at, measured_at.

    From the newest step backwards, and measuring again is no step: it may have left any number
    of measurements behind.
    """
    return reader.rows(
        "SELECT i.seen_at, t.at AS measured_at FROM transitions t CROSS JOIN images i"
        " ON i.id = t.image_id WHERE t.to_state = 'measured' ORDER BY t.id DESC LIMIT :limit",
        {"limit": limit},
    )


def steps(reader: Reader) -> dict[str, int]:
    """How often images were seen, measured, and failed at each stage (failed_waiting,
    failed_ready, failed_segmented), ever."""
    rows = reader.rows("SELECT * FROM steps")

    def count(name: str, state: str) -> int:
        return sum(row["n"] for row in rows if row[name] == state)

    failed = [row for row in rows if row["to_state"] == "failed"]
    return {
        "seen": count("from_state", ""),
        "measured": count("to_state", "measured"),
        **{
            f"failed_{stage}": sum(row["n"] for row in failed if row["from_state"] == stage)
            for stage in STAGES
        },
    }


def damage(reader: Reader, limit: int = 5) -> list[str]:
    """What SQLite finds wrong with the database, in its words; empty: nothing.  Reads it all."""
    rows = reader.rows(f"PRAGMA quick_check({limit:d})")
    return [said for row in rows if (said := str(row["quick_check"])) != "ok"]
