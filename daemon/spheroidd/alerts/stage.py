"""The part that looks whether all is well, and tells people when it is not.

It sees everything through the database, as any reader does; only the database itself is
watched from outside, for when it fails nothing else can be known or remembered.
"""

import socket
import sqlite3
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from spheroidd.alerts.outage import Outage
from spheroidd.alerts.rules import Examination, crash, running
from spheroidd.alerts.seen import Found, Snapshot, Timing, Wishes
from spheroidd.alerts.sending import Sender
from spheroidd.alerts.telling import Item, Message, changes, compose, signed, to_tell
from spheroidd.errors import SpheroiddError, StoreError
from spheroidd.store.alerting import Alerting, PreviousEnd, StoredAlert, Told
from spheroidd.store.database import Database
from spheroidd.store.sights import PlateTimes, Service, Sights, WellEnd

_SILENT_SECONDS = 30.0  # without a heartbeat, which is due every five
_START_SECONDS = 600.0  # a first scan may take this long before anything is looked at
_HOUR = 3600.0


class AlertStage:
    """Looks, decides, sends, records; a part on a loop of its own."""

    def __init__(
        self,
        database: Database,
        roots: Sequence[str],
        wishes: Wishes,
        sender: Sender,
        log: FilteringBoundLogger,
        previous: PreviousEnd | None = None,
        timing: Timing | None = None,
        machine: str | None = None,
    ) -> None:
        """
        Args:
            roots: the watched folders, as stored.
            previous: how the daemon before this one ended, if not as it should.
            machine: what messages call this computer; None: its name.
        """
        self._sights = Sights(database.path)
        self._table = Alerting(database, self._sights)
        self._roots = frozenset(roots)
        self._wishes = wishes
        self._sender = sender
        self._log = log
        self._crash = previous
        self._timing = timing or Timing()
        self._machine = machine or socket.gethostname()
        remind = wishes.remind_hours
        self._outage = Outage(self._timing.grace, None if remind is None else remind * _HOUR)
        self._began = 0.0
        self._looked: float | None = None
        self._looked_slowly: float | None = None
        self._plates: tuple[PlateTimes, ...] = ()
        self._wells: list[WellEnd] = []
        self._last_told: float | None = None
        self._unsaved: list[Told] = []

    @property
    def trouble(self) -> str:
        """In words, why nobody can be told."""
        return self._sender.trouble

    def start(self, now: float) -> None:
        self._began = now
        if not self._sender.targets:
            self._log.info("nobody is told of trouble: there are no alerts.targets")

    def step(self, now: float) -> bool:
        """Look, if it is time to; tell what is to be told."""
        if self._looked is not None and abs(now - self._looked) < self._timing.look:
            return False
        self._looked = now
        self._began = min(self._began, now)  # the clock may have been set back
        try:
            why = self._look_and_tell(now)
        except (sqlite3.Error, OSError, StoreError) as error:
            if isinstance(error, SpheroiddError) and error.fatal:
                raise  # the service ends, and says so with its last words
            why = str(error)
        if why:
            self._database_is_ill(why, now)
        elif self._outage.since is not None:
            self._database_is_well(now)
        self._sender.catch_up(now)
        return False

    def hand_back(self) -> None:
        """A step that raised is taken again from what the table says."""

    def stop(self) -> None:
        """Wait for no answer any more; may be called while a step is in hand."""
        self._sender.stop()

    def last_words(self, reason: str, now: float) -> None:
        """Tell, from any thread and once, that the service ends by itself and why; to be called
        before `stop`."""
        body = f"{reason}\nNothing is measured until it runs again; new images are found then."
        message = Message("spheroidd has ended by itself", signed(body, self._machine), "failure")
        self._sender.send(message, now)

    # -- the usual case ------------------------------------------------------------------

    def _look_and_tell(self, now: float) -> str:
        """Returns why the database is no use although it can be read; empty: it is."""
        self._save()
        service = self._sights.service()
        if service is None:
            return ""
        if service.phase == "running":
            # A stage that has just begun has seen no silence yet: a reload takes its time.
            # A heartbeat from the future was written before the clock was set back.
            last = service.heartbeat if service.heartbeat <= now else 0.0
            silent = now - max(last, self._began)
            if silent > _SILENT_SECONDS:
                return "Nothing was written into it for a while"
        elif now - self._began < _START_SECONDS:
            return ""  # what the table says of folders and parts is of another time
        self._tell_of_a_crash(now)
        stored = self._table.stored(now)
        found = self._found(service, stored, now)
        news = changes(stored, found)
        if news.raised or news.ended:
            self._table.change(news.raised, news.ended, now)
            for alert in news.raised:
                self._log.warning("alert", key=alert.key, title=alert.title)
            stored = self._table.stored(now)
        if not self._sender.is_due(now):
            return ""
        items = to_tell(stored, found, self._wishes, self._timing, self._last_told, now)
        if items:
            self._tell(items, now)
        return ""

    def _found(self, service: Service, stored: Sequence[StoredAlert], now: float) -> Found:
        self._look_at_plates(now)
        snapshot = Snapshot(
            service=service,
            parts=self._sights.parts(),
            roots=self._roots,
            folders=self._sights.folders(),
            plates=self._plates,
            wells=self._wells,
            failures=self._sights.failures(now),
            raised=self._table.raised(now),
            crashes=self._table.raised_since("crash", now - _HOUR),
        )
        opened = {alert.key for alert in stored if alert.ended_at is None}
        return Examination(snapshot, self._wishes, self._timing, opened, self._began, now).found()

    def _look_at_plates(self, now: float) -> None:
        """That takes longer, and changes slowly."""
        last = self._looked_slowly
        if last is not None and abs(now - last) < self._timing.slow:
            return
        self._plates = self._sights.plates(now)
        self._wells = [
            end
            for plate in running(self._plates, self._wishes, now)
            for end in self._sights.well_ends(plate, self._wishes.flagged_in_a_row)
        ]
        self._looked_slowly = now

    def _tell_of_a_crash(self, now: float) -> None:
        """Enter it once; of several within an hour the first one is told, then that there are
        many."""
        if self._crash is None:
            return
        again = self._table.raised_since("crash", now - _HOUR) > 0
        alert = crash(self._crash, now)
        self._table.happened(alert, now, now, told=None, quietly=again)
        self._crash = None

    def _tell(self, items: Sequence[Item], now: float) -> None:
        message = compose(items, self._machine)
        why = self._sender.send(message, now)
        if why:
            self._table.not_told([number for item in items for number in item.ids], why)
            return
        self._last_told = now
        self._log.info("told", title=message.title, alerts=[item.alert.key for item in items])
        # In memory first: a database that fails now must not make it be told again and again.
        self._unsaved += [
            Told(number, now, item.over, item.alert.urgent, item.alert.title, item.alert.body)
            for item in items
            for number in item.ids
        ]
        self._save()

    def _save(self) -> None:
        if self._unsaved:
            self._table.told(self._unsaved)
            self._unsaved.clear()

    # -- the database itself -------------------------------------------------------------

    def _database_is_ill(self, why: str, now: float) -> None:
        if self._outage.ill(why, now):
            self._log.error("alerts can't use the database; trying again", reason=why)
        if self._outage.is_due(now) and self._sender.is_due(now):
            message = self._outage.message(self._machine, now)
            if not self._sender.send(message, now):
                self._outage.told_at = now
                self._log.info("told", title=message.title, alerts=[])

    def _database_is_well(self, now: float) -> None:
        told_at, since = self._outage.told_at, self._outage.since
        if told_at is not None and since is not None:
            if not self._sender.is_due(now):
                return
            if self._sender.send(self._outage.recovery(self._machine, now), now):
                return
            alert = self._outage.alert(now)
            self._outage.well()
            self._table.happened(alert, since, now, told=told_at, quietly=True)
        self._outage.well()
        self._log.info("alerts can use the database again")
