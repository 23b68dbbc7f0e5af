"""How hard the fuzzing is: SPHEROIDD_FUZZ=50 makes fifty times as many examples."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

_TIMES = float(os.environ.get("SPHEROIDD_FUZZ", "1"))


def examples(number: int) -> Callable[..., Any]:
    """So many examples in CI; no deadline, for a busy machine is no failure."""
    return settings(
        max_examples=max(1, round(number * _TIMES)),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
