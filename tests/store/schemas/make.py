"""Writes `<migration>.sql`: a database as an older schema left it, a few rows in every table.

    python tests/store/schemas/make.py m002_runs_reviews_checks

Run it when a schema is released, and never again: the files are what users have.  It applies
the migrations up to the named one, for real, and enters rows with plain SQL, for the program
of today can write today's schema only.
"""

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteUtils

from spheroidd.store.schema import migrations

T = "2026-01-0{}T0{}:00:00.000+00:00"
MEASURED = [
    # image, hours, area in px, pixel size, flags, excluded
    (1, 0, 1000.0, 2.0, "", 0),
    (2, 1, 1300.0, 2.0, "area_jump", 0),
    (3, 2, 5000.0, None, "touches_border,area_jump", 1),
    (4, 3, 0.0, 2.0, "no_spheroid", 0),
]


def rows_of_first(reviewed: bool) -> list[tuple[str, dict[str, Any]]]:
    """Rows of the first schema's tables; what later migrations moved is left out then."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("plates", {"plate": "P", "origin_at": T.format(1, 0)})
    ]
    for image, hours, area, size, flags, excluded in MEASURED:
        at, well = T.format(1, hours), "A1" if image != 4 else "A2"
        rows += [
            (
                "images",
                {
                    "id": image,
                    "root": "/export",
                    "path": f"/export/P/{well}/{hours}.jpg",
                    "size": 9,
                    "mtime_ns": 7,
                    "state": "measured",
                    "plate": "P",
                    "well": well,
                    "name": f"{hours}.jpg",
                    "timepoint": hours,
                    "captured_at": at,
                    "captured_from": "name",
                    "plate_key": "P",
                    "well_key": well,
                    "time_key": at,
                    "sha256": f"{image:064x}",
                    "width": 40,
                    "height": 30,
                    "bit_depth": 8,
                    "pixel_size_um": size,
                    "seen_at": at,
                    "ready_at": at,
                    "segmented_at": at,
                    "measured_at": at,
                    **({"excluded": excluded} if reviewed else {}),
                },
            ),
            ("transitions", {"image_id": image, "to_state": "waiting", "at": at}),
            (
                "transitions",
                {
                    "image_id": image,
                    "from_state": "segmented",
                    "to_state": "measured",
                    "at": at,
                    "reason": f"area {area:g} px",
                },
            ),
            (
                "segmentations",
                {
                    "id": image,
                    "image_id": image,
                    "model": "u2netp",
                    "model_md5": "8e83ca70",
                    "threshold": 0.5,
                    "provider": "CPU",
                    "peak_probability": 0.97,
                    "foreground_px": 9,
                    "mask_path": f"images/P/{well}/{hours}.{image}.mask.png",
                    "white_path": None,
                    "seconds": 0.1,
                    "version": "0.1.0",
                    "created_at": at,
                },
            ),
            (
                "batches",
                {
                    "id": image,
                    "plate": "P",
                    "pipeline": "mask",
                    "pipeline_sha256": "ab",
                    "cellprofiler": "4.2.8",
                    "n_images": 1,
                    "folder": f"batches/P/{image:06d}",
                    "started_at": at,
                    "finished_at": at,
                    "outcome": "complete",
                },
            ),
            *(
                [
                    (
                        "runs",
                        {
                            "id": 1,
                            "plate": "P",
                            "kind": "live",
                            "model": "u2netp",
                            "model_md5": "8e83ca70",
                            "threshold": 0.5,
                            "pipeline": "mask",
                            "pipeline_sha256": "ab",
                            "started_at": at,
                        },
                    )
                ]
                if reviewed and image == 1
                else []
            ),
            (
                "measurements",
                {
                    "id": image,
                    "image_id": image,
                    "segmentation_id": image,
                    "batch_id": image,
                    "area_px": area,
                    "area_um2": None if size is None else area * size**2,
                    "pixel_size_um": size,
                    "n_objects": int(area > 0),
                    "object_number": 1 if area else None,
                    "flags": flags,
                    "version": "0.1.0",
                    "measured_at": at,
                    **({"run_id": 1} if reviewed else {"excluded": excluded}),
                },
            ),
        ]
        if area:
            rows.append(
                (
                    "objects",
                    {
                        "measurement_id": image,
                        "name": "Spheroids",
                        "number": 1,
                        "is_spheroid": 1,
                        "area_px": area,
                        "features": json.dumps({"AreaShape_Area": area}),
                    },
                )
            )
    rows += [
        ("images", {"id": 5, "root": "/export", "path": "/export/P/A1/new.jpg", "size": 1,
                    "mtime_ns": 1, "state": "waiting", "seen_at": T.format(2, 0)}),
        ("images", {"id": 6, "root": "/export", "path": "/export/P/A1/bad.jpg", "size": 1,
                    "mtime_ns": 1, "state": "failed", "reason": "truncated", "attempts": 3,
                    "failed_from": "waiting", "seen_at": T.format(2, 0)}),
        ("images", {"id": 7, "root": "/export", "path": "/export/P/A1/0.jpg", "version": 2,
                    "size": 1, "mtime_ns": 1, "state": "superseded", "seen_at": T.format(2, 0)}),
        ("folders", {"root": "/export", "health": "ok", "since": T.format(1, 0)}),
        ("service", {"id": 1, "pid": 4711, "version": "0.1.0", "started_at": T.format(1, 0),
                     "heartbeat_at": T.format(2, 0), "phase": "running", "model": "u2netp"}),
    ]  # fmt: skip
    return rows


ROWS_OF_REVIEWS: list[tuple[str, dict[str, Any]]] = [
    ("runs", {"id": 2, "plate": "P", "kind": "again", "model": "isnet", "pipeline": "mask",
              "pipeline_sha256": "ab", "started_at": T.format(3, 0), "threshold": 0.5}),
    ("run_failures", {"run_id": 2, "image_id": 3, "at": T.format(3, 0), "reason": "gone"}),
    ("reviews", {"id": 1, "at": T.format(3, 1), "who": "Ada", "action": "exclude",
                 "reason": "a bubble"}),
    ("review_images", {"review_id": 1, "image_id": 3, "measurement_id": 3, "object_number": 1,
                       "was": '{"excluded": 0}'}),
    ("reviews", {"id": 2, "at": T.format(3, 2), "who": "Bob", "action": "confirm"}),
    ("review_images", {"review_id": 2, "image_id": 2, "measurement_id": 2, "object_number": 1,
                       "was": '{"decision": null}'}),
    ("unjudged", {"plate": "P", "well": "A1"}),
]  # fmt: skip

ROWS_OF_UPKEEP: list[tuple[str, dict[str, Any]]] = [
    ("conditions", {"name": "disk", "since": T.format(1, 0)}),
    ("alerts", {"id": 1, "key": "images/P", "urgent": 0, "title": "No image", "body": "of P",
                "raised_at": T.format(3, 0)}),
]  # fmt: skip

ROWS_OF_ARCHIVE: list[tuple[str, dict[str, Any]]] = [("judging", {"id": 1, "rules": "[]"})]


def main(name: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    sql = SqliteUtils(connection)
    known = [migration.name for migration in migrations.pending(sql)]
    migrations.apply(sql, stop_before=known[known.index(name) + 1 :])
    reviewed, kept, large = (known.index(name) >= since for since in (1, 2, 3))
    rows = rows_of_first(reviewed)
    rows += (ROWS_OF_REVIEWS if reviewed else []) + (ROWS_OF_UPKEEP if kept else [])
    rows += ROWS_OF_ARCHIVE if large else []
    for table, row in rows:
        sql.table(table).insert(row)
    if reviewed:
        sql.execute("UPDATE measurements SET decision = 'confirmed' WHERE id = 2")
    empty = [table for table in sql.table_names() if not sql.table(table).count]
    assert not empty, f"no row in {empty}"
    path = Path(__file__).with_name(f"{name}.sql")
    path.write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
