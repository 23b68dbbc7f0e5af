"""Long lists, page by page: images, what people settled, alerts."""

from spheroidd.store.reader import Reader, Row
from spheroidd.store.reading import HOURS, STAGES, flags_of

STATES = (*STAGES, "measured", "failed")  # of images that count; `superseded` ones don't
# Few images in any archive: by number they would be looked for among all.
_FEW = {"waiting": "INDEXED BY images_waiting"} | dict.fromkeys(
    ("ready", "segmented", "failed"), "INDEXED BY images_active"
)
_IMAGES_OF_EVENT = 20  # that an event names; it may concern a whole plate


def images(
    reader: Reader,
    plate: str | None = None,
    well: str | None = None,
    state: str | None = None,
    *,
    limit: int = 100,
    after: int | None = None,
) -> list[Row]:
    """Images that count (not superseded), in the order in which they were seen.

    Args:
        well: of a plate, which must be given then.
        state: one of `STATES`.
        after: the last image_id of the page before.

    Returns:
        at most `limit` rows of image_id, plate, well, name, path, field, channel, timepoint,
        captured_at, hours, state, reason, excluded, seen_at, measured_at, area_px, area_um2,
        n_objects, flags (list), decision.
    """
    values = {"plate": plate, "well": well, "state": state, "limit": limit, "after": after or 0}
    rows = reader.rows(_listing(plate, well, state), values)
    for row in rows:
        row["flags"] = flags_of(row["flags"])
        row["excluded"] = bool(row["excluded"])
    return rows


def _listing(plate: str | None, well: str | None, state: str | None) -> str:
    """The numbers are found first, by an index that holds them, and sorted alone."""
    if state not in (None, *STATES):
        raise ValueError(f"no such state: {state!r}")
    index = _FEW.get(state or "", "")
    if plate is not None and not index:
        index = f"INDEXED BY {'images_plate' if well is None else 'images_frame'}"
    terms = ["n.id > :after", "n.state <> 'superseded'"]
    if state is not None:
        terms.append(f"n.state = '{state}'")  # a literal, as the partial indexes have it
    if plate is not None:
        terms.append("n.plate = :plate")
    if well is not None:
        terms.append("n.well = :well")
    return (
        "SELECT i.id AS image_id, i.plate, i.well, i.name, i.path, i.field, i.channel,"  # noqa: S608
        f" i.timepoint, i.captured_at, {HOURS} AS hours, i.state,"
        " CASE WHEN i.state = 'failed' THEN i.reason END AS reason, i.excluded, i.seen_at,"
        " i.measured_at, m.area_px, m.area_um2, m.n_objects, m.flags, m.decision"
        " FROM images i LEFT JOIN measurements m"
        "  ON m.image_id = i.id AND m.current AND i.state = 'measured'"
        f" WHERE i.id IN (SELECT n.id FROM images n {index} WHERE {' AND '.join(terms)}"
        "  ORDER BY n.id LIMIT :limit) ORDER BY i.id"
    )


def review_events(
    reader: Reader,
    plate: str | None = None,
    well: str | None = None,
    *,
    limit: int = 100,
    after: int | None = None,
) -> list[Row]:
    """What people settled, the newest first.

    Args:
        after: the last id of the page before.

    Returns:
        at most `limit` rows of id, at, who, action, reason, n_images, and `images`: the first
        twenty of them (image_id, plate, well, hours, timepoint, measurement_id, object_number).
    """
    values = {"plate": plate, "well": well, "limit": limit, "after": after}
    narrowed = " AND i.plate = :plate" if plate is not None else ""
    narrowed += " AND i.well = :well" if well is not None else ""
    of_event = (
        "FROM review_images t JOIN images i ON i.id = t.image_id"
        f" WHERE t.review_id = {{event}}{narrowed}"
    )
    rows = reader.rows(
        "SELECT r.id, r.at, r.who, r.action, r.reason, (SELECT count(*) FROM review_images t"  # noqa: S608
        "  WHERE t.review_id = r.id) AS n_images FROM reviews r"
        " WHERE (:after IS NULL OR r.id < :after)"
        f" AND EXISTS (SELECT 1 {of_event.format(event='r.id')})"
        " ORDER BY r.id DESC LIMIT :limit",
        values,
    )
    for row in rows:
        row["images"] = reader.rows(
            f"SELECT i.id AS image_id, i.plate, i.well, {HOURS} AS hours, i.timepoint,"
            f" t.measurement_id, t.object_number {of_event.format(event=':event')}"
            f" ORDER BY t.image_id LIMIT {_IMAGES_OF_EVENT}",
            {**values, "event": row["id"]},
        )
    return rows


def alerts(reader: Reader, limit: int = 50) -> list[Row]:
    """Every open alert, and the last ones that are over; open ones first, the newest first.

    Returns:
        Rows of id, key, urgent, title, body, raised_at, told_at, ended_at, error.
    """
    columns = "id, key, urgent, title, body, raised_at, told_at, ended_at, error"
    rows = [
        *reader.rows(f"SELECT {columns} FROM alerts WHERE ended_at IS NULL ORDER BY id DESC"),  # noqa: S608
        *reader.rows(
            f"SELECT {columns} FROM alerts WHERE ended_at IS NOT NULL"  # noqa: S608
            " ORDER BY id DESC LIMIT :limit",
            {"limit": limit},
        ),
    ]
    return [{**row, "urgent": bool(row["urgent"])} for row in rows]
