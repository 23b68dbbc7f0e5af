"""Watched folders that vanish, change, hang or deafen, with real threads and real damage."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from living import Living, wait_for, write_picture
from watched import NOW, Bench

import hanging
from hanging import mount, unmount
from spheroidd.intake import answers, mounts

_RDONLY, _REMOUNT = 1, 32
_BARE = "below the mount"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder to mount on; other things lie in it while nothing is mounted."""
    point = tmp_path / "share"
    write_picture(point / "P" / "A1" / "below.png")
    (point / _BARE).touch()
    yield point
    unmount(point)


def told(log: Any, event: str) -> list[dict[str, Any]]:
    return [line for line in log[1] if line["event"] == event]


# -- deleted, unmounted -------------------------------------------------------------------


def test_a_root_that_is_made_anew_is_watched_within_seconds(
    tmp_path: Path, living: Callable[..., Living], captured_log: Any
) -> None:
    roots = {kind: tmp_path / kind for kind in ("native", "polling")}
    ones = []
    for kind, root in roots.items():
        root.mkdir()
        ones.append(living(root, observer=kind))
    for one in ones:
        wait_for(one.is_well)
        one.root.rmdir()
    for one in ones:
        wait_for(one.is_degraded, 8)
        assert "No such file" in one.health()["reason"]
        since = datetime.fromisoformat(one.health()["since"]).timestamp()
        assert abs(time.time() - since) < 20
    early = [write_picture(one.root / "P" / "A1" / "1.png") for one in ones]
    for one, path in zip(ones, early, strict=True):
        wait_for(lambda one=one, path=path: one.state_of(path) == "ready", 12)  # type: ignore[misc]
        wait_for(one.is_well, 8)
    late = [write_picture(one.root / "P" / "A2" / "2.png", seed=1) for one in ones]
    for one, path in zip(ones, late, strict=True):  # by an event: no scan is due
        wait_for(lambda one=one, path=path: one.state_of(path) == "ready", 8)  # type: ignore[misc]
    assert len(told(captured_log, "folder degraded")) == 2
    assert len(told(captured_log, "folder is well again")) == 2


def test_a_swapped_root_is_noticed_though_nothing_was_ever_missing(
    tmp_path: Path, living: Callable[..., Living]
) -> None:
    root, other = tmp_path / "export", tmp_path / "other"
    root.mkdir()
    inside = write_picture(other / "P" / "A1" / "1.png")
    one = living(root)
    wait_for(one.is_well)
    root.rename(tmp_path / "away")
    other.rename(root)
    seen = root / inside.relative_to(other)
    wait_for(lambda: one.state_of(seen) == "ready", 10)
    late = write_picture(root / "P" / "A1" / "2.png", seed=1)
    wait_for(lambda: one.state_of(late) == "ready", 8)


def test_an_unmounted_share_loses_nothing_and_what_lies_below_is_not_taken_for_it(
    disk: Path, living: Callable[..., Living], captured_log: Any, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    mount(str(kept), disk, "", flags=4096)  # MS_BIND: what it holds outlives being unmounted
    done = write_picture(disk / "P" / "A1" / "1.png")
    one = living(disk, settle_seconds=2.0)
    wait_for(lambda: one.state_of(done) == "ready")
    waiting = write_picture(disk / "P" / "A1" / "2.png", seed=1)
    wait_for(lambda: one.state_of(waiting) == "waiting")
    unmount(disk)
    wait_for(one.is_degraded, 8)
    assert "is not mounted any more" in one.health()["reason"]
    assert one.health()["since"] > one.health()["scanned_at"]
    number = one.intake.rescan()
    wait_for(lambda: one.intake.scanned(number))
    assert (one.state_of(done), one.state_of(waiting)) == ("ready", "waiting")
    assert one.state_of(disk / "P" / "A1" / "below.png") == "not seen"
    mount(str(kept), disk, "", flags=4096)
    wait_for(one.is_well, 10)
    wait_for(lambda: one.state_of(waiting) == "ready", 10)
    assert not told(captured_log, "image gone before it was read")
    assert one.database.rows("SELECT 1 FROM images WHERE state = 'superseded'") == []


def test_a_share_mounted_again_at_once_is_watched_anew(
    disk: Path, living: Callable[..., Living], captured_log: Any
) -> None:
    mount("share", disk, "tmpfs")
    before = disk.stat()
    one = living(disk)
    wait_for(one.is_well)
    unmount(disk)
    mount("share", disk, "tmpfs")
    after = disk.stat()
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino), "all looks the same"
    wait_for(lambda: bool(told(captured_log, "watched anew")), 8)
    late = write_picture(disk / "P" / "A1" / "1.png")
    wait_for(lambda: one.state_of(late) == "ready", 10)


