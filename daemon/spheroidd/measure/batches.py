"""When does a plate's next batch go to CellProfiler, and with which images?"""

from collections.abc import Sequence
from dataclasses import dataclass

from spheroidd.store.images import Pending
from spheroidd.store.reader import seconds_of


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
    pending: Sequence[Pending],
    rule: Rule,
    now: float,
    *,
    more_coming: bool = True,
    suspects_first: bool = False,
) -> Due | None:
    """Decide; pure.

    Args:
        pending: the plate that is to be measured first comes first.
        now: seconds since the epoch.
        more_coming: False when no full batch is on its way, so waiting gains nothing.
        suspects_first: the last batch was a fresh one, so that neither kind starves the other.
    """
    fresh = _fresh(pending, rule, now, more_coming)
    suspect = next((Due(p.plate, suspects=True, limit=1) for p in pending if p.suspects), None)
    return (suspect or fresh) if suspects_first else (fresh or suspect)


def _fresh(pending: Sequence[Pending], rule: Rule, now: float, more_coming: bool) -> Due | None:
    for plate in pending:
        if plate.oldest is None:
            continue
        waited = now - seconds_of(plate.oldest)
        full = plate.fresh >= rule.max_images
        clock_set_back = waited < 0
        if full or clock_set_back or waited >= rule.max_wait_seconds or not more_coming:
            return Due(plate.plate, suspects=False, limit=rule.max_images)
    return None
