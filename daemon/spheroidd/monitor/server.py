"""A small HTTP server on loopback; no client can make it hang, grow or end."""

import contextlib
import io
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import SpheroiddError
from spheroidd.monitor.look import Seen
from spheroidd.monitor.metrics import exposition

_MOST_CLIENTS = 16  # at once
_CLIENT_SECONDS = 10.0  # for one request, from the first byte to the last
_LOOK_SECONDS = 0.5
_OURS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[str, str, bytes]  # status line, content type, body


class Monitor:
    """Answers /healthz and /metrics from a thread of its own, from `start` to `stop`."""

    def __init__(
        self, host: str, port: int, read: Callable[[], Seen], log: FilteringBoundLogger
    ) -> None:
        """
        Args:
            host: an address of this machine alone.
            port: 0 takes a free one; `self.port` says which.
            read: how the daemon is now; called from several threads.
        """
        self._host = host
        self.port = port
        self._read = read
        self._log = log
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer.

        Raises:
            SpheroiddError: the port can't be had.
        """
        try:
            server = _Server(self._host, self.port, lambda *call: application(self._read, *call))
        except OSError as error:
            raise SpheroiddError(
                f"monitor.port {self.port} on {self._host} can't be opened: "
                f"{error.strerror or error}.",
                "Another program (or another spheroidd) may have it; choose another port, or "
                "take `monitor` out of the configuration.",
            ) from error
        self.port = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_LOOK_SECONDS,), name="monitor", daemon=True
        )
        self._thread.start()
        self._log.info("monitor", address=f"http://{self._host}:{self.port}/healthz")

    def stop(self) -> None:
        """End it, in bounded time; safe to call at any time."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def application(
    read: Callable[[], Seen], environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """The WSGI application: what is asked for, and the answer."""
    status, kind, body = _answer(read, environ)
    start_response(
        status,
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *([("Allow", "GET, HEAD")] if status.startswith("405") else []),
        ],
    )
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _answer(read: Callable[[], Seen], environ: WSGIEnvironment) -> Answer:
    if not _is_ours(environ.get("HTTP_HOST")):
        return "403 Forbidden", _TEXT, b"Ask for localhost.\n"
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return "405 Method Not Allowed", _TEXT, b"GET or HEAD.\n"
    answers = {"/healthz": _health, "/metrics": _metrics}
    answer = answers.get(environ["PATH_INFO"])
    if answer is None:
        return "404 Not Found", _TEXT, b"There are /healthz and /metrics.\n"
    try:
        return answer(read(), environ)
    except Exception as error:
        # Whatever it is: who watches is told that something is wrong, and the daemon goes on.
        return _trouble([f"the state can't be read: {error}"])


def _health(seen: Seen, _: WSGIEnvironment) -> Answer:
    reasons = seen.reasons()
    return _trouble(reasons) if reasons else _json("200 OK", {"status": "ok"})


def _metrics(seen: Seen, environ: WSGIEnvironment) -> Answer:
    return "200 OK", *exposition(seen, environ.get("HTTP_ACCEPT", ""))


def _trouble(reasons: list[str]) -> Answer:
    return _json("503 Service Unavailable", {"status": "trouble", "reasons": reasons})


def _json(status: str, content: dict[str, Any]) -> Answer:
    return status, "application/json", json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _is_ours(host: str | None) -> bool:
    """Whether the client meant this machine: a web page elsewhere can give its own name our
    address, but not ask under ours.  Programs that send no name are no browsers."""
    if host is None:
        return True
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():  # no port
        name = host
    return name.lower() in _OURS


class _Handler(WSGIRequestHandler):
    """Reads one request; silent, for wsgiref would write a line to stderr for each."""

    server: "_Server"
    timeout = _CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        pass

    def get_stderr(self) -> TextIO:
        """Where wsgiref writes its traceback when a client is gone: nowhere."""
        return io.StringIO()

    def handle(self) -> None:
        """One request; a client that goes away or is cut off is no news."""
        with contextlib.suppress(OSError, ValueError):
            super().handle()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request, and no more than so many; who is slow is cut off."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, app: Callable[..., Iterable[bytes]]) -> None:
        [(self.address_family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )
        self._open: dict[socket.socket, float] = {}  # since when
        self._turn = threading.Lock()
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        self.set_app(app)

    def server_bind(self) -> None:
        """Without `HTTPServer`'s look into the DNS, which may take its time."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take it on; where all places are taken, the one that has had its place longest goes."""
        with self._turn:
            if len(self._open) >= _MOST_CLIENTS:
                _cut(next(iter(self._open)))
            full = len(self._open) >= 2 * _MOST_CLIENTS  # they hang in reading, not in sending
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._turn:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called twice a second: cut off who has had long enough."""
        now = time.monotonic()
        with self._turn:
            for request, since in self._open.items():
                if now - since > _CLIENT_SECONDS:
                    _cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What a client does wrong is not told: it would fill the log."""


def _cut(connection: socket.socket) -> None:
    """End it for both sides; the thread that waits for it wakes up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
