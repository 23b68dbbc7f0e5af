from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Daemon, kill


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    kill(one)
