"""Messages on their way: apprise's services, each tried on a thread of its own.

A service that hangs holds up nobody, and nothing that apprise says gets out as it is, for it
may hold a password: only what went wrong is told, in words of ours.
"""

import logging
import re
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from structlog.typing import FilteringBoundLogger

from spheroidd.alerts.addresses import Address
from spheroidd.alerts.telling import Message
from spheroidd.alerts.words import count, spell
from spheroidd.errors import ConfigError

if TYPE_CHECKING:
    from apprise import NotifyBase

_LIMIT_SECONDS = 20.0
_BACK_OFF = (30.0, 120.0, 480.0, 1800.0)
_OWED = 20  # messages that others have got already; the oldest go first
_SLICE = 0.1

# What went wrong, by what apprise (or the library below it) says.
_SIGNS = (
    (r"error=40[13]\b|\b535\b|authentication|unauthorized", "it refuses the password or token"),
    (r"error=4(04|10)\b", "there is nothing at this address (404)"),
    (r"error=429\b", "it wants fewer messages (429)"),
    (r"error=(\d{3})\b", "it answers with error {}"),
    (r"name or service|getaddrinfo|name ?resol|nodename", "the network does not know its name"),
    (r"certificate|ssl", "no secure connection: certificate or encryption"),
    (r"refused by|recipient", "it refuses the recipient"),
    (r"refused", "it refuses connections"),
    (r"timed ?out|timeout", "it did not answer in time"),
    (r"unreachable|no route", "the network does not reach it"),
)


class _Ear(logging.Handler):
    """Hears what apprise says on each thread, and keeps what it means."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._meanings: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        telling = record.levelno >= logging.WARNING or text.startswith("Socket Exception")
        if telling and record.thread is not None:
            meaning = _meaning(text)
            if meaning or record.thread not in self._meanings:
                self._meanings[record.thread] = meaning

    def heard(self) -> str:
        """What was meant on this thread since the last time."""
        return self._meanings.pop(threading.get_ident(), "")


def _meaning(text: str) -> str:
    for pattern, meaning in _SIGNS:
        if found := re.search(pattern, text, re.IGNORECASE):
            return meaning.format(*found.groups())
    return ""


_ear = _Ear()


def _listen() -> None:
    """From now on nothing of apprise's own log goes anywhere else; nor of what is below it."""
    log = logging.getLogger("apprise")
    if _ear not in log.handlers:
        log.addHandler(_ear)
    log.setLevel(logging.DEBUG)
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).propagate = False


class Target:
    """One service that takes messages, how it is, and what it has still to be told."""

    def __init__(self, address: Address, service: "NotifyBase") -> None:
        self.shown = address.shown
        self.failures = 0
        self.why = ""
        self.next_try = 0.0
        self.owed: deque[Message] = deque(maxlen=_OWED)
        self._truncates = "overflow=" not in address.url
        self._service = service
        self._attempt: Attempt | None = None

    @property
    def busy(self) -> bool:
        """Whether the last attempt still hangs: a second one would only hang beside it."""
        return self._attempt is not None and not self._attempt.done.is_set()

    def attempt(self, message: Message) -> "Attempt":
        """Begin to send."""
        from apprise import NotifyFormat, NotifyType, OverflowMode  # noqa: PLC0415 (see below)

        self._attempt = Attempt(
            self._service,
            title=message.title,
            body=message.body,
            notify_type=NotifyType(message.mood),
            body_format=NotifyFormat.TEXT,
            overflow=OverflowMode.TRUNCATE if self._truncates else None,
        )
        return self._attempt

    def went(self, why: str, now: float) -> None:
        """Remember how an attempt went; an empty `why`: well."""
        self.why = why
        self.failures = self.failures + 1 if why else 0
        wait = _BACK_OFF[min(self.failures, len(_BACK_OFF)) - 1] if why else 0.0
        self.next_try = now + wait

    def is_due(self, now: float) -> bool:
        """Whether it may be tried; a clock that is set back must not make it wait for ever."""
        return not self.failures or not now < self.next_try <= now + _BACK_OFF[-1]


class Attempt:
    """One message on its way to one service."""

    def __init__(self, service: "NotifyBase", **message: Any) -> None:
        self.done = threading.Event()
        self.why = ""
        self._service = service
        self._message = message
        # A daemon thread: a service that hangs must not keep the program from ending.
        threading.Thread(target=self._send, name="alert", daemon=True).start()

    def _send(self) -> None:
        try:
            sent = self._service.notify(**self._message)
            heard = _ear.heard()
            self.why = "" if sent else heard or "it could not be sent"
        except Exception as error:  # apprise's services raise what they like
            self.why = f"it could not be sent ({type(error).__name__})"
        finally:
            self.done.set()


