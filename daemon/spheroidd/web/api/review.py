"""Review: what waits to be looked at, worst first, and what people settle of it.

An action is the same event that `spheroidd review` makes; the database is opened for it alone.
"""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from spheroidd.errors import SpheroiddError
from spheroidd.store.choices import ReviewError
from spheroidd.store.database import Database
from spheroidd.store.paths import to_stored
from spheroidd.store.picture import candidates
from spheroidd.store.reader import Row
from spheroidd.store.reviewing import Selection, refuse_hidden, selected
from spheroidd.store.reviews import Reviews, Subject, Undone
from spheroidd.store.waiting import waiting
from spheroidd.web import asking
from spheroidd.web.api.models import AreaPx, AreaUm2, Flags, Hours, Object
from spheroidd.web.site import OnSite, Site
from spheroidd.web.viewer import Viewer

router = APIRouter(tags=["review"])
decisions = APIRouter(tags=["review"])
Number = Annotated[int, Field(ge=1, le=asking.LARGEST)]
Reason = Annotated[str, Field(max_length=1000, description="Why; excluding needs one.")]
Who = Annotated[
    str | None,
    Field(max_length=100, description="Who decides; left out: who is logged in, or the token."),
]
Made = TypeVar("Made")


def _reviewer(request: Request, site: OnSite) -> Viewer:
    return site.access.reviewer(request)


Reviewer = Annotated[Viewer, Depends(_reviewer)]


class Limits(BaseModel):
    """The number behind a flag that is set, and the limit that it is beyond."""

    value: float | None
    limit: float | None


class Waiting(BaseModel):
    """One flagged measurement that nobody has settled yet."""

    image_id: int
    measurement_id: int
    plate: str
    well: str
    hours: Hours
    timepoint: int | None
    image_path: str
    area_px: AreaPx
    area_um2: AreaUm2
    n_objects: int
    object_number: int | None = Field(description="Which object is the spheroid.")
    flags: Flags
    checks: dict[str, Limits]
    excess: float = Field(description="How far beyond a limit, as a share of it; the most of all.")
    outline: bool = Field(description="Whether there is `/images/{id}/outline`.")
    objects: list[Object] = Field(description="What may be chosen, the largest first; at most 50.")


class Queue(BaseModel):
    """What waits, the worst first."""

    rows: list[Waiting]
    total: int = Field(description="How many wait in all.")


class Action(BaseModel):
    """What to settle, as it was seen: refused where it has become another since."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["confirm", "exclude", "choose", "restore"] = Field(
        description="`confirm`: the area is right. `exclude`: leave the image out. `choose`: "
        "another object is the spheroid. `restore`: back to what the program says."
    )
    image_id: Number
    measurement_id: Number
    object_number: Annotated[int, Field(ge=0, le=asking.LARGEST)] | None = Field(
        None, description="The spheroid, as it was shown."
    )
    area_px: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Its area in pixels, as it was shown; null: it was not looked at."
    )
    choose: Annotated[int, Field(ge=0, le=asking.LARGEST)] | None = Field(
        None, description="With `choose`: the object's number; 0: there is no spheroid here."
    )
    who: Who = None
    reason: Reason = ""


class Undo(BaseModel):
    """Put back what an event changed, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: Number
    who: Who = None
    reason: Reason = ""


class Settled(BaseModel):
    """It is settled."""

    event: int = Field(description="The event's number, for `/review/undo`.")


class PutBack(Settled):
    """It is as it was before."""

    images: list[int] = Field(description="Images of which something was put back.")
    left: dict[str, int] = Field(description="Why something was not, and of how many images.")


@router.get(
    "/review", operation_id="review_queue", summary="What waits for review", response_model=Queue
)
def queue(
    request: Request,
    site: OnSite,
    plate: asking.AnyPlate = None,
    well: asking.AnyWell = None,
    flag: Annotated[str | None, Query(description="Only with this flag.")] = None,
    limit: asking.Limit = 50,
) -> Response:
    """What waits to be looked at, worst first: flagged, not settled, not excluded."""
    with site.readers.get() as reader:
        asking.see_any(reader, plate, well)
        shown, total = waiting(reader, Selection(plate, well), flag, limit)
        objects = candidates(reader, [row["measurement_id"] for row in shown])
    rows = [_shown(row, objects[row["measurement_id"]]) for row in shown]
    return asking.answer(request, {"rows": rows, "total": total})


def _shown(row: Row, objects: list[Row]) -> Row:
    outline = row.pop("outline_path") is not None
    return {**row, "outline": outline, "objects": objects}


@decisions.post(
    "/review", operation_id="review", summary="Settle a measurement", response_model=Settled
)
def settle(site: OnSite, viewer: Reviewer, action: Action) -> Settled:
    """Settle one measurement; nothing is deleted, and a later event can undo it."""
    if (action.action == "choose") != (action.choose is not None):
        raise HTTPException(422, "`choose` says which object, with the action `choose` alone.")
    subject = Subject(action.image_id, action.measurement_id, action.object_number, action.area_px)

    def act(reviews: Reviews) -> int:
        now, who, reason = site.clock(), _name(action.who, viewer), to_stored(action.reason)
        if action.choose is not None:
            return reviews.choose([subject], action.choose, now, who=who, reason=reason)
        if action.action == "exclude":
            return reviews.exclude([subject], now, who=who, reason=reason)
        same = reviews.confirm if action.action == "confirm" else reviews.restore
        return same([subject], now, who=who, reason=reason)

    return Settled(event=_written(site, act))


@decisions.post(
    "/review/undo", operation_id="review_undo", summary="Undo an event", response_model=PutBack
)
def undo(site: OnSite, viewer: Reviewer, wanted: Undo) -> PutBack:
    """Undo one event; what a later event changed once more stays as that one left it."""
    with site.readers.get() as reader:
        try:
            refuse_hidden(reader, wanted.event)
            rows = selected(reader, Selection(event=wanted.event))
        except SpheroiddError as error:
            if type(error) is not SpheroiddError:
                raise
            raise ReviewError(error.message, error.hint) from error
    subjects = [
        Subject(row["image_id"], row["measurement_id"], row["object_number"], row["area_px"])
        for row in rows
    ]

    def act(reviews: Reviews) -> Undone:
        who, reason = _name(wanted.who, viewer), to_stored(wanted.reason)
        return reviews.undo(wanted.event, subjects, site.clock(), who=who, reason=reason)

    undone = _written(site, act)
    return PutBack(event=undone.event, images=list(undone.images), left=dict(undone.left))


def _name(who: str | None, viewer: Viewer) -> str:
    return to_stored(viewer.name if who is None else who)


def _written(site: Site, act: Callable[[Reviews], Made]) -> Made:
    """Open the database for this one action.

    Raises:
        StoreError: it can't be written now; says why.
    """
    with site.readers.get():  # says what to do where there is none: opening it would make one
        pass
    with Database(site.folder.database) as database:
        return act(Reviews(database))
