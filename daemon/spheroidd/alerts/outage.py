"""An alert about the database itself: it can't be in the table, so it is kept in memory."""

from spheroidd.alerts import words
from spheroidd.alerts.telling import Message, signed
from spheroidd.store.alerting import Alert

KEY = "database"
_TITLE = "The database can't be used"


class Outage:
    """How long the database has been out of reach, and whether people know.

    Args:
        grace: seconds that it may be.
        remind: seconds until people are told again; None: never.
    """

    def __init__(self, grace: float, remind: float | None) -> None:
        self._grace = grace
        self._remind = remind
        self._reason = ""
        self.since: float | None = None
        self.told_at: float | None = None

    def ill(self, reason: str, now: float) -> bool:
        """It can't be used; returns whether that is new."""
        new = self.since is None
        self._reason = reason
        if self.since is None or self.since > now:  # the clock may have been set back
            self.since = now
        return new

    def well(self) -> None:
        """It can be used, and people know or need not."""
        self.since = self.told_at = None

    def is_due(self, now: float) -> bool:
        """Whether people should be told now."""
        if self.since is None or now - self.since < self._grace:
            return False
        if self.told_at is None:
            return True
        return self._remind is not None and abs(now - self.told_at) >= self._remind

    def alert(self, now: float) -> Alert:
        """What is wrong, as the table would have it."""
        since = self.since if self.since is not None else now
        return Alert(
            KEY,
            True,
            _TITLE,
            f"{self._reason}, for {words.spell(now - since)} now "
            f"(since {words.moment(since)}).\n"
            "Nothing can be stored, so nothing is measured meanwhile; it goes on by itself once "
            "the database can be written.\nWhat to do: see whether its disk is full (`df -h`), "
            "and whether another program has opened spheroidd.db; then `spheroidd doctor`.",
        )

    def message(self, machine: str, now: float) -> Message:
        """That it can't be used."""
        alert = self.alert(now)
        return Message(f"spheroidd: {alert.title}", signed(alert.body, machine), "failure")

    def recovery(self, machine: str, now: float) -> Message:
        """That it can be used again."""
        since = self.since if self.since is not None else now
        body = f"After {words.spell(now - since)} (it began at {words.moment(since)})."
        title = "spheroidd: The database can be used again"
        return Message(title, signed(body, machine), "success")
