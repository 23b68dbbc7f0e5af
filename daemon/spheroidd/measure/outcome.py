"""From one image to CellProfiler's input, and from its answer to what is stored.

Shared by the live stage and by measuring again, so that both give the same areas.
"""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import ImageInput, ImageOutcome
from spheroidd.measure.outline import NoPlaceError, read_labels, write_outline
from spheroidd.measure.spheroid import choose
from spheroidd.store.folder import StateFolder, safe_name
from spheroidd.store.images import Image
from spheroidd.store.results import (
    MeasurementRecord,
    ObjectRecord,
    Results,
    SegmentationRecord,
    StoredSegmentation,
)
from spheroidd.store.runs import Recipe

NO_OUTLINE = "no outline picture could be drawn; the areas are not concerned"


@dataclass(frozen=True)
class Protocol:
    """What every area is measured with."""

    pipeline: Path
    pipeline_name: str
    pipeline_sha256: str
    object_name: str
    rule: Rule
    version: str
    images: frozenset[str] = frozenset({"Original", "Spheroid", "Mask"})  # what it asks for


@dataclass(frozen=True)
class Work:
    """One image of a batch, on its way.

    `original` is its 8-bit original (.npy, absolute); the segmentation may not be stored yet.
    """

    image: Image
    segmentation: StoredSegmentation | SegmentationRecord
    original: Path

    @property
    def key(self) -> str:
        """Unique within a batch, and a part of file names."""
        stem = Path(self.image.name).stem or self.image.name
        return f"{safe_name(self.image.well)[:40]}_{safe_name(stem)[:60]}_{self.image.id}"

    @property
    def segmentation_id(self) -> int:
        """0: not stored yet; storing it says the number."""
        return self.segmentation.id if isinstance(self.segmentation, StoredSegmentation) else 0


def input_of(work: Work, root: Path) -> ImageInput:
    """What CellProfiler gets; masks and white-background images lie under `root`."""
    files = {"Original": work.original}
    if work.segmentation.mask_path:
        files["Mask"] = root / work.segmentation.mask_path
    if work.segmentation.white_path:
        files["Spheroid"] = root / work.segmentation.white_path
    return ImageInput(
        key=work.key,
        # a pipeline may build file names of these
        plate=work.image.plate.replace("/", "_"),
        well=work.image.well.replace("/", "_"),
        timepoint=work.image.timepoint,
        files=files,
    )


def open_batch(
    results: Results,
    folder: StateFolder,
    protocol: Protocol,
    cellprofiler: str | None,
    images: Sequence[Image],
    now: float,
) -> tuple[int, Path]:
    """Enter a batch and make its folder; gives its number and the folder's absolute path.

    Args:
        cellprofiler: its version.
        images: at least one, all of one plate.
    """
    plate = images[0].plate
    batch_id = results.open_batch(
        now,
        plate=plate,
        pipeline=protocol.pipeline_name,
        pipeline_sha256=protocol.pipeline_sha256,
        cellprofiler=cellprofiler or "unknown",
        n_images=len(images),
        folder="",
        place=lambda number: folder.batch(plate, number),
    )
    absolute = folder.root / folder.batch(plate, batch_id)
    absolute.mkdir(parents=True, exist_ok=True)
    return batch_id, absolute


def recipe_of(segmentation: StoredSegmentation | SegmentationRecord, protocol: Protocol) -> Recipe:
    """What decided the area of an image with this segmentation."""
    return Recipe(
        model=segmentation.model,
        model_md5=segmentation.model_md5,
        threshold=segmentation.threshold,
        refinement=segmentation.refinement,
        pipeline=protocol.pipeline_name,
        pipeline_sha256=protocol.pipeline_sha256,
    )


