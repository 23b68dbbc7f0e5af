"""Pages from templates; everything that is put into one is escaped."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from spheroidd import __version__
from spheroidd.store.paths import printable
from spheroidd.web.assets import address
from spheroidd.web.site import site_of

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def link(path: str, **query: object) -> str:
    """An address on this site; names may hold any character."""
    wanted = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(wanted)}" if wanted else path


def _clock(stored: str) -> str:
    """A stored time as the browser takes it: `2026-11-23T08:12:00Z`."""
    return datetime.fromisoformat(stored).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_templates.globals.update(link=link, asset=address, version=__version__)
_templates.filters.update(printable=printable, clock=_clock)


def fragment(name: str, **values: Any) -> str:
    """A part of a page."""
    return _templates.get_template(name).render(values)


def page(request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page, with what all pages show."""
    url = request.url
    here = f"{url.path}?{url.query}" if url.query else url.path
    shown = site_of(request).access.shown(request)
    text = fragment(name, path=url.path, here=here, me=shown, **values)
    return HTMLResponse(text, status)
