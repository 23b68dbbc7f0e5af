"""The growth table: page by page as JSON, as a whole as CSV or Parquet."""

import base64
import json
from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from spheroidd.store.reader import Reader, Row
from spheroidd.store.viewing import growth as growth_of
from spheroidd.store.viewing import well_names
from spheroidd.web import asking
from spheroidd.web.api.models import AreaPx, AreaUm2, Next
from spheroidd.web.api.tables import (
    CSV,
    PARQUET,
    FileResponse,
    csv_file,
    disposition,
)
from spheroidd.web.site import OnSite

router = APIRouter(tags=["growth"])
Format = Literal["json", "csv", "parquet"]
_TYPES: dict[str, Format] = {
    "application/json": "json",
    "text/csv": "csv",
    PARQUET: "parquet",
}


class Growth(BaseModel):
    """One measured image; the columns of the view `growth`."""

    plate: str
    well: str
    image_path: str
    captured_at: str = Field(description="UTC, ISO 8601.")
    hours: float = Field(description="Hours since the plate's first image.")
    area_px: AreaPx
    area_um2: AreaUm2
    relative_area_pct: float | None = Field(
        description="In % of the well's first area that is not excluded."
    )
    n_objects: int
    peak_probability: float | None = Field(description="The model's highest probability.")
    flags: str = Field(description="Comma-separated; may be empty.")
    excluded: int = Field(description="1: a person has excluded it.")
    model: str
    pipeline: str
    measured_at: str = Field(description="UTC, ISO 8601.")


class GrowthPage(BaseModel):
    """One page of the table."""

    rows: list[Growth]
    next: Next


_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "By well and time; pages as JSON, all of it as CSV or Parquet.",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get(
    "/growth",
    operation_id="growth",
    summary="Areas over time",
    response_model=GrowthPage,
    responses=_FILES,
)
def growth(
    request: Request,
    site: OnSite,
    plate: asking.PlateName,
    well: Annotated[str | None, Query(description="Only of this well.")] = None,
    format: Annotated[
        Format | None, Query(description="Left out: as the header `Accept` says.")
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=1000, description="Rows of a page; for JSON alone.")
    ] = 500,
    after: Annotated[
        str | None,
        Query(max_length=2000, description="`next` of the page before; for JSON alone."),
    ] = None,
) -> Response:
    """The areas of a plate over time, one row for each measured image, by well and time.

    CSV is what `spheroidd export` writes. Parquet has types: times in UTC, `excluded` as a
    boolean.
    """
    wanted = format or _accepted(request.headers.get("accept", ""))
    headers = {"Vary": "Accept"}
    with site.readers.get() as reader, reader.at_once():
        asking.see_any(reader, plate, well)
        tag = asking.tag_of_plate(site, reader, plate, "growth", well, wanted, limit, after)
        if (same := asking.unchanged(request, tag, headers)) is not None:
            return same
        if wanted == "json":
            return asking.answer(request, _page(reader, plate, well, limit, after), tag, headers)
        rows = _rows(reader, plate, well)
        file = csv_file(rows) if wanted == "csv" else _parquet(rows, plate)
    headers |= {"ETag": tag, "Content-Disposition": disposition(plate, well, wanted)}
    return FileResponse(file, CSV if wanted == "csv" else PARQUET, headers)


def _accepted(header: str) -> Format:
    """What the client likes best (RFC 9110, 12.5.1), JSON where it does not mind."""
    best: tuple[float, Format] = (0.0, "json")
    for one in header.split(","):
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            liked = float(weight)
        except ValueError:
            continue
        if name in _TYPES and liked > best[0]:
            best = (liked, _TYPES[name])
    return best[1]


def _parquet(rows: Iterator[Row], plate: str) -> IO[bytes]:
    from spheroidd.web.api.parquet import parquet_file  # noqa: PLC0415 - it says why

    return parquet_file(rows, plate)


def _rows(reader: Reader, plate: str, well: str | None) -> Iterator[Row]:
    """Of a plate in the order of the view, one well after the other."""
    for name in well_names(reader, plate) if well is None else [well]:
        yield from growth_of(reader, plate, name)


# -- pages ------------------------------------------------------------------------------------


def _page(
    reader: Reader, plate: str, well: str | None, limit: int, after: str | None
) -> dict[str, Any]:
    """Goes on where the page before ended: at a well and a moment, not at a count of rows, so
    that nothing is told twice or left out while images come."""
    names = well_names(reader, plate) if well is None else [well]
    rows: list[Row] = []
    since: tuple[str, str] | None = None
    if after is not None:
        first, *since_ = _decoded(after)
        if first not in names:
            raise HTTPException(422, "`after` is not of this list; begin again without it.")
        names, since = names[names.index(first) :], (since_[0], since_[1])
    for name in names:
        found = growth_of(reader, plate, name)
        rows += found if since is None else _later(found, since)
        since = None
        if len(rows) > limit:
            last = rows[limit - 1]
            mark = _encoded(last["well"], last["captured_at"], last["image_path"])
            return {"rows": rows[:limit], "next": mark}
    return {"rows": rows, "next": None}


def _later(rows: list[Row], since: tuple[str, str]) -> list[Row]:
    at, path = since
    for place, row in enumerate(rows):
        if row["image_path"] == path:
            return rows[place + 1 :]
    return [row for row in rows if row["captured_at"] > at]  # that image was replaced meanwhile


def _encoded(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _decoded(mark: str) -> list[str]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4)))
        if isinstance(parts, list) and [type(part) for part in parts] == [str, str, str]:
            return parts
    except (ValueError, RecursionError):
        pass
    raise HTTPException(422, "`after` is not what `next` said; begin again without it.")
