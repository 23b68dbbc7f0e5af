"""systemd's readiness protocol: a datagram to the socket named in NOTIFY_SOCKET."""

import contextlib
import os
import socket
import time


def notify(*lines: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=…`; returns whether anyone was told.

    Does nothing outside systemd.  A message that can't be sent is no reason to stop work.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.sendto("\n".join(lines).encode(), address)
        return True
    return False


def notify_reloading() -> None:
    """Say that a reload begins; `READY=1` ends it."""
    microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={microseconds}")
