"""How the daemon is, every few seconds: for `status`, alerts, metrics, and systemd."""

from spheroidd.parts import Parts
from spheroidd.reloading import Settings
from spheroidd.store.conditions import Condition
from spheroidd.system.notify import notify


def tell_how_it_is(parts: Parts, settings: Settings, now: float) -> None:
    """A heartbeat for `status`, systemd's status line, and its watchdog."""
    refused = Condition(
        "configuration",
        settings.refused,
        "Mend it (`spheroidd check`), then `systemctl reload spheroidd`.",
    )
    parts.told.tell([*parts.conditions(), refused], now)
    trouble = "; ".join(filter(None, (parts.troubles(), refused.trouble)))
    parts.health.update(
        now,
        phase="running",
        trouble=trouble,
        provider=parts.provider,
        reloads=settings.answered,
    )
    line = ", ".join(f"{count} {state}" for state, count in parts.ledger.counts().items())
    notify(f"STATUS={line}; trouble: {trouble}" if trouble else f"STATUS={line}")
    ping(parts)


def ping(parts: Parts) -> None:
    """Only while work is possible: what is stuck for good, systemd's restart may mend."""
    if not parts.stuck():
        notify("WATCHDOG=1")
