"""How the service is: status, plates, runs, events, alerts."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from spheroidd.store import listing, run_reading
from spheroidd.web import asking
from spheroidd.web.api.models import Alert, Events, Plate, Run, Status
from spheroidd.web.encoding import encoded
from spheroidd.web.site import OnSite, Site

router = APIRouter(tags=["service"])


@router.get(
    "/status", operation_id="status", summary="Everything at a glance", response_model=Status
)
def status(request: Request, site: OnSite) -> Response:
    """Is it running, how far is it, is anything wrong: all that the overview shows."""
    found = _overview(site)
    # What only the clock changes, or a few bytes of the disk, makes it no other answer.
    daemon = {key: value for key, value in found["daemon"].items() if key != "silent_seconds"}
    disk = found["disk"] and found["disk"]["free_bytes"] >> 30
    still = {**found, "now": 0, "headline": "", "sentence": "", "daemon": daemon, "disk": disk}
    return asking.answer(request, found, asking.tag_of(encoded(still)))


@router.get("/plates", operation_id="plates", summary="All plates", response_model=list[Plate])
def plates(request: Request, site: OnSite) -> Response:
    """All plates in natural order; those that are growing say when the next image is due."""
    return asking.answer(request, _overview(site)["plates"])


def _overview(site: Site) -> dict[str, Any]:
    with site.readers.get() as reader:
        return site.glances.lately(reader)


@router.get("/runs", operation_id="runs", summary="Ways of measuring", response_model=list[Run])
def runs(request: Request, site: OnSite, plate: asking.AnyPlate = None) -> Response:
    """The ways in which plates were measured: as images arrived, and again.

    One is `chosen` on each plate: what `/growth` shows.
    """
    with site.readers.get() as reader:
        if plate is not None:
            asking.see_plate(reader, plate)
        rows = run_reading.runs(reader, plate)
    return asking.answer(request, [{**row, "chosen": bool(row["chosen"])} for row in rows])


@router.get("/events", operation_id="events", summary="What people settled", response_model=Events)
def events(
    request: Request,
    site: OnSite,
    plate: asking.AnyPlate = None,
    well: asking.AnyWell = None,
    limit: asking.Limit = 100,
    after: asking.AfterId = None,
) -> Response:
    """What people settled, the newest first: confirmed, excluded, chosen, restored."""
    with site.readers.get() as reader:
        asking.see_any(reader, plate, well)
        rows = listing.review_events(reader, plate, well, limit=limit + 1, after=after)
    return asking.answer(request, asking.page_of(rows, limit, "id"))


@router.get("/alerts", operation_id="alerts", summary="Alerts", response_model=list[Alert])
def alerts(
    request: Request,
    site: OnSite,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many that are over.")] = 50,
) -> Response:
    """All alerts that are open, then the newest of those that are over."""
    with site.readers.get() as reader:
        rows = listing.alerts(reader, limit)
    return asking.answer(request, rows)
