"""A file system that hangs: FUSE spoken by hand, so that it can stop answering.

It shows a folder of the machine, read-only, under another path.  No library is needed, only
/dev/fuse and the right to mount.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 26, 27, 28, 29, 36, 42
_SILENT = (FORGET, BATCH_FORGET)
_DIRECT_IO = 1  # every read is asked for, none comes from the page cache
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, point: Path, kind: str, options: str = "", flags: int = 0) -> None:
    """mount(2); skips the test where that is not allowed."""
    failed = _libc.mount(
        source.encode(), os.fsencode(point), kind.encode(), flags, options.encode()
    )
    if failed:
        pytest.skip(
            f"mounting {kind or source} is not possible here: {os.strerror(ctypes.get_errno())}"
        )


def unmount(point: Path) -> None:
    """Away at once, whoever still uses it; nothing happens where nothing is mounted."""
    _libc.umount2(os.fsencode(point), _MNT_DETACH)


class Share:
    """Answers for a folder until it is told not to."""

    def __init__(self, backing: Path, device: int) -> None:
        self._backing = backing
        self._device = device
        self._names: dict[int, str] = {1: ""}
        self._held: list[bytes] = []
        self._holding: frozenset[int] = frozenset()
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._over = False
        self._wake_out, self._wake_in = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="share", daemon=True)
        self._thread.start()

    def freeze(self) -> None:
        """Answer nothing at all from now on, like a frozen process or a server that is gone."""
        self._answering.clear()
        os.write(self._wake_in, b"x")

    def hold(self, *kinds: int) -> None:
        """Answer all but these."""
        self._holding = frozenset(kinds)

    def answer(self) -> None:
        """Answer what was kept waiting, and everything from now on."""
        self._holding = frozenset()
        self._answering.set()
        with self._lock:
            held, self._held = self._held, []
        for request in held:
            self._handle(request)

    @property
    def held(self) -> int:
        """How many requests are kept waiting by `hold`."""
        return len(self._held)

    def end(self) -> None:
        self._over = True
        self._answering.set()
        os.write(self._wake_in, b"x")
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _serve(self) -> None:
        while True:
            self._answering.wait()
            ready, _, _ = select.select([self._device, self._wake_out], [], [])
            if self._wake_out in ready:
                os.read(self._wake_out, 100)
                if self._over:
                    return
                continue
            if not self._answering.is_set():
                continue
            try:
                request = os.read(self._device, (1 << 20) + 4096)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue  # the request was taken back
                return  # unmounted
            kind = struct.unpack_from("<I", request, 4)[0]
            if kind == INTERRUPT:
                self._interrupt(struct.unpack_from("<Q", request, 40)[0])
            elif kind in self._holding:
                with self._lock:
                    self._held.append(request)
            else:
                self._handle(request)

    def _interrupt(self, unique: int) -> None:
        """Whoever waits is being killed; without an answer it could never end."""
        with self._lock:
            gone = [one for one in self._held if struct.unpack_from("<Q", one, 8)[0] == unique]
            self._held = [one for one in self._held if one not in gone]
        if gone:
            self._reply(unique, errno.EINTR)

    def _handle(self, request: bytes) -> None:
        _, kind, unique, node = struct.unpack_from("<IIQQ", request)
        if kind in _SILENT:
            return
        try:
            self._reply(unique, 0, self._answer_to(kind, node, request[40:]))
        except OSError as error:
            self._reply(unique, error.errno or errno.EIO)

    def _reply(self, unique: int, error: int, body: bytes = b"") -> None:
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError as trouble:
            if trouble.errno not in (errno.ENOENT, errno.ENODEV, errno.EPERM):
                raise  # but these: nobody waits for it any more

    def _answer_to(self, kind: int, node: int, body: bytes) -> bytes:
        if kind == INIT:
            return struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0) + bytes(
                28
            )
        if kind == STATFS:
            return bytes(40) + struct.pack("<IIII", 4096, 255, 4096, 0) + bytes(24)
        if kind in (RELEASE, RELEASEDIR):
            return b""
        path = self._path(node)
        if kind == LOOKUP:
            name = os.fsdecode(body.split(b"\0")[0])
            child = self._names[node] + "/" + name
            attributes = self._attributes(self._backing / child[1:])
            return struct.pack("<QQQQII", self._number(child), 0, 0, 0, 0, 0) + attributes
        if kind == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(path)
        if kind in (OPEN, OPENDIR):
            path.stat()
            return struct.pack("<QIi", 0, _DIRECT_IO if kind == OPEN else 0, 0)
        if kind == READ:
            offset, size = struct.unpack_from("<QI", body, 8)
            return path.read_bytes()[offset : offset + size]
        if kind == READDIR:
            offset, size = struct.unpack_from("<QI", body, 8)
            return _entries(path, offset, size)
        raise OSError(errno.ENOSYS, "not needed here")

    def _path(self, node: int) -> Path:
        return self._backing / self._names[node][1:]

    def _number(self, name: str) -> int:
        for node, known in self._names.items():
            if known == name:
                return node
        self._names[len(self._names) + 1] = name
        return len(self._names)

    def _attributes(self, path: Path) -> bytes:
        seen = path.lstat()
        times = [(ns // 10**9, ns % 10**9) for ns in (seen.st_mtime_ns, seen.st_ctime_ns)]
        mtime, ctime = times
        return struct.pack(
            "<6Q10I",
            seen.st_ino, seen.st_size, seen.st_blocks, mtime[0], mtime[0], ctime[0],
            mtime[1], mtime[1], ctime[1], seen.st_mode, seen.st_nlink, 0, 0, 0, 4096, 0,
        )  # fmt: skip


def _entries(path: Path, offset: int, size: int) -> bytes:
    out = b""
    for number, child in enumerate(sorted(path.iterdir()), start=1):
        if number <= offset:
            continue
        name, seen = os.fsencode(child.name), child.lstat()
        kind = stat.S_IFMT(seen.st_mode) >> 12
        entry = struct.pack("<QQII", seen.st_ino, number, len(name), kind) + name
        entry += bytes(-len(entry) % 8)
        if len(out) + len(entry) > size:
            break
        out += entry
    return out


@contextmanager
def share(backing: Path, point: Path, *, frozen: bool = False) -> Iterator[Share]:
    """`backing`, seen at `point`; at the end whoever hangs in it is let go."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"/dev/fuse can't be opened here: {error.strerror}")
    one: Share | None = None
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount("share", point, "fuse", options)
        one = Share(backing, device)
        if not frozen:
            one.answer()
        yield one
    finally:
        if one is not None:
            one.end()
        os.close(device)  # the kernel then gives an error to everybody who waits
        unmount(point)
