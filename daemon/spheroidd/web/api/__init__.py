"""The read API, version 1: everything that the pages show, for programs."""

from typing import Any

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer

from spheroidd.web import events
from spheroidd.web.api import growth, images, plates, review, service
from spheroidd.web.api.models import Problem


def _problem(words: str) -> dict[str, Any]:
    return {"model": Problem, "description": words}


_REFUSED: dict[int | str, dict[str, Any]] = {
    401: _problem("A login or a token is needed."),
    403: _problem("Not for you, or sent by another site's page."),
    404: _problem("There is no such plate, well, image or picture; it says which there are."),
    414: _problem("The address is too long."),
    421: _problem("Asked under a name that is not this server's."),
    422: _problem("That can't be asked, and why."),
    429: _problem("Too many tries; `Retry-After` says when to come back."),
    503: _problem("The database can't be read or written now, and why."),
}
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "As it was: the `ETag` in `If-None-Match` still holds."}
}
_UNDECIDED: dict[int | str, dict[str, Any]] = {
    400: _problem("The body is no JSON."),
    409: _problem("It has changed since it was looked at, or can't be; nothing was changed."),
    413: _problem("The body is too long."),
}

# For the document alone: web/access.py has looked at it before any route.
_TOKEN = HTTPBearer(
    bearerFormat="token",
    scheme_name="token",
    description="Made by `spheroidd web --new-token NAME`; needed where the configuration has a "
    "password or tokens, and for decisions.",
    auto_error=False,
)

router = APIRouter(responses=_REFUSED, dependencies=[Security(_TOKEN)])
for part in (service, plates, growth, images, review):
    router.include_router(part.router, responses=_UNCHANGED)
router.include_router(events.router)
router.include_router(review.decisions, responses=_UNDECIDED)
