"""Images one by one: lists of them, all that is known of one, its story, its pictures."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from spheroidd.store import listing, picture
from spheroidd.web import asking
from spheroidd.web.api.models import (
    AreaPx,
    AreaUm2,
    At,
    Check,
    Decision,
    Flags,
    Hours,
    Next,
    Object,
    State,
    StateOrOld,
)
from spheroidd.web.failing import NotThereError
from spheroidd.web.pictures import Width
from spheroidd.web.site import OnSite, Site

router = APIRouter(tags=["images"])
ImageId = Annotated[int, Path(ge=1, le=asking.LARGEST, description="The image's number.")]

AnyWidth = Annotated[
    Width | None,
    Query(description="In pixels; never made larger than it is. Left out: as it was stored."),
]


class Brief(BaseModel):
    """One image in a list."""

    image_id: int
    plate: str | None
    well: str | None
    name: str | None
    path: str = Field(description="The instrument's file, as it was seen.")
    field: str | None
    channel: str | None
    timepoint: int | None
    captured_at: At
    hours: Hours
    state: State
    reason: str | None = Field(description="Why it failed.")
    excluded: bool
    seen_at: str
    measured_at: At
    area_px: AreaPx
    area_um2: AreaUm2
    n_objects: int | None
    flags: Flags
    decision: Decision


class Images(BaseModel):
    """One page of images, in the order in which they were seen."""

    rows: list[Brief]
    next: Next


class Measurement(BaseModel):
    """What CellProfiler and the judge made of it."""

    measurement_id: int
    area_px: AreaPx
    area_um2: AreaUm2
    pixel_size_um: float | None = Field(description="µm per pixel.")
    n_objects: int
    object_number: int | None = Field(description="Which object is the spheroid; null: none is.")
    flags: Flags
    checks: dict[str, Check]
    decision: Decision
    outline: bool
    version: str = Field(description="Of spheroidd.")
    measured_at: str


class Segmentation(BaseModel):
    """How its mask came to be."""

    segmentation_id: int
    model: str
    model_md5: str | None
    threshold: float | None = Field(description="On raw probabilities.")
    provider: str | None = Field(description="What it was computed on: CUDA, OpenVINO, CPU…")
    peak_probability: float | None
    foreground_px: int | None
    refinement: str | None
    evidence: dict[str, float | None]
    mask: bool
    seconds: float
    version: str
    created_at: str


class Batch(BaseModel):
    """CellProfiler's run that it was measured in."""

    batch_id: int
    pipeline: str
    pipeline_sha256: str
    cellprofiler: str
    n_images: int
    started_at: str
    finished_at: At
    outcome: str | None


class RunOfImage(BaseModel):
    """The run that is shown of it; see `/runs`."""

    run_id: int
    kind: Literal["live", "again"]
    started_at: str
    finished_at: At


class ObjectWithFeatures(Object):
    """One object, with all of CellProfiler's numbers."""

    name: str = Field(description="CellProfiler's name of the kind of object.")
    features: dict[str, float | None]


class Image(BaseModel):
    """Everything that is known of one image."""

    image_id: int
    plate: str | None
    well: str | None
    name: str | None
    path: str
    field: str | None
    channel: str | None
    timepoint: int | None
    captured_at: At
    captured_from: str | None = Field(description="Where that time is from.")
    hours: Hours
    state: StateOrOld
    reason: str | None
    attempts: int
    next_try_at: At
    excluded: bool
    version: int = Field(description="Of the file's content: a file that changed has a higher one.")
    width: int | None = Field(description="In pixels.")
    height: int | None = Field(description="In pixels.")
    bit_depth: int | None
    pixel_size_um: float | None = Field(description="µm per pixel.")
    sha256: str | None
    size: int = Field(description="In bytes.")
    seen_at: str
    ready_at: At
    segmented_at: At
    measured_at: At
    measurement: Measurement | None
    segmentation: Segmentation | None
    batch: Batch | None
    run: RunOfImage | None
    objects: list[ObjectWithFeatures] = Field(description="The spheroid first, then the largest.")


