"""What the plate view and the well view show."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from spheroidd.store.viewing import well_frames, well_names
from spheroidd.web import asking
from spheroidd.web.api.models import AreaPx, AreaUm2, At, Check, Decision, Flags, Hours, State
from spheroidd.web.site import OnSite

router = APIRouter(tags=["plates and wells"])
Unit = Annotated[
    Literal["µm²", "px"],
    Field(description="Of the areas: µm² where every image of the plate has a pixel size."),
]


class Geometry(BaseModel):
    """How wells are laid out."""

    kind: Literal["plate", "grid"] = Field(
        description="`plate`: a format with rows and columns; `grid`: names of any form, in order."
    )
    wells: int
    rows: int
    columns: int


class Span(BaseModel):
    """Hours since the plate's first image; null where nothing is measured."""

    first: float | None
    last: float | None


class Series(BaseModel):
    """One curve: what was measured in one well, field and channel, by time.

    It may be reduced to fewer points; the first, the last, flagged and excluded ones stay.
    """

    field: str | None
    channel: str | None
    hours: list[float] = Field(description="Hours since the plate's first image.")
    area: list[float] = Field(description="In the plate's `unit`.")
    relative: list[float | None] = Field(description="In % of the first area not excluded.")
    image: list[int] = Field(description="The images' numbers, for `/images/{id}`.")
    flagged: list[int] = Field(description="Places in these lists (from 0) that carry a flag.")
    excluded: list[int] = Field(description="Places that a person has excluded.")
    first_area: float | None = Field(description="That area, in the plate's `unit`.")
    thinned: bool = Field(False, description="Some flagged or excluded points are left out, too.")


class Last(BaseModel):
    """The newest measured image of a well."""

    image: int = Field(description="Its number, for `/images/{id}`.")
    hours: Hours
    captured_at: At
    measured_at: At
    area: float | None = Field(description="In the plate's `unit`.")
    relative: float | None = Field(description="In % of the first area not excluded.")
    excluded: bool
    flags: str = Field(description="Comma-separated; may be empty.")


class Well(BaseModel):
    """One well and its curves."""

    well: str
    row: int | None = Field(description="From 0, from the top.")
    column: int | None = Field(description="From 0, from the left.")
    flags: int = Field(description="How many images carry flags.")
    to_review: int = Field(description="How many of them nobody has settled yet.")
    images: int
    series: list[Series]
    last: Last | None


class PlateView(BaseModel):
    """A plate's wells, where they are, and their growth curves."""

    plate: str
    seq: int = Field(description="The number of the newest change that is in it.")
    unit: Unit
    start: At = Field(description="When hours begin: the plate's first image. UTC, ISO 8601.")
    geometry: Geometry
    hours: Span
    wells: list[Well]


class Frame(BaseModel):
    """One image of a well, in whatever state it is."""

    image_id: int
    measurement_id: int | None
    hours: Hours
    captured_at: At
    timepoint: int | None = Field(description="The frame number in the image's name.")
    field: str | None
    channel: str | None
    state: State
    area_px: AreaPx
    area_um2: AreaUm2
    relative_pct: float | None = Field(description="In % of the first area not excluded.")
    n_objects: int | None
    object_number: int | None = Field(description="Which object is the spheroid.")
    flags: Flags
    checks: dict[str, Check]
    excluded: bool
    decision: Decision
    outline: bool = Field(description="Whether there is `/images/{id}/outline`.")
    mask: bool = Field(description="Whether there is `/images/{id}/mask`.")
    reason: str | None = Field(description="Why it failed.")
    next_try_at: At


class WellView(BaseModel):
    """A well's images in the order of time, and its neighbours."""

    plate: str
    well: str
    unit: Unit
    previous: str | None = Field(description="The well before it, in natural order.")
    next: str | None = Field(description="The well after it.")
    frames: list[Frame]


@router.get("/plate", operation_id="plate", summary="A plate's curves", response_model=PlateView)
def plate_view(
    request: Request,
    site: OnSite,
    plate: asking.PlateName,
    points: Annotated[
        int | None,
        Query(ge=4, le=2000, description="About so many a curve at most."),
    ] = None,
) -> Response:
    """The growth curves of all wells of a plate, reduced where they have very many points."""
    with site.readers.get() as reader:
        asking.see_plate(reader, plate)
        tag = asking.tag_of_plate(site, reader, plate, "plate", points)
    # Newer than its tag at worst: then it is asked for once more.
    return asking.unchanged(request, tag) or asking.answer(
        request, site.curves.view_json(plate, points), tag
    )


@router.get("/well", operation_id="well", summary="A well's images", response_model=WellView)
def well_view(
    request: Request,
    site: OnSite,
    plate: asking.PlateName,
    well: Annotated[str, Query(description="The well's name, as `/plate` gives it.")],
) -> Response:
    """Every image of a well in the order of time; failed ones and those on their way, too."""
    with site.readers.get() as reader:
        asking.see_well(reader, plate, well)
        names = well_names(reader, plate)
        frames = well_frames(reader, plate, well)
    sized = all(frame["area_um2"] is not None for frame in frames if frame["measurement_id"])
    at = names.index(well) if well in names else 0
    content = {
        "plate": plate,
        "well": well,
        "unit": "µm²" if sized else "px",
        "previous": names[at - 1] if at else None,
        "next": names[at + 1] if at + 1 < len(names) else None,
        "frames": frames,
    }
    return asking.answer(request, content)
