"""systemd's readiness protocol: a datagram to the socket named in NOTIFY_SOCKET."""

import contextlib
import os
import socket
import time

_RELOAD_USEC = 15 * 60 * 1_000_000  # as long as the unit allows a start to take


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
        channel.setblocking(False)  # where nobody reads, the service must not wait for it
        # One line each, whatever it says: a file's name must not pass for a message.
        channel.sendto("\n".join(" ".join(line.split()) for line in lines).encode(), address)
        return True
    return False


def notify_ready() -> None:
    """Say that the service is ready, at the start or again; the watchdog waits as usual now."""
    usual = os.environ.get("WATCHDOG_USEC")
    notify("READY=1", *([f"WATCHDOG_USEC={usual}"] if usual else []))


def notify_reloading() -> None:
    """Say that a reload begins; `notify_ready` ends it.

    Nobody pings meanwhile, and a large model takes a while to load: the watchdog waits longer.
    """
    microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={microseconds}", f"WATCHDOG_USEC={_RELOAD_USEC}")
