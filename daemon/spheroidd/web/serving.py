"""The web process: a socket, uvicorn, and an orderly end."""

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from spheroidd.errors import SpheroiddError
from spheroidd.web.connection import Patient
from spheroidd.web.live import Live

_MOST_CONNECTIONS = 1000  # most of them wait for events
_GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30
_LARGEST_HEAD = 32 * 1024  # bytes of a request's line and headers


class _Server(uvicorn.Server):
    """Lets the viewers go at once when it is told to end: each would hold it up."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._live.let_go()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on.

    Raises:
        SpheroiddError: the address can't be had; says what to do.
    """
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        opened = socket.socket(family, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        raise SpheroiddError(
            f"web.port {port} on {host} can't be opened: {error.strerror or error}.",
            "Another program (or another spheroidd) may have it, or the address is not this "
            "machine's; change `web.host` or `web.port`.",
        ) from error
    return opened


def serve(app: FastAPI, live: Live, opened: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; these end it in order, a second SIGINT at once."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,  # web/access.py alone decides whom to believe
        lifespan="on",
        http=Patient,
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn has its own meanwhile, and raises what it got once more when it has ended.
        signal.signal(number, lambda *_: None)
    _Server(config, live).run(sockets=[opened])
