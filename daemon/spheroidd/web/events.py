"""Server-sent events: `/api/v1/live`."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from spheroidd.web.site import OnSite

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
    site: OnSite,
    plate: Annotated[str | None, Query(description="Whose wells to be told of.")] = None,
) -> EventStream:
    """Server-sent events: `hello` first, then `wells` of the given plate, `status`, `ping`.

    `wells` has `plate`, `seq`, `unit`, `start`, `geometry` and those `wells` that changed, each as
    in `/plate`; where unit, start or geometry is another than before, ask for all of it anew.
    `status` has `level`, `headline`, `sentence` and `totals` as in `/status`, and `html`, the
    overview's moving part. `ping` says that the database has just been looked at.
    Whoever reads too slowly is cut off, and asks for everything when it comes back.
    """
    return EventStream(
        site.live.events(plate),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
