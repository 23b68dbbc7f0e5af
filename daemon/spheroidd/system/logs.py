"""structlog: readable on a terminal, JSON lines elsewhere, journald's priorities under systemd."""

import contextlib
import logging
import os
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from spheroidd.system.repeats import Repeats

# syslog's severities, as journald reads them from a `<N>` prefix
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def open_log(level: str, form: str, stream: TextIO | None = None) -> FilteringBoundLogger:
    """Make the daemon's logger.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `console`, `json`, or `auto` (console on a terminal).
        stream: where to; standard error when None.

    All but the console hold back what is said again and again, see `repeats`.
    """
    real = sys.stderr if stream is None else stream
    target = cast(TextIO, _Forgiving(real))
    console = form == "console" or (form == "auto" and real.isatty())
    first: list[Processor] = [structlog.processors.add_log_level]
    rest: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
    ]
    if console:  # somebody is looking on: nothing is held back
        rest.append(structlog.dev.ConsoleRenderer(colors=real.isatty()))
        return _logger(target, level, first + rest)
    rest += [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]
    if os.environ.get("JOURNAL_STREAM"):
        rest.append(_prioritise)
    unlimited = _logger(target, level, first + rest)

    def summary(severity: str, line: EventDict) -> None:
        getattr(unlimited, severity)(line.pop("event"), **line)

    return _logger(target, level, [*first, Repeats(summary), *rest])


def _logger(target: TextIO, level: str, processors: list[Processor]) -> FilteringBoundLogger:
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(target),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        context_class=dict,
    )
    return log


class _Forgiving:
    """A stream whose reader may go away and whose disk may be full: work goes on without a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _prioritise(_: WrappedLogger, method: str, line: object) -> str:
    """The last processor: journald takes the number off the line again."""
    return f"<{_PRIORITY.get(method, 6)}>{line}"