def test_a_share_that_fstab_names_is_missed_from_the_start(
    disk: Path, living: Callable[..., Living], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "fstab"
    table.write_text(f"# shares\n//pc/export {disk} cifs nofail,ro 0 0\n")
    monkeypatch.setattr(mounts, "FSTAB", table)
    one = living(disk)
    wait_for(one.is_degraded)
    assert "/etc/fstab" in one.health()["reason"]
    assert one.state_of(disk / "P" / "A1" / "below.png") == "not seen"
    mount("share", disk, "tmpfs")
    wait_for(one.is_well, 10)


def test_what_fstab_expects() -> None:
    table = (
        "UUID=1 / ext4 defaults 0 1\n"
        "# //pc/old /mnt/old cifs ro 0 0\n"
        "//pc/a /mnt/cell\\040iq cifs nofail 0 0\n"
        "//pc/b /mnt/usb cifs noauto,user 0 0\n"
        "//pc/c /mnt/auto cifs noauto,x-systemd.automount 0 0\n"
        "/dev/sdb1 none swap sw 0 0\n"
    )
    assert mounts.expected_point("/mnt/cell iq/export", table) == "/mnt/cell iq"
    assert mounts.expected_point("/mnt/auto", table) == "/mnt/auto"
    for no_share in ("/mnt/usb/x", "/mnt/old", "/home/x", "/mnt/cell iq2"):
        assert mounts.expected_point(no_share, table) == ""


def test_a_read_only_file_system_is_as_good_as_any(
    disk: Path, living: Callable[..., Living]
) -> None:
    mount("share", disk, "tmpfs")
    path = write_picture(disk / "P" / "A1" / "1.png")
    mount("share", disk, "tmpfs", flags=_RDONLY | _REMOUNT)
    with pytest.raises(OSError):
        (disk / "x").touch()
    one = living(disk)
    wait_for(lambda: one.state_of(path) == "ready")
    assert one.is_well()


# -- observers ----------------------------------------------------------------------------


def end_thread(name: str, watcher: Any) -> Any:
    """The next thing that one of watchdog's threads does is its last; returns the thread."""

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("a thread of watchdog's dies")

    observer = watcher._observer
    if name == "dispatcher":
        observer.dispatch_events = die
        return observer
    if name == "reader":
        observer._inotify_fd.read_events = die
        return observer._inotify_fd
    [emitter] = observer.emitters
    emitter.queue_events = die
    return emitter


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_observers_that_died_are_made_anew_within_seconds(
    tmp_path: Path, living: Callable[..., Living], captured_log: Any
) -> None:
    deaths = {
        ("native", "emitter"), ("native", "dispatcher"), ("native", "reader"),
        ("polling", "emitter"), ("polling", "dispatcher"),
    }  # fmt: skip
    ones, threads = [], []
    for observer, name in sorted(deaths):
        root = tmp_path / f"{observer} {name}"
        root.mkdir()
        one = living(root, observer=observer)
        wait_for(one.is_well)
        ones.append(one)
        threads.append(end_thread(name, one.intake._watcher))
        (root / "wake.txt").touch()
    wait_for(lambda: not any(thread.is_alive() for thread in threads))
    wait_for(lambda: len(told(captured_log, "watched anew")) == len(deaths), 8)
    warnings = told(captured_log, "watched anew")
    assert {line["folder"] for line in warnings} == {str(one.root) for one in ones}
    assert {(line["level"], line["reason"]) for line in warnings} == {
        ("warning", "a thread of its observer has died")
    }
    wait_for(lambda: not any(one.intake._watcher.unsound() for one in ones), 8)
    paths = [write_picture(one.root / "P" / "A1" / "1.png") for one in ones]
    for one, path in zip(ones, paths, strict=True):
        wait_for(lambda one=one, path=path: one.state_of(path) == "ready", 8)  # type: ignore[misc]
        assert one.is_well()


def test_without_inotify_it_polls_and_says_so(tmp_path: Path) -> None:
    """In a user namespace of its own the limit is real, and lowered for nobody else."""
    began = []
    for limit, allowed in (("watches", 4), ("instances", 0)):
        root = tmp_path / limit
        for well in range(1, 9):
            (root / "P" / f"A{well}").mkdir(parents=True)
        lower = f'echo {allowed} > /proc/sys/user/max_inotify_{limit} && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "sh", "-c", lower, "sh"]
        try:
            able = subprocess.run([*command, "true"], check=False, capture_output=True).returncode
        except FileNotFoundError:
            able = 1
        if able != 0:
            pytest.skip("no user namespaces here, in which to lower the limit of inotify")
        script = Path(__file__).with_name("limited.py")
        began.append(
            subprocess.Popen(
                [*command, sys.executable, str(script), str(root)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    for process in began:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        seen = json.loads(out)
        assert (seen["kind"], seen["state"], seen["health"]) == ("polling", "ready", "ok")
        [warning] = seen["warnings"]
        assert "max_user_watches" in warning
        assert str(tmp_path) in warning


def test_polling_finds_within_its_time_what_sends_no_event(
    tmp_path: Path, living: Callable[..., Living]
) -> None:
    root = tmp_path / "export"
    (root / "P").mkdir(parents=True)
    for name in ("one", "two"):
        (root / name).symlink_to(root)  # followed, they would never end
    one = living(root, observer="polling", poll_seconds=1.0, settle_seconds=0.5)
    wait_for(one.is_well)
    path = write_picture(root / "P" / "A1" / "1.png")
    taken = wait_for(lambda: one.state_of(path) == "ready")
    assert taken < 1.0 + 0.5 + 1.0 + 4.0  # poll, settle, one look at what waits; slow machines
    write_picture(path, seed=1)
    wait_for(
        lambda: (
            [row["state"] for row in one.database.rows("SELECT state FROM images ORDER BY id")]
            == ["superseded", "ready"]
        ),
        8,
    )


# -- folders that hang ----------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "NO_ANSWER_SECONDS", 1.0)


@pytest.mark.usefixtures("hurried")
def test_a_folder_that_hangs_is_told_by_others_and_heals(
    tmp_path: Path, living: Callable[..., Living], captured_log: Any
) -> None:
    with contextlib.ExitStack() as stack:
        shares, ones = [], []
        for observer in ("auto", "native"):
            backing, point = tmp_path / f"{observer} backing", tmp_path / observer
            point.mkdir()
            write_picture(backing / "P" / "A1" / "1.png")
            shares.append(stack.enter_context(hanging.share(backing, point)))
            ones.append(living(point, observer=observer))
        for one in ones:
            wait_for(lambda one=one: one.state_of(one.root / "P/A1/1.png") == "ready")  # type: ignore[misc]
        assert [one.health()["observer"] for one in ones] == ["polling", "native"]
        for share in shares:
            share.freeze()
        for one, share in zip(ones, shares, strict=True):
            wait_for(one.is_degraded)
            assert one.health()["reason"] == "it does not answer"
            assert one.intake.silent
            write_picture(tmp_path / f"{one.root.name} backing" / "P" / "A1" / "2.png", seed=1)
            share.answer()
        for one, share in zip(ones, shares, strict=True):
            wait_for(one.is_well)
            wait_for(lambda one=one: one.state_of(one.root / "P/A1/2.png") == "ready")  # type: ignore[misc]
            share.freeze()
        assert len(told(captured_log, "folder degraded")) == 2
        for one in ones:
            wait_for(one.is_degraded)
            began = time.monotonic()
            one.intake.stop()
            assert time.monotonic() - began < 10


# -- permissions, clocks ----------------------------------------------------------------------


def test_folders_that_may_not_be_read(tmp_path: Path) -> None:
    """As root without root's rights, or as whoever runs the tests."""
    root = tmp_path / "export"
    write_picture(root / "P" / "A1" / "1.png")
    write_picture(root / "P" / "A2" / "2.png")
    script = Path(__file__).with_name("forbidden.py")
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "Permission denied" in seen["root"]
    assert "1 places can't be read" in seen["well"]
    assert "P/A2: Permission denied" in seen["well"]
    assert seen["meanwhile"] == ["ready", "not seen"]
    assert seen["states"] == ["ready", "ready"]
    assert seen["late"] == "ready"


def test_a_clock_that_jumps_moves_no_scan_and_no_settling(bench: Callable[..., Bench]) -> None:
    b = bench()
    step = b.intake.step

    def at(now: float) -> None:
        while step(now):
            pass

    b.picture("P/A1/1.png")
    b.intake.rescan()
    at(NOW - 1e9)  # the clock was set back by thirty years
    shutil.move(b.root, b.root.with_name("away"))
    b.clock += 3
    at(NOW + 1e9)
    [folder] = b.database.rows("SELECT * FROM folders")
    assert folder["health"] == "degraded"
    assert datetime.fromisoformat(folder["since"]).timestamp() == NOW + 1e9
    shutil.move(b.root.with_name("away"), b.root)
    for _ in range(3):
        b.clock += 6
        at(NOW - 2e8)
    assert b.rows("state") == [{"state": "ready"}]
    assert b.database.rows("SELECT health FROM folders") == [{"health": "ok"}]
