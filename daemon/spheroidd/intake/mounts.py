"""Whether the file system that a watched folder should lie on is there.

An unmounted share leaves its mount point behind, an empty folder or one with other things in
it, that looks like any folder.  The kernel's table of mounts tells the difference.
"""

import os
import select
from pathlib import Path

from spheroidd.store.mounts import TABLE, Mount, is_inside, unescaped

FSTAB = Path("/etc/fstab")


class MountTable:
    """The kernel's table of mounts, which also says when it has changed."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._poll = select.poll()

    def open(self) -> None:
        """Begin to listen; where there is no such table, it is empty and never changes."""
        try:
            self._descriptor = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._poll.register(self._descriptor, select.POLLERR | select.POLLPRI)

    def changed(self) -> bool:
        """Whether anything was mounted or unmounted since this was last asked."""
        return self._descriptor is not None and bool(self._poll.poll(0))

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._poll.unregister(descriptor)
            os.close(descriptor)


def concerning(target: str, mounts: list[Mount]) -> list[Mount]:
    """The mounts that come and go with what is seen below a path: the ones above it, other
    than the root file system, and the ones in it."""
    return [
        mount
        for mount in mounts
        if (mount.point != "/" and is_inside(target, mount.point)) or is_inside(mount.point, target)
    ]


def expected_point(target: str, fstab: str | None = None) -> str:
    """The mount point that a path should lie on by /etc/fstab; empty: none is named there.

    Args:
        fstab: its text; read from there when None.
    """
    if fstab is None:
        try:
            fstab = FSTAB.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    best = ""
    for line in fstab.splitlines():
        fields = line.split()
        if len(fields) < 4 or line.lstrip().startswith("#"):
            continue
        point, options = unescaped(fields[1]).rstrip("/"), fields[3].split(",")
        wanted = "noauto" not in options or "x-systemd.automount" in options
        if wanted and point and is_inside(target, point) and len(point) > len(best):
            best = point
    return best
