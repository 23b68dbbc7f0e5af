"""watchdog's observer for one folder; what it reports is a hint to look, never a fact."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

Kind = Literal["native", "polling"]

# The kernel sends no events for what other hosts write to these.
_REMOTE = frozenset(
    {"cifs", "smb3", "smbfs", "nfs", "nfs4", "9p", "virtiofs", "ceph", "glusterfs", "afs", "vboxsf"}
)


def choose(wanted: Literal["auto", "native", "polling"], filesystem: str) -> Kind:
    """Native events where the file system sends them, polling elsewhere."""
    if wanted != "auto":
        return wanted
    remote = filesystem in _REMOTE or filesystem.startswith("fuse")
    return "polling" if remote else "native"


def filesystem_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds `path`, such as `ext4` or `cifs`.

    Args:
        mounts: the text of /proc/self/mountinfo; read from there when None.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    target, best, kind = str(path.resolve()), "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mount = fields[4].replace("\\040", " ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # the last mount on a point hides the others
            best, kind = mount, after.split()[0]
    return kind


class _Hints(FileSystemEventHandler):
    """Hands every path on; an exception here would kill watchdog's thread, so none escapes."""

    def __init__(self, hint: Callable[[str, bool], None]) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write", "deleted"):
            return
        if event.is_directory and event.event_type == "modified":
            return  # only says that a file in it came or went, which has an event of its own
        path = event.dest_path or event.src_path
        self._hint(os.fsdecode(path), event.is_directory)


class Watcher:
    """One observer on one folder, rebuilt when the folder is another one than before."""

    def __init__(
        self,
        root: Path,
        wanted: Literal["auto", "native", "polling"],
        poll_seconds: float,
        hint: Callable[[str, bool], None],
        warn: Callable[[str], None],
    ) -> None:
        """
        Args:
            hint: called from watchdog's thread with (path, is_folder).
            warn: called with a sentence when native events can't be had.
        """
        self._root = root
        self._wanted = wanted
        self._poll_seconds = poll_seconds
        self._handler = _Hints(hint)
        self._warn = warn
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self.kind: Kind | None = None

    def ensure(self) -> None:
        """Watch the folder as it is now.

        An observer goes on living when its folder is deleted and made again, or
        unmounted and mounted, but hears nothing more; so the folder's identity counts.

        Raises:
            OSError: the folder is not there.
        """
        status = self._root.stat()
        identity = (status.st_dev, status.st_ino)
        if self._listening() and identity == self._identity:
            return
        self.stop()
        kind = choose(self._wanted, filesystem_of(self._root))
        if kind == "native":
            try:
                self._start(Observer())
            except OSError as error:  # most often: no inotify watches left
                self._warn(
                    f"No native events for {self._root} ({error.strerror or error}); polling it "
                    "instead. Raising fs.inotify.max_user_watches gives them back."
                )
                kind = "polling"
        if kind == "polling":
            self._start(PollingObserver(timeout=self._poll_seconds))
        self.kind, self._identity = kind, identity

    def _listening(self) -> bool:
        """An observer outlives its emitters, which do the work."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def _start(self, observer: BaseObserver) -> None:
        observer.schedule(self._handler, str(self._root), recursive=True)
        observer.start()
        self._observer = observer

    def stop(self) -> None:
        """End the observer's threads; safe to call at any time."""
        observer, self._observer, self.kind = self._observer, None, None
        if observer is not None:
            observer.stop()
            observer.join(timeout=5)
