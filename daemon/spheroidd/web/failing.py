"""What goes wrong, in words: as JSON for programs, as a page for people."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from spheroidd.errors import SpheroiddError, StoreError
from spheroidd.store.choices import ReviewError
from spheroidd.web.rendering import page

_HINTS = {
    404: "See the overview for the plates that are there, or /about-api for what can be asked.",
    405: "See /about-api for what can be asked, and how.",
}


class NotThereError(SpheroiddError):
    """No such plate, well or image."""


def handle(app: FastAPI) -> None:
    """Have every foreseen error told in words."""
    app.add_exception_handler(SpheroiddError, _foreseen)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def answer(request: Request, status: int, message: str, hint: str = "") -> Response:
    """The error in the form that was asked for."""
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": message, "hint": hint}, status)
    return page(request, "error.html", status=status, message=message, hint=hint)


def _foreseen(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpheroiddError)
    status = 500
    if isinstance(error, NotThereError):
        status = 404
    elif isinstance(error, ReviewError):
        status = 409
    elif isinstance(error, StoreError):  # the daemon has not been started, or was upgraded
        status = 503
    response = answer(request, status, error.message, error.hint)
    if status == 503:
        response.headers["Refresh"] = "5"  # a page that stays open shows it when it is there
    return response


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    hint = getattr(error, "hint", "") or _HINTS.get(status, "")
    response = answer(request, status, str(error.detail), hint)
    response.headers.update(error.headers or {})
    return response


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(
        f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()
    )
    return answer(request, 422, f"That can't be asked: {said}.", _HINTS[405])
