from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from living import Living
from watched import Bench


@pytest.fixture
def bench(tmp_path: Path, captured_log: Any) -> Iterator[Callable[..., Bench]]:
    """Makes one with other settings of its folder; the state stays from one to the next."""
    made: list[Bench] = []

    def make(**settings: Any) -> Bench:
        made.append(Bench(tmp_path, captured_log[0], **settings))
        return made[-1]

    yield make
    for one in made:
        one.intake.stop()
        one.database.close()


@pytest.fixture
def living(tmp_path: Path, captured_log: Any) -> Iterator[Callable[..., Living]]:
    """Makes an intake that watches a folder by itself."""
    made: list[Living] = []

    def make(root: Path, **settings: Any) -> Living:
        made.append(Living(root, captured_log[0], **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()
