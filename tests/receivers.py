"""Real receivers of alerts on this machine: one that speaks HTTP, one that speaks SMTP."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Webhook:
    """Takes apprise's json:// messages; can be told to answer otherwise, to hang, to be away."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.answer = 200
        self.trickles = False
        self.let_go = threading.Event()
        self._server = self._open(0)
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """With a secret as a user, a password, in the path and in the query."""
        return f"json://us3r:pa55w0rd@127.0.0.1:{self.port}/t0ken-in-path?+X-Key=k3y-in-header"

    SECRETS = ("us3r", "pa55w0rd", "t0ken-in-path", "k3y-in-header")

    @property
    def titles(self) -> list[str]:
        return [str(message["title"]) for message in self.messages]

    def go_away(self) -> None:
        """Nobody listens at the port any more."""
        self._server.shutdown()
        self._server.server_close()

    def come_back(self) -> None:
        self._server = self._open(self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.let_go.set()
        self.go_away()

    def _open(self, port: int) -> ThreadingHTTPServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.trickles:  # an answer without end: no read ever times out
                    self.send_response(200)
                    self.end_headers()
                    while not outer.let_go.wait(0.3):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                    return
                self.send_response(outer.answer)
                self.end_headers()
                if outer.answer == 200:
                    outer.messages.append(json.loads(body))

            def log_message(self, *_: object) -> None:
                pass

        server = _Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Whoever is let go has closed its end."""


class Mailbox:
    """Just enough SMTP to be handed a mail, or (`refuses`) to turn it down."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.refuses = False
        outer = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 mailbox")
                while line := self.rfile.readline():
                    word = line.decode().strip().upper()
                    if word.startswith("RCPT") and outer.refuses:
                        self._say("550 no such recipient here")
                    elif word == "DATA":
                        self._say("354 go on")
                        lines = iter(self.rfile.readline, b".\r\n")
                        outer.mails.append(b"".join(lines).decode())
                        self._say("250 taken")
                    elif word == "QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("250 well")

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=spheroidd@lab.example&to=biologist@lab.example"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.shutdown()
        self._server.server_close()
