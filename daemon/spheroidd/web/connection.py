"""uvicorn's connection, with patience that ends.

Left alone it waits for ever for who sends a request byte by byte, or never reads the answer; a
few hundred of these and nobody else gets in.
"""

import asyncio
import contextlib
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from spheroidd.web.attempts import network
from spheroidd.web.origin import is_loopback

_HEAD_SECONDS = 10.0  # from its first byte, or from the connection, to the end of the headers
_UNREAD_SECONDS = 60  # without a sign that anything was read: asleep, gone, or unwilling
_MOST_FROM_ONE = 250  # a tab takes one for its events; an office may share one address


class Patient(H11Protocol):
    """Ends connections that hold a place and make no use of it."""

    _ending: asyncio.TimerHandle | None = None
    _network = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        end = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):  # not every socket, not every system
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_SECONDS * 1000))
        address = self.client[0] if self.client else ""
        self._network = network(address)
        # A proxy's are everybody's.
        if address and not is_loopback(address) and self._beside() > _MOST_FROM_ONE:
            transport.abort()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # it is our turn
            self._expect_nothing()
        elif self._ending is None:
            self._ending = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.cancel()

    def _beside(self) -> int:
        """How many connections this address has."""
        others = (one for one in self.connections if isinstance(one, Patient))
        return sum(one._network == self._network for one in others)
