"""Times, lengths of time and names as people read them."""

from datetime import UTC, datetime

from spheroidd.store.paths import printable

_TITLE = 70  # characters; a phone shows about that many
_NAME = 28


def spell(seconds: float) -> str:
    """A length of time, such as `2 h 10 min`; rough, for nobody needs more."""
    minutes = max(0, round(seconds / 60))
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def moment(at: float) -> str:
    """A time of day and its date, on this machine."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M on %a %d %b")


def name(text: str) -> str:
    """A plate's, a well's or a folder's name on one line, its middle left out where it is long."""
    shown = printable(text)
    if len(shown) <= _NAME:
        return shown
    return f"{shown[: _NAME // 2]}…{shown[-_NAME // 2 + 1 :]}"


def title(text: str) -> str:
    """A title that a phone can show."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 1]}…"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 well`, `3 wells`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
