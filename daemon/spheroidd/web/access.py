"""Who may look and who may decide.

    Guard   before every route: is it meant for us, who asks, may they; none can be forgotten
    Access  who they are: a session (cookie), a token (`Authorization: Bearer`), or nobody

Without a password and tokens anybody on this machine may look, and nobody may decide.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from spheroidd.web import origin, passwords
from spheroidd.web.attempts import Attempts
from spheroidd.web.bodies import Bounded, see_sizes
from spheroidd.web.failing import answer
from spheroidd.web.sessions import Sessions
from spheroidd.web.viewer import (
    HASH_IT,
    Refused,
    Viewer,
    not_reviewing,
    refuse_unsafe,
    too_often,
    unknown,
)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_COOKIE_SECONDS = 7 * 24 * 3600  # as long as a session may last at most


class Access:
    """Recognises who asks; thread-safe."""

    def __init__(
        self,
        *,
        host: str,
        password: str | None,
        tokens: Mapping[str, str],
        names: Sequence[str],
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            host: where it listens.
            password: its hash; None: there is none.
            tokens: name → hash.
            names: under which a reverse proxy on this machine serves it.
            clock: seconds; never goes back.

        Raises:
            ConfigError: it would be open to whoever finds it.
        """
        refuse_unsafe(host, names, password, tokens)
        self.host = host
        self.names = frozenset(name.lower() for name in names)
        self._password = password
        self._tokens = dict(tokens)
        self._log = log
        self._clock = clock
        self._sessions = Sessions()
        # Apart: a program with an old token must not keep people from logging in.
        self._logins, self._programs = Attempts(), Attempts()
        if not origin.is_loopback(host):
            log.warning("passwords cross the network unencrypted", host=host, see="docs/web.md")

    @property
    def closed(self) -> bool:
        """Whether looking takes a password or a token."""
        return self._password is not None or bool(self._tokens)

    def peer(self, scope: Scope) -> origin.Peer:
        """Who is at the other end, whatever stands between."""
        return origin.peer_of(scope, proxied=bool(self.names))

    def shown(self, request: HTTPConnection) -> Viewer:
        """Who asks, for what a page shows; never refuses."""
        viewer = request.scope.get("state", {}).get("viewer")
        return viewer if isinstance(viewer, Viewer) else Viewer(can_log_in=self.closed)

    def viewer(self, request: HTTPConnection) -> Viewer:
        """Who looks.

        Raises:
            Refused: nobody who may (401).
        """
        viewer = self.shown(request)
        if not viewer.can_look:
            raise unknown()
        return viewer

    def reviewer(self, request: HTTPConnection) -> Viewer:
        """Who decides; their `name` is the default of `who`.

        Raises:
            Refused: nobody we know (401), or no password is set (403).
        """
        viewer = self.viewer(request)
        if not viewer.can_review:
            raise not_reviewing()
        return viewer

    def log_in(self, secret: str, name: str, address: str) -> str:
        """Try a password, or a token; takes a while.

        Returns:
            The number of a new session.

        Raises:
            Refused: it is wrong (403), or wrong ones came too often (429).
        """
        if not self.closed:
            raise Refused(403, "There is no password to log in with.", f"Set one: {HASH_IT}.")
        if wait := self._logins.take(address, self._clock()):
            self._log.warning("login held up", address=address)
            raise too_often(wait)
        known = passwords.name_of(secret, self._tokens) is not None
        if not known and self._password is not None:
            known = passwords.check(secret, self._password)
        if not known:
            self._log.warning("login refused", address=address)
            raise Refused(403, "That is not the password.", "Ask who set spheroidd up.")
        self._logins.right(address)
        self._log.info("logged in", who=name, address=address)
        return self._sessions.begin(name, self._clock())

    def log_out(self, viewer: Viewer) -> None:
        """End the session, in all its pages; safe to call twice."""
        self._sessions.end(viewer.number)

    def is_logged_in(self, number: str) -> bool:
        """Whether this session still lasts; asking counts as use."""
        return self._sessions.of(number, self._clock()) is not None

    def give_cookie(self, response: Response, number: str, scope: Scope) -> None:
        """Have the browser keep a session's number; empty: forget it."""
        https = self.peer(scope).https
        response.set_cookie(
            _cookie(scope, https=https),
            number,
            max_age=_COOKIE_SECONDS if number else 0,
            secure=https,
            httponly=True,
            samesite="strict",
        )

    def recognise(self, request: HTTPConnection) -> Viewer:
        """Who asks, by what the request brings.

        Raises:
            Refused: a token that is wrong (401), or was too often (429).
        """
        if not self.closed:
            return Viewer(can_look=True)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":  # other kinds are a proxy's own affair
            return self._by_token(token.strip(), request.scope)
        cookies = cookie_parser(request.headers.get("cookie", ""))
        number = cookies.get(_cookie(request.scope, https=self.peer(request.scope).https), "")
        session = self._sessions.of(number, self._clock())
        if session is None:
            return Viewer(can_log_in=True)
        return Viewer(session.name, True, True, False, session.csrf, number)

    def _by_token(self, token: str, scope: Scope) -> Viewer:
        name = passwords.name_of(token, self._tokens)
        if name is not None:
            return Viewer(name, can_look=True, can_review=True)
        address = self.peer(scope).address
        if wait := self._programs.take(address, self._clock()):
            raise too_often(wait)
        self._log.warning("token refused", address=address)
        raise unknown()


