"""What a request brings along: bounded in size, and its body in time."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from spheroidd.web.viewer import Refused

_MOST_BYTES = 64 * 1024  # a review of a thousand characters takes two
_MOST_SECONDS = 20.0
_MOST_ADDRESS = 8 * 1024
_MOST_HEADERS = 32 * 1024


def see_sizes(scope: Scope) -> None:
    """Look at what has come, before anything is done with it.

    uvicorn's own limit counts only what comes in pieces.

    Raises:
        Refused: the address (414), the headers (431) or the announced body (413) are too long.
    """
    if len(scope["raw_path"]) + len(scope["query_string"]) > _MOST_ADDRESS:
        raise Refused(414, "The address is too long.", headers=_LAST)
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
        raise Refused(431, "The headers are too long.", headers=_LAST)
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > _MOST_BYTES:
        raise _too_long()


class Bounded:
    """The body of one request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = 0
        self._complete = False
        self._until: float | None = None

    async def receive(self) -> Message:
        """The next part.

        Raises:
            Refused: it is too long (413), or takes too long (408).
        """
        if self._complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + _MOST_SECONDS
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "It took too long to arrive.", headers=_LAST) from None
        self._complete = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > _MOST_BYTES:
            raise _too_long()
        return message


# What is still to come is not read.
_LAST = {"Connection": "close"}


def _too_long() -> Refused:
    return Refused(413, f"That is more than {_MOST_BYTES // 1024} KiB.", headers=_LAST)
