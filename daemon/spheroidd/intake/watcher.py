"""watchdog's observer for one folder; what it reports is a hint to look, never a fact."""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify_c import inotify_add_watch, inotify_init
from watchdog.observers.polling import PollingObserverVFS

from spheroidd.intake.answers import Answers
from spheroidd.intake.mounts import MountTable, concerning, expected_point
from spheroidd.store.mounts import NETWORK, Mount, holding, is_inside, read_mounts

Kind = Literal["native", "polling"]

# The kernel sends no events for what other hosts write to these. More than what a database is
# unsafe on: the host of a virtual machine writes to its shares too, and of FUSE nothing is known.
_SILENT = NETWORK | {"9p", "virtiofs", "vboxsf"}
STALE = "what is mounted there, or may be read, has changed"
_STOP_SECONDS = 2.0
_IN_DELETE_SELF = 0x400


def choose(wanted: Literal["auto", "native", "polling"], filesystem: str) -> Kind:
    """Native events where the file system sends them, polling elsewhere."""
    if wanted != "auto":
        return wanted
    silent = filesystem in _SILENT or filesystem.startswith("fuse")
    return "polling" if silent else "native"


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
    """One observer on one folder, made anew when it or the folder is not what it was."""

    def __init__(
        self,
        root: Path,
        wanted: Literal["auto", "native", "polling"],
        poll_seconds: float,
        hint: Callable[[str, bool], None],
        warn: Callable[[str], None],
        answers: Answers | None = None,
    ) -> None:
        """
        Args:
            hint: called from watchdog's thread with (path, is_folder).
            warn: called with a sentence when native events can't be had.
            answers: told when a polling thread waits for the folder.
        """
        self._root = root
        self._wanted = wanted
        self._poll_seconds = poll_seconds
        self._handler = _Hints(hint)
        self._warn = warn
        self._answers = answers or Answers()
        self._table = MountTable()
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._mounts: list[Mount] = []
        self._point = ""
        self._stale = False
        self._ended = False
        self.kind: Kind | None = None

    def unsound(self) -> str:
        """Why the folder has to be watched anew, in words; empty: all is well.

        An observer goes on living when its folder is deleted and made again, or unmounted and
        mounted, but hears nothing more.  A file system that is mounted again may have the
        very numbers it had before, so the table of mounts counts too.
        """
        if self._observer is None:
            return "it is not watched yet"
        if not self._listening():
            return "a thread of its observer has died"
        if self._table.changed():
            mounts = concerning(str(self._root.resolve()), read_mounts())
            self._stale = self._stale or bool(mounts or self._mounts)
        try:
            status = self._root.stat()
        except OSError as error:
            return error.strerror or str(error)
        if (status.st_dev, status.st_ino) != self._identity:
            return "it is not the folder it was"
        return STALE if self._stale else ""

    def ensure(self) -> bool:
        """Watch the folder as it is now; returns whether it had to be begun anew.

        Raises:
            OSError: the folder is not there, or not mounted.
        """
        self._require_mount()
        status = self._root.stat()
        if not self.unsound():
            if self.kind == "native" and self._no_room():
                self._begin("polling")
                self._warn_of_limit("no inotify watches are left")
            return False
        self._forget()
        self._table.open()  # from now on, so that a change while it begins is not missed
        mounts, target = read_mounts(), str(self._root.resolve())
        self._mounts, here = concerning(target, mounts), holding(target, mounts)
        self._point = max(self._point, here.point, key=len)
        kind = choose(self._wanted, here.filesystem)
        limit = ""
        if kind == "native":
            try:
                self._begin("native")
                limit = "no inotify watches are left" if self._no_room() else ""
            except OSError as error:  # most often: no inotify instances left
                limit = error.strerror or str(error)
        if limit or kind == "polling":
            self._begin("polling")
        if limit:
            self._warn_of_limit(limit)
        self._identity = (status.st_dev, status.st_ino)
        if self._ended:  # while this thread hung in the folder
            self.stop()
        return True

    def renew(self) -> None:
        """Have the next `ensure` begin anew: something became readable that was not watched."""
        self._stale = True

    def _require_mount(self) -> None:
        """An unmounted share's mount point must not pass for the share."""
        target = str(self._root.resolve())
        here = holding(target, read_mounts()).point
        if not here:
            return
        if is_inside(target, self._point) and len(here) < len(self._point):
            raise OSError(f"{self._point} is not mounted any more")
        if len(here) < len(expected := expected_point(target)):
            raise OSError(f"{expected} is not mounted, though /etc/fstab names it")

    def _listening(self) -> bool:
        """Whether all its threads live; an observer outlives those that do the work."""
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        # Native observers have one more thread, which watchdog does not offer to be looked at.
        reading = getattr(observer, "_inotify_fd", None)
        threads = [*observer.emitters, *([reading] if reading is not None else [])]
        return all(thread.is_alive() for thread in threads)

    def _no_room(self) -> bool:
        """Whether the kernel refuses one more watch: watchdog then leaves out folders, in
        silence."""
        descriptor = inotify_init()
        if descriptor == -1:
            return False  # says nothing about watches; the observer has its own instance
        try:
            watch = inotify_add_watch(descriptor, os.fsencode(self._root), _IN_DELETE_SELF)
            return watch == -1 and ctypes.get_errno() == errno.ENOSPC
        finally:
            os.close(descriptor)

    def _begin(self, kind: Kind) -> None:
        self._drop_observer()
        observer = Observer() if kind == "native" else self._polling()
        try:
            observer.schedule(self._handler, str(self._root), recursive=True)
            observer.start()
        except Exception:
            _end(observer)
            raise
        self._observer, self.kind = observer, kind

    def _polling(self) -> BaseObserver:
        """Links are not followed: a loop of them would never end."""

        def status(path: str) -> os.stat_result:
            with self._answers.awaited():
                return os.lstat(path)

        def entries(path: str | None) -> "Iterator[os.DirEntry[str]]":
            with self._answers.awaited(), os.scandir(path) as found:
                return iter(list(found))

        return PollingObserverVFS(status, entries, polling_interval=self._poll_seconds)

    def _warn_of_limit(self, reason: str) -> None:
        self._warn(
            f"No native events for {self._root} ({reason}); polling it instead. Raise "
            "fs.inotify.max_user_watches and max_user_instances (sysctl) and restart to have "
            "them back."
        )

    def _drop_observer(self) -> None:
        observer, self._observer, self.kind = self._observer, None, None
        if observer is not None:
            _end(observer)

    def stop(self) -> None:
        """End the observer's threads, for good and in bounded time, from any thread."""
        self._ended = True
        self._forget()

    def _forget(self) -> None:
        self._drop_observer()
        self._table.close()
        self._stale = False


def _end(observer: BaseObserver) -> None:
    """watchdog waits for its threads without end, and they may hang in the folder."""
    ending = threading.Thread(target=observer.stop, name="an observer's end", daemon=True)
    ending.start()
    ending.join(_STOP_SECONDS)
    if not ending.is_alive() and observer.is_alive():
        observer.join(_STOP_SECONDS)
