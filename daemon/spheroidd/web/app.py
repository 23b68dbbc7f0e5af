"""The web application: its parts made, its routes and its guards put together."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.web import assets, failing, login, pages
from spheroidd.web.access import Access, Guard
from spheroidd.web.api import router
from spheroidd.web.band import Bands
from spheroidd.web.curves import Curves
from spheroidd.web.headers import Headers
from spheroidd.web.live import Live
from spheroidd.web.overview import Glances
from spheroidd.web.pages import moving_part
from spheroidd.web.pictures import Pictures
from spheroidd.web.site import Readers, Site

_ABOUT = """Everything that spheroidd measured, while it measures: plates, growth curves, images.

Times are UTC, ISO 8601. Areas are in pixels and, where the size of a pixel is known, in µm².
Plates and wells may have any name, so they are given as query parameters.
"""


@dataclass(frozen=True)
class Settings:
    """What the configuration says.

    Attributes:
        folder: the state folder.
        password: its hash; None: there is none.
        tokens: name → hash.
        names: under which a reverse proxy serves it.
    """

    folder: StateFolder
    host: str = "127.0.0.1"
    password: str | None = None
    tokens: Mapping[str, str] | None = None
    names: Sequence[str] = ()


def create_app(
    settings: Settings, log: FilteringBoundLogger, clock: Callable[[], float] = time.time
) -> FastAPI:
    """The application, ready to be served.

    Raises:
        ConfigError: it would be open to whoever finds it.
    """
    site = _site(settings, log, clock)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        site.live.start()
        yield
        site.live.stop()
        site.readers.close()

    app = FastAPI(
        title="spheroidd",
        version=__version__,
        description=_ABOUT,
        lifespan=alive,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # these two load scripts from elsewhere
        redoc_url=None,
    )
    app.state.site = site
    app.include_router(router, prefix="/api/v1")
    app.include_router(login.router)
    app.include_router(pages.router)
    assets.mount(app)
    failing.handle(app)
    # The last one added is the first to see a request.
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(Guard, access=site.access)
    app.add_middleware(Headers)
    return app


def _site(settings: Settings, log: FilteringBoundLogger, clock: Callable[[], float]) -> Site:
    access = Access(
        host=settings.host,
        password=settings.password,
        tokens=dict(settings.tokens or {}),
        names=tuple(settings.names),
        log=log,
    )
    readers = Readers(settings.folder.database)
    curves = Curves(readers.get)
    bands = Bands(curves)
    glances = Glances(settings.folder, clock)

    def moving(reader: Reader) -> dict[str, Any]:
        """What every page is told of the service; the overview's moving part is made once."""
        found = glances.new(reader)
        said = {key: found[key] for key in ("level", "headline", "sentence", "totals")}
        return said | {"html": moving_part(found, bands)}

    live = Live(readers, curves, moving, log)
    return Site(
        folder=settings.folder,
        readers=readers,
        curves=curves,
        bands=bands,
        glances=glances,
        live=live,
        pictures=Pictures(settings.folder.root),
        access=access,
        clock=clock,
        log=log,
    )
