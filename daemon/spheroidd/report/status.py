"""What, how far, how healthy: one snapshot for people (`status`) and machines (`--json`)."""

from datetime import datetime
from typing import Any

from spheroidd.store import reading
from spheroidd.store.reader import Reader, Row

_HEARTBEAT_LIMIT_SECONDS = 60.0


def snapshot(reader: Reader, now: float) -> dict[str, Any]:
    """Everything `status` shows, in plain values that JSON can hold.

    Returns:
        `daemon` (with `running`), `folders`, `plates` (images seen, waiting, segmented,
        measured, failed, to_review, excluded), `totals` of the same, the newest `failures`, and
        how many images were `gone` before they could be read.
    """
    plates = [_progress(row) for row in reading.plate_counts(reader)]
    keys = ("seen", "waiting", "segmented", "measured", "failed", "to_review", "excluded")
    return {
        "daemon": _daemon(reading.service(reader), now),
        "folders": reading.folders(reader),
        "plates": plates,
        "totals": {key: sum(plate[key] for plate in plates) for key in keys},
        "failures": reading.failures(reader),
        "gone": reading.gone(reader),
    }


def _progress(row: Row) -> dict[str, Any]:
    """`segmented` counts every image that has got that far, measured ones too."""
    return {
        "plate": row["plate"],
        "wells": row["wells"],
        "seen": row["seen"],
        "waiting": row["waiting"] + row["ready"],
        "segmented": row["segmented"] + row["measured"],
        "measured": row["measured"],
        "failed": row["failed"],
        "to_review": row["to_review"],
        "excluded": row["excluded"],
        "first_at": row["first_at"],
        "last_at": row["last_at"],
    }


def _daemon(row: Row | None, now: float) -> dict[str, Any]:
    if row is None:
        return {"running": False}
    silent = now - datetime.fromisoformat(row["heartbeat_at"]).timestamp()
    running = row["stopped_at"] is None and silent < _HEARTBEAT_LIMIT_SECONDS
    shown = {key: value for key, value in row.items() if key != "id"}
    return {"running": running, "silent_seconds": round(silent, 1), **shown}