class Guard:
    """Lets a request go on to its route only if it may."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is nothing else here
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        body = Bounded(receive)
        try:
            see_sizes(scope)
            self._admit(request)
        except Refused as refused:
            await self._refuse(request, refused)(scope, receive, send)
            return
        number = self._access.shown(request).number
        try:
            await self._app(scope, body.receive, self._while_logged_in(number, send))
        except _LoggedOut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _admit(self, request: Request) -> None:
        """The order matters: nobody is recognised who did not mean us."""
        access, headers, path = self._access, request.headers, request.scope["path"]
        changes = request.method not in _SAFE
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not origin.is_ours(hosts[0], access.host, access.names):
            raise Refused(
                421, "This server does not go by that name.", "Add the name to `web.names`."
            )
        if origin.from_elsewhere(headers):
            raise Refused(403, "Another site's page asked for this.", "Open the page itself.")
        viewer = access.recognise(request)
        request.scope.setdefault("state", {})["viewer"] = viewer
        by_program = viewer.can_review and not viewer.number
        if changes and not by_program and not origin.from_our_pages(headers, access.names):
            raise Refused(403, "Another site's page sent this.", "Nothing was changed.")
        if path == "/login" or path.startswith("/static/"):
            return
        access.viewer(request)
        if changes and path != "/logout":  # its form brings the token in its body
            access.reviewer(request)
            if not by_program and not _brings_token(headers, viewer):
                raise Refused(403, "This page is older than your login.", "Load it again.")

    def _refuse(self, request: Request, refused: Refused) -> Response:
        path = request.scope["path"]
        if refused.status_code == 401 and not path.startswith("/api/"):
            response = _to_login(request)
        else:
            response = answer(request, refused.status_code, refused.detail, refused.hint)
            response.headers.update(refused.headers or {})
        response.headers["Cache-Control"] = "no-store"
        if request.method not in _SAFE:  # or the rest of its body would be read, however long
            response.headers["Connection"] = "close"
        return response

    def _while_logged_in(self, number: str, send: Send) -> Send:
        """Events, which are sent for hours, end with the session."""
        if not number:
            return send
        events = False

        async def checked(message: Message) -> None:
            nonlocal events
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                events = kind.startswith("text/event-stream")
            elif events and not self._access.is_logged_in(number):
                raise _LoggedOut
            await send(message)

        return checked


class _LoggedOut(Exception):  # noqa: N818 - not a fault
    """The session has ended while its answer was being sent."""


def _brings_token(headers: Headers, viewer: Viewer) -> bool:
    return passwords.is_same(headers.get("x-csrf-token", ""), viewer.csrf)


def _to_login(request: Request) -> Response:
    """Off to the login, and back from there."""
    raw = request.scope.get("raw_path") or b"/"
    query = request.scope["query_string"]
    wanted = (raw + b"?" + query if query else raw).decode("latin-1")
    place = f"/login?{urlencode({'next': origin.local_path(wanted)})}"
    if request.headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return RedirectResponse(place, 303)
    # Who follows a link on another site comes without the cookie (SameSite=Strict), a redirect
    # included.  A page of ours that moves on is us: those who are logged in arrive at once.
    return HTMLResponse(f'<!doctype html><meta http-equiv="refresh" content="0;url={place}">')


def _cookie(scope: Scope, *, https: bool) -> str:
    """Its name.  Ports share cookies, so it has the port; `__Host-` keeps other names of the
    same domain from setting it (RFC 6265bis, 4.1.3)."""
    server = scope.get("server") or ("", 0)
    return f"{'__Host-' if https else ''}spheroidd-{server[1]}"
