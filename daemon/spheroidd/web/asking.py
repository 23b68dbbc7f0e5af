"""Answers that need not be sent twice, and the bounds of what may be asked."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from spheroidd import __version__
from spheroidd.store.changes import newest
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader, Row
from spheroidd.store.reviewing import listed
from spheroidd.store.viewing import known_plate, known_well, plate_names, plate_start, well_names
from spheroidd.web.encoding import encoded
from spheroidd.web.failing import NotThereError
from spheroidd.web.site import Site

LARGEST = 2**53 - 1  # beyond it JSON's numbers are not exact
_NONE: Mapping[str, str] = {}

PlateName = Annotated[str, Query(description="The plate's name, as `/plates` gives it.")]
AnyPlate = Annotated[str | None, Query(alias="plate", description="Only of this plate.")]
AnyWell = Annotated[
    str | None, Query(alias="well", description="Only of this well; needs `plate`.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many rows.")]
AfterId = Annotated[int | None, Query(ge=0, le=LARGEST, description="`next` of the page before.")]


def tag_of(*said: object) -> str:
    """A weak ETag (RFC 9110, 8.8.3): the same where what is `said` is the same."""
    return f'W/"{hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def tag_of_plate(site: Site, reader: Reader, plate: str, *asked: object) -> str:
    """The ETag of what follows from a plate's measurements; costs no look at any of them.

    `hours` count from the plate's first image, which need not be measured yet.
    """
    state = (site.readers.inode, newest(reader, plate), plate_start(reader, plate))
    return tag_of(__version__, *state, plate, *asked)


def unchanged(request: Request, tag: str, headers: Mapping[str, str] = _NONE) -> Response | None:
    """304 where the client has it already, else None."""
    given = ",".join(request.headers.getlist("if-none-match"))
    known = {one.strip().removeprefix("W/") for one in given.split(",")}
    if "*" in known or tag.removeprefix("W/") in known:
        return Response(None, 304, {**headers, "ETag": tag})
    return None


def answer(
    request: Request,
    content: bytes | Any,
    tag: str | None = None,
    headers: Mapping[str, str] = _NONE,
) -> Response:
    """JSON with an ETag, or 304.

    Args:
        content: bytes are JSON already.
        tag: None: of what is sent.
    """
    body = content if isinstance(content, bytes) else encoded(content)
    tag = tag or tag_of(body)
    again = unchanged(request, tag, headers)
    return again or Response(body, 200, {**headers, "ETag": tag}, "application/json")


def see_plate(reader: Reader, plate: str) -> None:
    """
    Raises:
        NotThereError: there is no such plate; it lists those that are there.
    """
    if not known_plate(reader, plate):
        raise NotThereError(
            f"There is no plate {printable(plate)}.", _there(plate_names(reader), "plate")
        )


def see_well(reader: Reader, plate: str, well: str) -> None:
    """
    Raises:
        NotThereError: there is no such plate or well; it lists those that are there.
    """
    see_plate(reader, plate)
    if not known_well(reader, plate, well):
        raise NotThereError(
            f"There is no well {printable(well)} on plate {printable(plate)}.",
            _there(well_names(reader, plate), "well"),
        )


def see_any(reader: Reader, plate: str | None, well: str | None) -> None:
    """The same where either may be left out.

    Raises:
        NotThereError: see above.
        HTTPException: a well without its plate.
    """
    if well is not None and plate is None:
        raise HTTPException(422, "A well is given without its plate.")
    if plate is not None and well is None:
        see_plate(reader, plate)
    elif plate is not None and well is not None:
        see_well(reader, plate, well)


def page_of(rows: list[Row], limit: int, key: str) -> dict[str, Any]:
    """One page, and what to ask for the next one with.

    Args:
        rows: one more than `limit`, if there are so many.
        key: the column that the pages follow.
    """
    more = len(rows) > limit
    return {"rows": rows[:limit], "next": str(rows[limit - 1][key]) if more else None}


def _there(names: list[str], what: str) -> str:
    return f"There are: {listed(names)}." if names else f"There is no {what} at all yet."
