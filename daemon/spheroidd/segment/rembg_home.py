"""The surroundings that rembg is imported and used in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# rembg reads both and lets the older U2NET_HOME win, so a value left in the user's
# environment would otherwise send it to other weights than the ones we checked.
_VARIABLES = ("REMBG_HOME", "U2NET_HOME")


@contextmanager
def rembg_home(home: Path) -> Iterator[None]:
    """Let rembg see `home`, and no other folder, as its own; the environment is put back after.

    Import rembg inside: with it comes numba, for alpha matting, which is never used here.
    Compiling that would take a minute of the first start and 70 MB ever after.
    """
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
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
