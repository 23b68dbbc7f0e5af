"""What alerts are made of: wishes, what was seen, what holds; and their keys.

A key says what an alert is about: `disk` and other parts by their names, `folder/<path>`,
`images/<plate>`, `flags/<plate>/<well>`, `failures`, `crashes`; `crash` is an event.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from spheroidd.store.alerting import Alert
from spheroidd.store.sights import Failures, FolderState, PartState, PlateTimes, Service, WellEnd


@dataclass(frozen=True)
class Wishes:
    """What the configuration says of alerts; times of day are those of this machine."""

    no_image_minutes: float | None = None
    failures_per_hour: int = 10
    flagged_in_a_row: int = 3
    remind_hours: float | None = 24.0
    quiet_hours: str | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds: how often to look (at plates and wells `slow`), for how long something may be
    ill before anybody is told (`brief`: where it can't mend itself), and how far apart messages
    are that can wait (`gather`)."""

    look: float = 10.0
    slow: float = 60.0
    grace: float = 120.0
    brief: float = 15.0
    gather: float = 600.0


@dataclass(frozen=True)
class Snapshot:
    """Everything that is looked at, at one moment.

    Attributes:
        roots: the watched folders, as stored.
        raised: key → how many alerts there were within the last day.
        crashes: within the last hour.
    """

    service: Service
    parts: Sequence[PartState]
    roots: Collection[str]
    folders: Sequence[FolderState]
    plates: Sequence[PlateTimes]
    wells: Sequence[WellEnd]
    failures: Failures
    raised: Mapping[str, int]
    crashes: int


@dataclass(frozen=True)
class Found:
    """What holds now; keys in `undecided` stay as they were; those in `quietly` end without a
    word, for nothing has become well."""

    holding: tuple[Alert, ...]
    undecided: frozenset[str] = frozenset()
    quietly: frozenset[str] = frozenset()


def folder_key(root: str) -> str:
    return f"folder/{root}"


def images_key(plate: str) -> str:
    return f"images/{_part(plate)}"


def flags_key(plate: str, well: str) -> str:
    return f"flags/{_part(plate)}/{_part(well)}"


def _part(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F")


def kind_of(key: str) -> str:
    """What sort of thing an alert is about: `disk`, `folder`, `images`, `flags`, …"""
    return key.partition("/")[0]


def names_in(key: str) -> list[str]:
    """The names in a key: a folder's; a plate's, or a plate's and a well's."""
    kind, _, rest = key.partition("/")
    if kind == "folder":
        return [rest]
    return [part.replace("%2F", "/").replace("%25", "%") for part in rest.split("/")]
