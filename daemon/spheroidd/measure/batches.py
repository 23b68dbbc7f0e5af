"""When does a plate's next batch go to CellProfiler, and with which images?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spheroidd.store.images import Pending


@dataclass(frozen=True)
class Rule:
    """A batch is due when this many images wait, or the oldest has waited this long."""

    max_images: int
    max_wait_seconds: float


@dataclass(frozen=True)
class Due:
    """Which images to claim. `suspects` were in a batch that brought the worker down:
    they go alone, so that a poisonous one can't take others with it again."""

    plate: str
    suspects: bool
    limit: int


def next_batch(
    pending: Sequence[Pending], rule: Rule, now: float, *, more_coming: bool = True
) -> Due | None:
    """Decide; pure.

    Args:
        pending: the longest waiting plate first.
        now: seconds since the epoch.
        more_coming: False when nothing is on its way any more, so waiting gains nothing.
    """
    for plate in pending:
        if plate.fresh == 0:
            continue
        waited = now - datetime.fromisoformat(plate.oldest).timestamp()
        full = plate.fresh >= rule.max_images
        if full or waited >= rule.max_wait_seconds or not more_coming:
            return Due(plate.plate, suspects=False, limit=rule.max_images)
    for plate in pending:
        if plate.suspects:
            return Due(plate.plate, suspects=True, limit=1)
    return None
