"""Signals as flags: SIGTERM and SIGINT to end, SIGHUP to read the configuration again."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType


@dataclass(frozen=True)
class Signals:
    """What has been asked for from outside."""

    stopping: threading.Event = field(default_factory=threading.Event)
    reloading: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Give an event that the first signal sets; the second one ends the process at once."""
    stopping = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    with _handled(handle, signal.SIGTERM, signal.SIGINT):
        yield stopping


@contextlib.contextmanager
def service_signals() -> Iterator[Signals]:
    """As `stop_signals`, and SIGHUP asks to reload.

    On a terminal, which is closing then, SIGHUP ends the service: nobody wants one left over.
    """
    with stop_signals() as stopping:
        signals = Signals(stopping)
        closing = sys.stdin is not None and sys.stdin.isatty()
        wanted = signals.stopping if closing else signals.reloading
        with _handled(lambda *_: wanted.set(), signal.SIGHUP):
            yield signals


@contextlib.contextmanager
def _handled(handler: "signal._HANDLER", *numbers: signal.Signals) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
