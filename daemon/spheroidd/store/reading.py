"""Questions that readers ask, each over a read-only connection of its own."""

from spheroidd.store.reader import Reader, Row

GONE = "gone before it was read"  # the reason that `Arrivals.gone` writes

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
    wait for review (as `reviewing.flagged` says); natural order."""
    return reader.rows(
        "SELECT i.plate, count(*) AS seen, sum(i.state = 'waiting') AS waiting,"
        " sum(i.state = 'ready') AS ready, sum(i.state = 'segmented') AS segmented,"
        " sum(i.state = 'measured') AS measured, sum(i.state = 'failed') AS failed,"
        " count(DISTINCT i.well) AS wells, min(i.captured_at) AS first_at,"
        " max(i.captured_at) AS last_at,"
        " count(m.id) FILTER (WHERE i.excluded) AS excluded,"
        " count(m.id) FILTER (WHERE m.flags <> '' AND m.decision IS NULL AND NOT i.excluded)"
        " AS to_review"
        " FROM images i LEFT JOIN measurements m"
        " ON m.image_id = i.id AND m.current = 1 AND i.state = 'measured'"
        " WHERE i.state <> 'superseded' GROUP BY i.plate ORDER BY min(i.plate_key), i.plate"
    )


def failures(reader: Reader, limit: int = 20) -> list[Row]:
    """The newest failed images: where, why, and when they are tried again (None: set aside)."""
    return reader.rows(
        "SELECT plate, well, path, reason, attempts, next_try_at FROM images"
        " WHERE state = 'failed' ORDER BY id DESC LIMIT :limit",
        {"limit": limit},
    )


def gone(reader: Reader) -> int:
    """Images that vanished from their folder before they could be read."""
    rows = reader.rows(
        "SELECT count(*) AS n FROM images WHERE state = 'superseded' AND reason = :why",
        {"why": GONE},
    )
    return int(rows[0]["n"])


def service(reader: Reader) -> Row | None:
    """The daemon that runs or ran last; None where none ever did."""
    rows = reader.rows("SELECT * FROM service")
    return rows[0] if rows else None


def folders(reader: Reader) -> list[Row]:
    """Every watched folder and how it is."""
    return reader.rows("SELECT * FROM folders ORDER BY root")


def conditions(reader: Reader) -> list[Row]:
    """Every part of the service and how it is, what is ill first, the oldest trouble first."""
    return reader.rows("SELECT * FROM conditions ORDER BY trouble = '', since, name")
