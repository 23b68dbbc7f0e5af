"""Which wells changed since somebody last looked; triggers count them (see schema_changes.py)."""

from spheroidd.store.reader import Reader


def newest(reader: Reader, plate: str | None = None) -> int:
    """The number of the newest change (of one plate); 0: nothing was ever there to be shown.

    It only grows, but in a database that was restored it may be smaller than before.
    """
    where = "" if plate is None else " WHERE plate = :plate"
    rows = reader.rows(
        f"SELECT coalesce(max(seq), 0) AS seq FROM well_changes{where}",  # noqa: S608
        {"plate": plate},
    )
    return int(rows[0]["seq"])


def changes_since(reader: Reader, seq: int) -> list[tuple[str, str, int]]:
    """Wells with changes that are newer than number `seq`, the latest change last.

    Returns:
        (plate, well, number of the well's newest change), each well once; with `seq` 0 every
        well that ever had an image. What is on its way (`ready`, `segmented`), another limit
        that raises no flag, and masks that were removed are no changes.
    """
    rows = reader.rows(
        "SELECT plate, well, seq FROM well_changes WHERE seq > :seq ORDER BY seq", {"seq": seq}
    )
    return [(row["plate"], row["well"], row["seq"]) for row in rows]


def data_version(reader: Reader) -> int:
    """Another number than before on this connection: somebody else has committed something."""
    return int(reader.rows("PRAGMA data_version")[0]["data_version"])
