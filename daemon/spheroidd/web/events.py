"""Server-sent events: `/api/v1/live`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from spheroidd.web.site import Site, site_of

router = APIRouter(tags=["live"])


class EventStream(StreamingResponse):
    """Told, one after the other, until the viewer goes."""

    media_type = "text/event-stream"


@router.get(
    "/live",
    response_class=EventStream,
    summary="What changes, as it changes",
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}},
)
async def live(
    site: Annotated[Site, Depends(site_of)],
    plate: Annotated[str | None, Query(description="Whose wells to be told of.")] = None,
) -> EventStream:
    """Server-sent events: `hello` first, then `wells` of the given plate, `status`, `ping`.

    `wells` has `plate`, `seq` and `wells`, each as in `/plate`; `status` has
    `level`, `headline`, `sentence` and `totals` as in `/status`, and `html`, the overview's
    moving part; `ping` says nothing but that the line stands.
    Whoever reads too slowly is cut off, and asks for everything when it comes back.
    """
    return EventStream(
        site.live.events(plate),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
