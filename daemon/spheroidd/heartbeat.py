"""How the daemon is, every few seconds: for `status`, alerts, metrics, and systemd."""

from spheroidd.parts import Parts
from spheroidd.reloading import Settings
from spheroidd.store.conditions import Condition
from spheroidd.system.notify import notify

BEAT_SECONDS = 5.0


def tell_how_it_is(parts: Parts, settings: Settings, now: float) -> None:
    """A heartbeat for `status`, systemd's status line, and its watchdog."""
    refused = Condition(
        "configuration",
        settings.refused,
        "Mend it (`spheroidd check`), then `systemctl reload spheroidd`.",
    )
    found = [*parts.conditions(), refused]
    parts.told.tell(found, now)
    trouble = "; ".join(
        [one.trouble for one in found if one.trouble]
        + [f"{one.root}: {one.degraded}" for one in parts.intakes if one.degraded]
    )
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
