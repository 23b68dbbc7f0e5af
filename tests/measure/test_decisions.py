"""The pure decisions of the room: when a batch is due, which object."""

from typing import Any

import pytest

from spheroidd.measure.batches import Due, Rule, next_batch
from spheroidd.measure.spheroid import choose
from spheroidd.store.database import timestamp
from spheroidd.store.images import Pending
from spheroidd.store.results import ObjectRecord

NOW = 1_700_000_000.0
RULE = Rule(max_images=24, max_wait_seconds=20)


def pending(plate: str, fresh: int, waited: float, suspects: int = 0) -> Pending:
    return Pending(plate, fresh, suspects, timestamp(NOW - waited) if fresh else None)


@pytest.mark.parametrize(
    ("waiting", "more_coming", "expected"),
    [
        ([], True, None),
        ([pending("P", 3, 5)], True, None),
        ([pending("P", 3, 21)], True, Due("P", False, 24)),
        ([pending("P", 24, 1)], True, Due("P", False, 24)),
        ([pending("P", 3, -3600)], True, Due("P", False, 24)),
        ([pending("P", 3, 5)], False, Due("P", False, 24)),
        ([pending("P", 3, 5), pending("Q", 24, 1)], True, Due("Q", False, 24)),
        ([pending("P", 0, 90, suspects=2)], True, Due("P", True, 1)),
        ([pending("P", 0, 90, suspects=2), pending("Q", 1, 30)], True, Due("Q", False, 24)),
    ],
)
def test_a_batch_is_due_when_full_or_old(waiting: Any, more_coming: bool, expected: Any) -> None:
    assert next_batch(waiting, RULE, NOW, more_coming=more_coming) == expected


def test_neither_fresh_images_nor_suspects_starve() -> None:
    waiting = [pending("P", 24, 90, suspects=2)]
    assert next_batch(waiting, RULE, NOW) == Due("P", False, 24)
    assert next_batch(waiting, RULE, NOW, suspects_first=True) == Due("P", True, 1)


def found(area: float | None) -> ObjectRecord:
    return ObjectRecord("Spheroids", 1, area, {"AreaShape_Area": area})


def test_the_spheroid_is_the_largest_and_the_choice_is_repeatable() -> None:
    assert choose([]) is None
    assert choose([found(None), found(0.0)]) is None
    assert choose([found(5), found(9), found(9), found(None)]) == 1
