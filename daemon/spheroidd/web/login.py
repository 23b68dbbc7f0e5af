"""The login page: a password and initials become a session."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from spheroidd.web.origin import local_path
from spheroidd.web.passwords import is_same
from spheroidd.web.rendering import page
from spheroidd.web.site import OnSite
from spheroidd.web.viewer import Refused

router = APIRouter(include_in_schema=False)

_LONGEST_NAME = 40
_MOST_FIELDS = 8


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Refused(422, "That is not this page's form.") from None
    return {name: values[0] for name, values in fields.items()}


Form = Annotated[dict[str, str], Depends(_form)]


@router.get("/login")
def ask(request: Request, site: OnSite, next: str = "/") -> Response:
    """The form; who is logged in already goes where they wanted to."""
    if site.access.shown(request).can_look:
        return RedirectResponse(local_path(next), 303)
    return _page(request, local_path(next))


@router.post("/login")
def log_in(request: Request, site: OnSite, form: Form) -> Response:
    """Try it.  Not `async`: the password takes a while, and others shall not wait."""
    wanted = local_path(form.get("next", "/"))
    name = " ".join(form.get("who", "").split())
    try:
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise Refused(422, "Your initials are missing.", "They stand beside what you decide.")
        address = site.access.peer(request.scope).address
        number = site.access.log_in(form.get("password", ""), name, address)
    except Refused as refused:
        return _page(request, wanted, refused, name)
    site.access.log_out(site.access.shown(request))  # the old session, if there is one
    response = RedirectResponse(wanted, 303)
    site.access.give_cookie(response, number, request.scope)
    return response


@router.post("/logout")
def log_out(request: Request, site: OnSite, form: Form) -> Response:
    viewer = site.access.shown(request)
    if not is_same(form.get("csrf", ""), viewer.csrf):
        raise Refused(403, "This page is older than your login.", "Load it again.")
    site.access.log_out(viewer)
    response = RedirectResponse("/login", 303)
    site.access.give_cookie(response, "", request.scope)
    return response


def _page(
    request: Request, wanted: str, refused: Refused | None = None, name: str = ""
) -> HTMLResponse:
    status = refused.status_code if refused else 200
    response = page(request, "login.html", status=status, wanted=wanted, refused=refused, who=name)
    response.headers.update((refused.headers or {}) if refused else {})
    response.headers["Cache-Control"] = "no-store"
    return response