class Sender:
    """All targets; without any it does nothing, and apprise is not even imported."""

    def __init__(
        self,
        found: Sequence[Address],
        log: FilteringBoundLogger,
        limit: float = _LIMIT_SECONDS,
    ) -> None:
        """
        Args:
            limit: seconds after which an attempt has failed.

        Raises:
            ConfigError: an address can't be used; it says where it stands, not what it is.
        """
        self.targets = open_targets(found)
        self._log = log
        self._limit = limit
        self._ending = threading.Event()
        self._one_at_a_time = threading.Lock()

    @property
    def trouble(self) -> str:
        """In words, which targets can't be reached."""
        return "; ".join(
            f"alerts can't be sent to {target.shown}: {target.why}, tried "
            f"{count(target.failures, 'time')}"
            for target in self.targets
            if target.failures
        )

    def is_due(self, now: float) -> bool:
        """Whether any target may be tried now."""
        return any(target.is_due(now) for target in self.targets)

    def send(self, message: Message, now: float) -> str:
        """Send to every target that is due; returns why nobody was reached (empty: somebody was).

        What somebody has got is owed to the others; what nobody has got is the caller's to
        send again.
        """
        with self._one_at_a_time:
            tried = self._try({t: message for t in self.targets if t.is_due(now)}, now)
            reached = [target for target, why in tried.items() if not why]
            if reached:
                for target in self.targets:
                    if target not in reached:
                        target.owed.append(message)
                return ""
        return "; ".join(f"{target.shown}: {why}" for target, why in tried.items()) or "not due"

    def catch_up(self, now: float) -> None:
        """Send what targets have missed while others got it."""
        with self._one_at_a_time:
            owing = {t: _joined(t.owed) for t in self.targets if t.owed and t.is_due(now)}
            for target, why in self._try(owing, now).items():
                if not why:
                    target.owed.clear()

    def stop(self) -> None:
        """Wait no longer for any answer, now and from now on."""
        self._ending.set()

    def _try(self, messages: dict[Target, Message], now: float) -> dict[Target, str]:
        """Send at the same time; returns how it went, an empty text meaning well."""
        attempts = {
            target: None if target.busy else target.attempt(message)
            for target, message in messages.items()
        }
        end = time.monotonic() + self._limit
        outcome = {}
        for target, attempt in attempts.items():
            why = "it still hangs in the last try"
            if attempt is not None:
                why = self._await(attempt, end)
            self._note(target, why, now)
            outcome[target] = why
        return outcome

    def _await(self, attempt: Attempt, end: float) -> str:
        while not attempt.done.wait(_SLICE):
            if self._ending.is_set():
                return "spheroidd is ending"
            if time.monotonic() > end:
                return f"it did not answer within {self._limit:.0f} s"
        return attempt.why

    def _note(self, target: Target, why: str, now: float) -> None:
        failing = bool(target.failures)
        target.went(why, now)
        if why:
            self._log.warning(
                "an alert can't be sent",
                target=target.shown,
                reason=why,
                tries=target.failures,
                next_try=f"in {spell(target.next_try - now)}",
            )
        elif failing:
            self._log.info("alerts can be sent again", target=target.shown)


def open_targets(found: Sequence[Address]) -> list[Target]:
    """apprise's services for the addresses.

    Raises:
        ConfigError: naming every place whose address can't be used.
    """
    if not found:
        return []
    with warnings.catch_warnings():
        # What apprise's many services import is not ours to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        services = _services(found)
    _ear.heard()
    if bad := [address.shown for address, service in services if service is None]:
        raise ConfigError(
            f"Alerts can't be sent to {', '.join(bad)}: not one of apprise's URLs, or not whole.",
            "Each is one line such as mailto://…, slack://… or https://…; see apprise's list of "
            "services. What it holds is not shown here, for it may be a secret.",
        )
    return [Target(address, service) for address, service in services if service is not None]


def _services(found: Sequence[Address]) -> "list[tuple[Address, NotifyBase | None]]":
    # It takes two seconds and much memory, and most daemons have nobody to tell.
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415

    _listen()
    asset = AppriseAsset(
        app_id="spheroidd", app_desc="spheroidd", app_url="", async_mode=False, language="en"
    )
    return [(address, Apprise.instantiate(address.url, asset=asset)) for address in found]


def _joined(messages: Sequence[Message]) -> Message:
    """What was missed, in one message, the newest first."""
    newest = messages[-1]
    if len(messages) == 1:
        return newest
    body = "\n\n".join(f"{one.title}\n{one.body}" for one in reversed(messages))
    head = f"{len(messages)} messages could not be sent before."
    return Message(newest.title, f"{head}\n\n{body}", newest.mood)
