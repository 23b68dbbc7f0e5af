"""A service that can't start: whom to tell when there is no loop yet that tells anybody.

systemd tries again every few seconds.  What was told is remembered in a small file, so that
people are told once of each reason, and of the end of it by the alerts of the daemon that runs.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from structlog.typing import FilteringBoundLogger

from spheroidd.alerts.addresses import Address, addresses
from spheroidd.alerts.sending import Sender
from spheroidd.alerts.telling import Message, signed
from spheroidd.errors import ConfigError, SpheroiddError
from spheroidd.store.alerting import PreviousEnd

_NAME = "cannot-start.json"
_MOST_SECONDS = 15.0  # for everything, apprise's own start included
_SEND_SECONDS = 10.0
# Where nobody was reached, the next attempt waits for so long: a receiver that takes a message
# but never says so would get it with every start.
_BACK_OFF = (0.0, 60.0, 120.0, 480.0, 1800.0)
_REASONS = 20  # are remembered
_LONGEST = 2000  # characters of a reason that are told
_PASSWORD = re.compile(r"(?<=://)[^\s/@]*@")


class Starting:
    """Says that the service can't start; nothing here ever raises."""

    def __init__(
        self,
        targets: Sequence[str],
        targets_file: Path | None,
        remind_hours: float | None,
        state_dir: Path | None,
        environment: Mapping[str, str],
        log: FilteringBoundLogger,
        machine: str | None = None,
    ) -> None:
        """
        Args:
            targets, targets_file: as in the configuration; nothing where it can't be read, so
                that only the environment's addresses are left.
            remind_hours: until the same reason is told again; None: never.
            state_dir: where what was told is remembered.  None, or where it can't be written:
                in systemd's folders for the service (STATE_DIRECTORY, CACHE_DIRECTORY); without
                them each attempt to start is told.
            machine: what messages call this computer; None: its name.
        """
        self._targets = targets
        self._targets_file = targets_file
        self._remind = float("inf") if remind_hours is None else remind_hours * 3600
        self._environment = environment
        self._log = log
        self._machine = machine or socket.gethostname()
        named = [environment.get(name, "") for name in ("STATE_DIRECTORY", "CACHE_DIRECTORY")]
        folders = [state_dir, *(Path(one.split(":")[0]) for one in named if one)]
        self._places = list(dict.fromkeys(one / _NAME for one in folders if one is not None))

    def it_ended(self, reason: str, now: float) -> None:
        """Tell why, if nobody knows yet; takes no longer than 15 s."""
        # A daemon thread: what hangs must not keep the program from ending.
        telling = threading.Thread(
            target=self._tell, args=(reason, now), name="can't start", daemon=True
        )
        telling.start()
        telling.join(_MOST_SECONDS)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """What is raised within is told, and raised on."""
        try:
            yield
        except Exception as error:
            foreseen = isinstance(error, SpheroiddError)
            self.it_ended(str(error) if foreseen else f"{type(error).__name__}: {error}", time())
            raise

    def before(self) -> PreviousEnd | None:
        """That this service could not start until now, where people were told so."""
        entries = [entry for place in self._places for entry in _read(place).values()]
        told = [entry for entry in entries if entry["told"]]
        if not told:
            return None
        last = max(told, key=lambda entry: float(entry["at"]))
        return PreviousEnd(min(entry["since"] for entry in entries), last["reason"], began=False)

    def it_runs(self) -> None:
        """Forget it all; to be called once the service has come up."""
        for place in self._places:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)

    def _tell(self, reason: str, now: float) -> None:
        try:
            found = self._found()
            shown = _without_secrets(reason, found)
            # Numbers change from one attempt to the next: processes, bytes, times.
            key = hashlib.sha256(re.sub(r"\d+", "#", shown).encode()).hexdigest()
            entry = next((known[key] for known in map(_read, self._places) if key in known), None)
            if not found or not self._is_due(entry, now):
                return
            old = entry or {"since": now, "tries": 0, "told": False}
            new = old | {"reason": shown, "at": now, "tries": old["tries"] + 1}
            self._remember(key, new)  # before it is sent: this process may be killed meanwhile
            if self._send(found, shown, now):
                self._remember(key, new | {"tries": 0, "told": True})
        except Exception as error:  # the reason itself matters more, and is on its way out
            self._log.error("nobody could be told", reason=type(error).__name__)

    def _is_due(self, entry: dict[str, Any] | None, now: float) -> bool:
        if entry is None:
            return True
        tries = min(int(entry["tries"]), len(_BACK_OFF))
        wait = _BACK_OFF[tries - 1] if tries else self._remind
        return abs(now - float(entry["at"])) >= wait

    def _found(self) -> list[Address]:
        """The addresses that can be used; others must not keep these from being told."""
        try:
            return list(addresses(self._targets, self._targets_file, self._environment).found)
        except ConfigError:
            with contextlib.suppress(ConfigError):
                return list(addresses(self._targets, None, self._environment).found)
        return []

    def _send(self, found: Sequence[Address], reason: str, now: float) -> bool:
        """Whether anybody was reached."""
        body = (
            f"{reason}\nNothing is measured until it runs; new images are found then, none is "
            "lost. It is tried again by itself unless the configuration is wrong.\n"
            "What to do: run `spheroidd doctor`, and look at the log (`journalctl -u spheroidd`)."
        )
        message = Message("spheroidd can't start", signed(body, self._machine), "failure")
        usable = []
        for address in found:
            with contextlib.suppress(ConfigError):
                Sender([address], self._log)
                usable.append(address)
        return bool(usable) and not Sender(usable, self._log, _SEND_SECONDS).send(message, now)

    def _remember(self, key: str, entry: dict[str, Any]) -> None:
        for place in self._places:
            known = {**_read(place), key: entry}
            newest = sorted(known.items(), key=lambda item: float(item[1]["at"]))[-_REASONS:]
            half = place.with_suffix(f".{os.getpid()}")
            try:
                half.write_text(json.dumps(dict(newest)), encoding="utf-8")
                half.replace(place)
            except OSError:
                continue
            return
        self._log.warning("what was told can't be remembered, so it may be told again")


def _read(place: Path) -> dict[str, dict[str, Any]]:
    """What was told, by the reason's hash; nothing where the file is not there or not whole."""
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        for entry in known.values():
            float(entry["at"]), float(entry["since"]), int(entry["tries"])
            str(entry["reason"]), bool(entry["told"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return dict(known)


def _without_secrets(reason: str, found: Sequence[Address]) -> str:
    for address in found:
        reason = reason.replace(address.url, address.shown)
    return _PASSWORD.sub("…@", reason)[:_LONGEST]
