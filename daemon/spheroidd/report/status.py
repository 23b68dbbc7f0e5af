"""What, how far, how healthy: one snapshot for people (`status`) and machines (`--json`)."""

import math
import shutil
from pathlib import Path
from typing import Any

from spheroidd.store import reading
from spheroidd.store.reader import Reader, Row, seconds_of

_HEARTBEAT_LIMIT_SECONDS = 60.0
_START_LIMIT_SECONDS = 300.0  # a large model on a slow disk; no heart beats meanwhile


def snapshot(reader: Reader, now: float) -> dict[str, Any]:
    """Everything `status` shows, in plain values that JSON can hold.

    Returns:
        `daemon` (with `running`), `conditions` of its parts, `folders`, `plates` (images seen,
        waiting, segmented, measured, failed, to_review, excluded), `totals` of the same, the
        newest `failures`, `failure_groups` by reason, how many images were `gone` before they
        could be read, `alerts_open`, `last_image_at` and `latency`.
    """
    plates = [_progress(row) for row in reading.plate_counts(reader)]
    keys = ("seen", "waiting", "segmented", "measured", "failed", "to_review", "excluded")
    return {
        "daemon": daemon(reading.service(reader), now),
        "conditions": reading.conditions(reader),
        "folders": reading.folders(reader),
        "plates": plates,
        "totals": {key: sum(plate[key] for plate in plates) for key in keys},
        "failures": reading.failures(reader),
        "failure_groups": reading.failure_groups(reader),
        "gone": reading.gone(reader),
        "alerts_open": reading.alerts_open(reader),
        "last_image_at": reading.last_image_at(reader),
        "latency": latency(reading.last_measured(reader)),
    }


def disk(state_dir: Path) -> dict[str, int] | None:
    """`free_bytes` and `total_bytes` where the state folder lies; None: it can't be asked."""
    try:
        usage = shutil.disk_usage(state_dir)
    except OSError:
        return None
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def latency(rows: list[Row]) -> dict[str, Any]:
    """How long images took from being seen to being measured.

    Args:
        rows: `seen_at` and `measured_at` of each.

    Returns:
        `images`, `median_seconds`, `p95_seconds` (nearest rank); None where there are none.
    """
    taken = sorted(
        # a clock that was set back makes no image faster than light
        max(0.0, seconds_of(row["measured_at"]) - seconds_of(row["seen_at"]))
        for row in rows
    )

    def rank(share: float) -> float | None:
        return round(taken[math.ceil(share * len(taken)) - 1], 3) if taken else None

    return {"images": len(taken), "median_seconds": rank(0.5), "p95_seconds": rank(0.95)}


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


def daemon(row: Row | None, now: float) -> dict[str, Any]:
    """The daemon that runs or ran last, and whether it is `running`: not ended, nor silent."""
    if row is None:
        return {"running": False}
    silent = now - seconds_of(row["heartbeat_at"])
    limit = _START_LIMIT_SECONDS if row["phase"] == "starting" else _HEARTBEAT_LIMIT_SECONDS
    # a heartbeat from the future was written before the clock was set back: silence, too
    running = row["stopped_at"] is None and abs(silent) < limit
    shown = {key: value for key, value in row.items() if key != "id"}
    return {"running": running, "silent_seconds": round(silent, 1), **shown}
