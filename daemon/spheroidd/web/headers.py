"""What browsers are told with every answer; and the answer where a route has failed."""

import html
import json
import traceback
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spheroidd.store.paths import printable

# No inline script or style, nothing from elsewhere, in nobody's frame.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
_ALWAYS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=31536000"  # this name alone: others of the domain are not ours to decide on
_FAILED = "Something went wrong here."
_HINT = "It is in the log: `journalctl -u spheroidd-web`."


class Headers:
    """The outermost of our layers: whatever is answered has these headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        site = scope["app"].state.site
        https = site.access.peer(scope).https
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _complete(MutableHeaders(scope=message), https=https)
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except ClientDisconnect:
            pass  # who goes away is no news
        except Exception:
            # No query, and as text: on a terminal structlog would show local variables, too.
            site.log.error(
                "web request failed",
                method=scope["method"],
                path=printable(scope["path"]),
                exception=traceback.format_exc(),
            )
            if begun:
                return  # the connection is cut, so that half an answer is not taken for a whole
            await _last_words(scope["path"])(scope, receive, with_headers)


def _complete(headers: MutableHeaders, *, https: bool) -> None:
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "private, no-cache")
    if https:
        headers["Strict-Transport-Security"] = _HSTS


def _last_words(path: str) -> Response:
    """Without templates and the like: these may be what failed."""
    if path.startswith("/api/"):
        content: dict[str, Any] = {"error": _FAILED, "hint": _HINT}
        return Response(json.dumps(content), 500, media_type="application/json")
    return Response(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>spheroidd</title>'
        f"<h1>{_FAILED}</h1><p>{html.escape(_HINT)}</p>",
        500,
        media_type="text/html",
    )
