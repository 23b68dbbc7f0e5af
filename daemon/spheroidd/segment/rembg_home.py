"""Where rembg looks for weights while we use it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# rembg reads both and lets the older U2NET_HOME win, so a value left in the user's
# environment would otherwise send it to other weights than the ones we checked.
_VARIABLES = ("REMBG_HOME", "U2NET_HOME")


@contextmanager
def rembg_home(home: Path) -> Iterator[None]:
    """Let rembg see `home`, and no other folder, as its own; the environment is put back after."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(home.absolute())))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
