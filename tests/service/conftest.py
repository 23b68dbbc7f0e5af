import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import Daemon, kill
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    kill(one)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wells, three frames, as the simulated instrument writes them."""
    folder = tmp_path_factory.mktemp("instrument")
    shots = plan(mixed_plates(1, 2, seed=3), 3)
    Instrument(folder, shots, interval_seconds=0, pieces=1, pause_seconds=0).run(threading.Event())
    return folder