def trouble_with(outcome: ImageOutcome | None, protocol: Protocol) -> str | None:
    """Why an answer is no result; None: it is one.

    An object without an area is a failure, never an area of 0.
    """
    if outcome is None:
        return "it gave no answer"
    if outcome.error:
        return outcome.error
    found = outcome.objects.get(protocol.object_name)
    if found is None:
        return f"it says nothing about {protocol.object_name}"
    if any(features.get("AreaShape_Area") is None for features in found):
        return f"it gave no AreaShape_Area for {protocol.object_name}"
    return None


def measurement_of(
    work: Work,
    outcome: ImageOutcome,
    protocol: Protocol,
    run_id: int,
    batch_id: int,
    outline_path: str | None,
) -> MeasurementRecord:
    """An image's result, all its objects with it; `outcome` is one without trouble."""
    objects = [
        ObjectRecord(name, number, features.get("AreaShape_Area"), features)
        for name, found in outcome.objects.items()
        for number, features in enumerate(found, start=1)
    ]
    # Only one kind of object can be the spheroid; it comes first, so that the index
    # chosen among its objects is the index among all.
    objects.sort(key=lambda found: found.name != protocol.object_name)
    candidates = [found for found in objects if found.name == protocol.object_name]
    spheroid, raised = _judged(candidates)
    area = 0.0 if spheroid is None else candidates[spheroid].area_px or 0.0
    size = work.image.pixel_size_um
    return MeasurementRecord(
        run_id=run_id,
        segmentation_id=work.segmentation_id,
        batch_id=batch_id,
        area_px=area,
        area_um2=None if size is None else area * size**2,
        pixel_size_um=size,
        n_objects=len(candidates),
        flags=raised,
        outline_path=outline_path,
        version=protocol.version,
        spheroid=spheroid,
        objects=objects,
    )


def _judged(candidates: Sequence[ObjectRecord]) -> tuple[int | None, list[str]]:
    """Which object is the spheroid, as the image alone tells; the judge looks at the whole well."""
    spheroid = choose(candidates)
    return spheroid, [] if spheroid is not None else ["no_spheroid"]


def keep_outline(
    work: Work, outcome: ImageOutcome, folder: StateFolder, run: int | None = None
) -> str | None:
    """Draw the outline picture and put it beside the mask; its path is relative to the folder.

    None where none can be drawn: the pipeline measured a part of the image, or found more
    objects than the worker can number in a picture, or the worker left none that can be read.

    Args:
        outcome: one without trouble.
        run: of `spheroidd remeasure`; None: live.

    Raises:
        OSError: the disk is full, say.
    """
    if outcome.labels is None:
        return None
    image = work.image
    path = folder.image(image.plate, image.well, image.name, image.id, "outline", run)
    (folder.root / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        labels = read_labels(outcome.labels)
    except Exception as error:  # whatever is wrong with it, the areas are not concerned
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # nothing is wrong with it
        return None
    try:
        write_outline(folder.root / path, np.load(work.original, allow_pickle=False), labels)
    except (NoPlaceError, Pillow.DecompressionBombError):
        return None
    return str(path)


def result_of(
    work: Work,
    outcome: ImageOutcome | None,
    protocol: Protocol,
    batch_id: int,
    folder: StateFolder,
    run: int | None = None,
) -> MeasurementRecord | str:
    """What is stored of an image, its outline drawn; or in words why there is nothing.

    An answer that can't be made sense of must not stop the others: it is this image's failure.

    Args:
        run: of `spheroidd remeasure`; None: live, and who stores it fills in the `run_id`.

    Raises:
        OSError: the disk is full, say.
    """
    trouble = trouble_with(outcome, protocol)
    if outcome is None or trouble:
        return f"CellProfiler: {trouble}"
    try:
        outline = keep_outline(work, outcome, folder, run)
        return measurement_of(work, outcome, protocol, run or 0, batch_id, outline)
    except OSError:
        raise
    except Exception as error:
        return f"CellProfiler's answer can't be used: {error!r}"


def drop_labels(outcomes: Iterable[ImageOutcome]) -> None:
    """Remove what outlines were drawn from."""
    for outcome in outcomes:
        if outcome.labels is not None:
            outcome.labels.unlink(missing_ok=True)
