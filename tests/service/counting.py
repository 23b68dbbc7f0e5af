"""The daemon's parts without their loops, driven by hand, and everything they do counted."""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from spheroidd.assembly import build
from spheroidd.config_file import load_config
from spheroidd.home import installation_home
from spheroidd.intake import imagefile
from spheroidd.measure.engine import Engine
from spheroidd.parts import Parts
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder

_counters: list["Counted"] = []
_WRITING = os.O_WRONLY | os.O_RDWR


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    """Files that are opened for writing below a state folder, its database's own excepted."""
    if event == "open" and _counters and isinstance(arguments[0], str):
        path, _, flags = arguments
        for one in _counters:
            below = path.startswith(f"{one.folder.root}/") and "spheroidd.db" not in path
            if below and flags & _WRITING:
                one.counts["files written"] += 1


sys.addaudithook(_audited)  # for the life of the process: Python can't take one back


class Counted:
    """One line, whose steps are taken by the test."""

    def __init__(self, config: Path, log: Any, patch: pytest.MonkeyPatch) -> None:
        settings = load_config(config)
        self.export = settings.watch[0].path
        self.folder = StateFolder(settings.state_dir)
        self.folder.create()
        self.counts: Counter[str] = Counter()
        self._last = ""
        self._undo = ExitStack()
        self.database = self._undo.enter_context(Database(self.folder.database))
        self.parts: Parts = build(
            settings, installation_home(), self.folder, self.database, log, None, None
        )
        self._undo.callback(self.parts.measures[0].stop)
        self._undo.callback(self.parts.segment.stop)
        self._undo.callback(self.parts.intakes[0].stop)
        for part in (self.parts.segment, self.parts.measures[0], self.parts.judge):
            part.start(time.time())
        self.parts.intakes[0].start(time.time())
        self._count(patch)

    def _count(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("run", "run_with_iobinding"):
            self._counting(patch, onnxruntime.InferenceSession, name, "model runs")
        self._counting(patch, imagefile, "decode", "decodes")
        self._counting(patch, Engine, "_request", "worker round trips")
        self._counting(patch, os, "fsync", "syncs of files")
        self.database.sql.conn.set_trace_callback(self._statement)
        _counters.append(self)
        self._undo.callback(_counters.remove, self)

    def _counting(self, patch: pytest.MonkeyPatch, owner: Any, name: str, what: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def counted(*rest: Any, **named: Any) -> Any:
            self.counts[what] += 1
            return real(*rest, **named)

        patch.setattr(owner, name, counted)

    def _statement(self, sql: str) -> None:
        """Triggers' own statements come as their cause once more."""
        if sql != self._last and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)", sql):
            self.counts["SQL statements"] += 1
        self.counts["commits"] += sql == "COMMIT"
        self._last = sql

    def work(self) -> Counter[str]:
        """Take every step there is to take, stage after stage; what it took."""
        self.counts.clear()
        self.parts.intakes[0].rescan()
        for part in (self.parts.intakes[0], self.parts.segment, self.parts.measures[0],
                     self.parts.judge):  # fmt: skip
            while part.step(time.time()):
                pass
        return Counter(self.counts)

    def end(self) -> None:
        self._undo.close()
