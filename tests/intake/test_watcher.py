"""Real events from real folders; what they say is only ever a hint."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spheroidd.intake.settling import Settling
from spheroidd.intake.watcher import Watcher, choose
from spheroidd.store.mounts import filesystem_of


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("wanted", ["native", "polling"])
def test_a_written_file_is_hinted(tmp_path: Path, wanted: str) -> None:
    hints: list[str] = []
    watcher = Watcher(tmp_path, wanted, 0.2, lambda path, _: hints.append(path), print)  # type: ignore[arg-type]
    watcher.ensure()
    try:
        assert watcher.kind == wanted
        (tmp_path / "A1").mkdir()
        time.sleep(0.5)
        (tmp_path / "A1" / "1.jpg").write_bytes(b"x")
        assert wait_for(lambda: str(tmp_path / "A1" / "1.jpg") in hints)
    finally:
        watcher.stop()


def test_a_folder_made_anew_is_watched_anew(tmp_path: Path) -> None:
    root = tmp_path / "share"
    root.mkdir()
    hints: list[str] = []
    watcher = Watcher(root, "native", 1, lambda path, _: hints.append(path), print)
    watcher.ensure()
    try:
        shutil.rmtree(root)
        with pytest.raises(OSError):
            watcher.ensure()
        (tmp_path / "other").mkdir()  # so that the new folder gets another inode
        root.mkdir()
        watcher.ensure()
        (root / "2.jpg").write_bytes(b"x")
        assert wait_for(lambda: str(root / "2.jpg") in hints)
    finally:
        watcher.stop()


def test_network_file_systems_are_polled() -> None:
    assert choose("auto", "ext4") == "native"
    assert choose("native", "cifs") == "native"
    for remote in ("cifs", "nfs4", "fuse.sshfs", "9p", "virtiofs", "lustre"):
        assert choose("auto", remote) == "polling"
    assert choose("polling", "ext4") == "polling"


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 22 0:40 / /mnt/cell\\040iq rw - cifs //pc/export rw\n"
        "24 23 0:41 / /mnt/cell\\040iq/old rw - nfs4 host:/x rw\n"
    )
    assert filesystem_of(Path("/mnt/cell iq/a/b"), mounts) == "cifs"
    assert filesystem_of(Path("/mnt/cell iq/old"), mounts) == "nfs4"
    assert filesystem_of(Path("/mnt/cell iq2"), mounts) == "ext4"
    assert filesystem_of(Path("/")) != ""


def test_quiet_means_observed_unchanged_for_the_whole_time() -> None:
    settling = Settling(5)
    assert not settling.is_quiet(1, 10, 1, now=0)
    assert not settling.is_quiet(1, 10, 1, now=4.9)
    assert not settling.is_quiet(1, 11, 2, now=5.1)  # it grew: from the beginning
    assert not settling.is_quiet(1, 11, 2, now=10)
    assert settling.is_quiet(1, 11, 2, now=10.2)
    settling.forget(1)
    assert not settling.is_quiet(1, 11, 2, now=99)
    assert Settling(0).is_quiet(1, 1, 1, now=0)


def test_a_polling_observer_whose_emitter_died_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "share"
    root.mkdir()
    hints: list[str] = []
    watcher = Watcher(root, "polling", 0.2, lambda path, _: hints.append(path), print)
    watcher.ensure()
    try:
        away = root.rename(tmp_path / "away")
        assert wait_for(lambda: not watcher._listening())
        away.rename(root)  # the very same folder, as a share that comes back
        watcher.ensure()
        (root / "3.jpg").write_bytes(b"x")
        assert wait_for(lambda: str(root / "3.jpg") in hints)
    finally:
        watcher.stop()
