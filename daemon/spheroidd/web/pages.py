"""The pages; what moves on them comes from the API and from `/api/v1/live`."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from spheroidd.web.asking import see_any
from spheroidd.web.band import Band, Bands
from spheroidd.web.rendering import fragment, page
from spheroidd.web.site import OnSite, Site

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def home(request: Request, site: OnSite) -> HTMLResponse:
    with site.readers.get() as reader:
        found = site.glances.lately(reader)
    return page(request, "overview.html", found=found, bands=_bands_of(found, site.bands))


@router.get("/plate")
def plate_view(request: Request, site: OnSite, plate: str) -> HTMLResponse:
    _see(site, plate)
    return page(request, "plate.html", plate=plate)


@router.get("/well")
def well_view(
    request: Request, site: OnSite, plate: str, well: str, image: int | None = None
) -> HTMLResponse:
    _see(site, plate, well)
    return page(request, "well.html", plate=plate, well=well, image=image)


@router.get("/review")
def review(request: Request, site: OnSite, plate: str | None = None) -> HTMLResponse:
    if plate is not None:
        _see(site, plate)
    return page(request, "review.html", plate=plate)


@router.get("/about-api")
def about_api(request: Request) -> HTMLResponse:
    return page(request, "about-api.html", paths=request.app.openapi()["paths"])


def moving_part(found: dict[str, Any], bands: Bands) -> str:
    """What moves on the overview, as HTML: made once for all who look on."""
    return fragment("overview-part.html", found=found, bands=_bands_of(found, bands))


def _bands_of(found: dict[str, Any], bands: Bands) -> dict[str, Band]:
    return bands.of([row["plate"] for row in found["plates"] if row["running"] and row["plate"]])


def _see(site: Site, plate: str, well: str | None = None) -> None:
    with site.readers.get() as reader:
        see_any(reader, plate, well)
