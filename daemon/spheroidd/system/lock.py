"""One daemon per state folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from spheroidd.errors import StoreError


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel lets go of it when the process ends.

    Raises:
        StoreError: another process holds it, or it can't be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"The lock file {path} can't be opened: {error.strerror}.",
            "Run spheroidd as the user that it ran as before (as a service: `spheroidd`), "
            "or use another `state_dir`.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise StoreError(
                f"Another spheroidd (process {holder}) works on {path.parent}.",
                "Stop it first (`systemctl stop spheroidd`), or use another `state_dir`.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