class Happening(BaseModel, extra="allow"):
    """One thing that happened to an image, with whatever belongs to its kind."""

    at: str
    kind: Literal["step", "segmentation", "batch", "measurement", "run failure", "review"]


@router.get("/images", operation_id="images", summary="Images, page by page", response_model=Images)
def images(
    request: Request,
    site: OnSite,
    plate: asking.AnyPlate = None,
    well: asking.AnyWell = None,
    state: Annotated[State | None, Query(description="Only in this state.")] = None,
    limit: asking.Limit = 100,
    after: asking.AfterId = None,
) -> Response:
    """Images of all plates, or of one, or of a well, in the order in which they were seen."""
    with site.readers.get() as reader:
        asking.see_any(reader, plate, well)
        rows = listing.images(reader, plate, well, state, limit=limit + 1, after=after)
    return asking.answer(request, asking.page_of(rows, limit, "image_id"))


@router.get(
    "/images/{image_id}",
    operation_id="image",
    summary="Everything of one image",
    response_model=Image,
)
def image(request: Request, site: OnSite, image_id: ImageId) -> Response:
    """Numbers, all objects with all their features, flags with their limits, and what made them."""
    with site.readers.get() as reader:
        found = picture.image(reader, image_id)
    if found is None:
        raise _unknown(image_id)
    return asking.answer(request, found)


@router.get(
    "/images/{image_id}/story",
    operation_id="image_story",
    summary="What happened to an image",
    response_model=list[Happening],
)
def story(request: Request, site: OnSite, image_id: ImageId) -> Response:
    """What happened to an image, in the order of time."""
    with site.readers.get() as reader:
        found = picture.story(reader, image_id)
    if not found:  # every image was seen at least
        raise _unknown(image_id)
    return asking.answer(request, found)


def _picture(*types: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The picture.", "content": {one: binary for one in types}}}


@router.get(
    "/images/{image_id}/outline",
    operation_id="image_outline",
    summary="Outline picture",
    response_class=Response,
    responses=_picture("image/jpeg", "image/png"),
)
def outline(request: Request, site: OnSite, image_id: ImageId, width: AnyWidth = None) -> Response:
    """The original with the outline of every object in yellow, as a JPEG.

    Browsers keep it for a day; an address with `&v=` and the `measurement_id` is another one
    when the image was measured again.
    """
    return _shown(request, site, image_id, "outline", width)


@router.get(
    "/images/{image_id}/mask",
    operation_id="image_mask",
    summary="Mask",
    response_class=Response,
    responses=_picture("image/png"),
)
def mask(request: Request, site: OnSite, image_id: ImageId, width: AnyWidth = None) -> Response:
    """The mask that CellProfiler got, as a PNG: white is spheroid."""
    return _shown(request, site, image_id, "mask", width)


def _shown(
    request: Request,
    site: Site,
    image_id: int,
    kind: Literal["outline", "mask"],
    width: Width | None,
) -> Response:
    with site.readers.get() as reader:
        recorded = picture.pictures(reader, image_id)
    if recorded is None:
        raise _unknown(image_id)
    path = recorded[f"{kind}_path"]
    if path is None:
        raise NotThereError(
            f"Image {image_id} has no {kind}: it was not made yet, or removed in its time.",
            f"`/images/{image_id}` tells its state; `keep` in the configuration, what is removed.",
        )
    found = site.pictures.find(path, width)
    tag, headers = f'"{found.tag}"', {"Cache-Control": "private, max-age=86400"}
    if (same := asking.unchanged(request, tag, headers)) is not None:
        return same
    shown = site.pictures.read(found)
    return Response(shown.content, 200, {**headers, "ETag": tag}, shown.media_type)


def _unknown(image_id: int) -> NotThereError:
    return NotThereError(f"There is no image {image_id}.", "`/images` lists those that are there.")
