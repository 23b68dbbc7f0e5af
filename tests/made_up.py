"""Rows that several rooms' tests start from, complete where a test does not care."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from spheroidd.intake.naming import natural_key
from spheroidd.store.database import Database, timestamp
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import Admission
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import MeasurementRecord, ObjectRecord, Results, SegmentationRecord
from spheroidd.store.runs import Recipe, Runs

NOW = 1_700_000_000.0


def admission(well: str = "A1", name: str = "1.jpg", **said: Any) -> Admission:
    """What intake would have learned of one image; the content differs as the file does."""
    usual: dict[str, Any] = {
        "plate": "P", "well": well, "name": name, "timepoint": None, "field": None,
        "channel": None, "captured_at": timestamp(NOW), "captured_from": "name",
        "plate_key": "P", "well_key": natural_key(well), "time_key": timestamp(NOW),
        "sha256": f"{well}/{name}", "size": 1, "mtime_ns": 1, "width": 40, "height": 30,
        "bit_depth": 8, "pixel_size_um": None,
    }  # fmt: skip
    return Admission(**{**usual, **said})


RECIPE = Recipe("u2netp", "md5", 0.5, None, "mask", "x")


def segmented(db: Database, folder: StateFolder, well: str, mask: NDArray[np.uint8]) -> None:
    """One image that waits for CellProfiler; its mask is stored as it is given, its original is
    of one grey."""
    ledger = Ledger(db)
    ledger.arrive("/e", [(f"/e/P/{well}/1.jpg", 1, 1)], NOW)
    [image] = ledger.waiting("/e")
    ledger.admit(image.id, admission(well, timepoint=1), NOW)
    [image] = ledger.claim("ready", NOW)
    np.save(folder.original(image.id), np.full(mask.shape, 150, np.uint8))
    path = folder.root / f"{well}.png"
    Pillow.fromarray(mask).save(path)
    record = SegmentationRecord("m", "md5", 0.5, "CPU", 0.9, 5, path.name, path.name, 0.1, "0")
    Results(db).segmented(image, record, NOW)


def measured(
    db: Database,
    well: str,
    hours: float,
    objects: Sequence[float | Mapping[str, float | None]] = (100.0,),
    *,
    evidence: Mapping[str, float] | None = None,
    peak: float = 0.97,
    **said: Any,
) -> int:
    """One image all the way to its area; returns the image's number.

    Args:
        objects: CellProfiler's features of each object, or its area alone; the first one is
            taken for the spheroid.
        said: what intake learned, where it matters.
    """
    ledger, results = Ledger(db), Results(db)
    name = said.pop("name", f"{well}_{hours:g}.jpg")
    ledger.arrive("/e", [(f"/e/P/{well}/{name}", 1, 1)], NOW)
    [image] = ledger.waiting("/e")
    at = timestamp(NOW + hours * 3600)
    ledger.admit(
        image.id,
        admission(well, name, **{"captured_at": at, "time_key": at, "pixel_size_um": 2.0, **said}),
        NOW,
    )
    [image] = ledger.claim("ready", NOW)
    results.segmented(
        image,
        SegmentationRecord(
            "u2netp", "md5", 0.5, "CPU", peak, 7, "m", "w", 0.1, "0", None, evidence or {}
        ),
        NOW,
    )
    [image] = ledger.claim("segmented", NOW)
    batch = results.open_batch(
        NOW,
        plate="P",
        pipeline="mask",
        pipeline_sha256="x",
        cellprofiler="4",
        n_images=1,
        folder="",
    )
    found = [
        ObjectRecord("Spheroids", number, features["AreaShape_Area"], features)
        for number, features in enumerate(
            (
                {"AreaShape_Area": one} if isinstance(one, (int, float)) else dict(one)
                for one in objects
            ),
            start=1,
        )
    ]
    area = found[0].area_px or 0.0 if found else 0.0
    size = image.pixel_size_um
    results.measured(
        image,
        MeasurementRecord(
            run_id=Runs(db).live(image.plate, RECIPE, NOW),
            segmentation_id=results.segmentation(image.id).id,
            batch_id=batch,
            area_px=area,
            area_um2=None if size is None else area * size**2,
            pixel_size_um=size,
            n_objects=len(found),
            flags=[] if found else ["no_spheroid"],
            outline_path=None,
            version="0",
            spheroid=0 if found else None,
            objects=found,
        ),
        NOW,
    )
    results.close_batch(batch, "complete", NOW)
    return image.id
