"""The one file that must not be lost: where it may lie, who may have it, whether it is whole."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from made_up import NOW, measured
from spheroidd.errors import StoreError
from spheroidd.store import database as module
from spheroidd.store import mounts, soundness
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.mounts import filesystem_of, network_filesystem
from spheroidd.store.reader import Reader
from spheroidd.store.reading import growth
from spheroidd.store.soundness import DamagedError, LockedError, require_sound

MOUNTS = r"""
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
23 22 0:40 / /mnt/lab\040share rw shared:1 - cifs //server/lab rw,vers=3.0
24 23 0:41 / /mnt/lab\040share/local rw - xfs /dev/vdb rw
25 22 0:42 / /home rw - nfs4 server:/home rw,hard
26 22 0:43 / /mnt/ssh rw - fuse.sshfs me@server: rw,user_id=0
27 22 0:44 / /mnt/pool rw - fuse.mergerfs disks rw
28 22 0:45 / /mnt/windows rw - fuseblk /dev/sdb1 rw
29 22 0:46 / /mnt/vm rw - virtiofs host rw
30 22 0:47 / /mnt/nine rw - 9p host rw,trans=virtio
31 22 0:48 / /mnt/far rw - 9p server rw,trans=tcp,port=564
32 22 0:49 / /mnt/covered rw - nfs server:/x rw
33 32 254:2 / /mnt/covered rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/spheroidd", "ext4", False),
        ("/mnt/lab share/state", "cifs", True),
        ("/mnt/lab share/local/state", "xfs", False),
        ("/mnt/lab sharelike", "ext4", False),
        ("/home/me/state", "nfs4", True),
        ("/mnt/ssh", "fuse.sshfs", True),
        ("/mnt/pool/state", "fuse.mergerfs", False),
        ("/mnt/windows", "fuseblk", False),
        ("/mnt/vm", "virtiofs", False),
        ("/mnt/nine", "9p", False),
        ("/mnt/far", "9p", True),
        ("/mnt/covered", "ext4", False),
    ],
)
def test_network_file_systems_are_told_from_disks(path: str, kind: str, network: bool) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind
    assert network_filesystem(Path(path), MOUNTS) == (kind if network else "")


def test_a_database_on_a_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"{MOUNTS}34 22 0:50 / {tmp_path}/share rw - cifs //server/share rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    state = tmp_path / "share" / "state"
    state.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"\(cifs, mounted at .*share\).*disk of this machine"):
        Database(state / "spheroidd.db")
    assert not list(state.iterdir())


def test_where_nothing_is_known_of_mounts_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "TABLE", tmp_path / "missing")
    Database(tmp_path / "spheroidd.db").close()


# -- damage -----------------------------------------------------------------------------------


def pages_of_noise(path: Path) -> None:
    """All but the first third of the file."""
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(pages // 3 * 4096)
        file.write(os.urandom((pages - pages // 3) * 4096))


def half_of_it(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def no_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def nothing(path: Path) -> None:
    os.truncate(path, 0)


HARM = [pages_of_noise, half_of_it, no_header, nothing]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 measured images."""
    path = tmp_path_factory.mktemp("sound") / "spheroidd.db"
    with Database(path) as database:
        database.sql.execute("PRAGMA synchronous = OFF")
        for hours in range(40):
            measured(database, "A1", hours)
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.1.mask.png").write_bytes(b"x")
    return Path(shutil.copy(sound, tmp_path / sound.name))


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_found_before_anything_is_written(
    path: Path, harm: Callable[[Path], None]
) -> None:
    require_sound(path)
    harm(path)
    harmed = path.read_bytes()
    with pytest.raises(DamagedError, match=r"is damaged.*shows which backups there are"):
        require_sound(path)
    backup = path.parent / "backups" / "spheroidd-20260102T030405Z.db"
    backup.parent.mkdir()
    backup.write_bytes(b"")
    with pytest.raises(DamagedError, match=f"spheroidd restore {backup} -c FILE"):
        require_sound(path)
    with pytest.raises(DamagedError, match="shows which backups"):
        require_sound(path, path.parent / "elsewhere")
    assert path.read_bytes() == harmed


@pytest.mark.parametrize("harm", HARM[:3])
def test_readers_say_what_to_do_too(path: Path, harm: Callable[[Path], None]) -> None:
    harm(path)
    with pytest.raises(DamagedError, match="restore -c FILE"), Reader(path) as reader:
        for table in ("images", "transitions", "objects", "measurements"):
            reader.rows(f"SELECT * FROM {table}")
        growth(reader)


def test_damage_met_on_the_way_ends_the_service_and_blames_no_image(path: Path) -> None:
    with Database(path) as database:
        database.sql.execute("PRAGMA cache_size = 0")
        pages_of_noise(path)
        with pytest.raises(sqlite3.DatabaseError) as caught, database.write() as sql:
            for table in ("images", "transitions", "objects", "measurements"):
                list(sql.query(f"SELECT * FROM {table} ORDER BY rowid"))
        assert isinstance(caught.value, StoreError)
        assert caught.value.fatal
        assert not database.sql.conn.in_transaction


def test_a_new_or_sound_database_passes(tmp_path: Path) -> None:
    path = tmp_path / "spheroidd.db"
    require_sound(path)
    path.write_bytes(b"")  # killed as it was being made; there is nothing to lose
    require_sound(path)
    Database(path).close()
    require_sound(path)


@pytest.mark.parametrize("trace", ["images/P/A1/a.1.mask.png", "batches/P/000001/Image.csv"])
def test_a_database_that_vanished_is_not_replaced(tmp_path: Path, trace: str) -> None:
    path = tmp_path / "spheroidd.db"
    (tmp_path / "images" / "lost+found").mkdir(parents=True)
    (tmp_path / "batches").mkdir()
    require_sound(path)
    (tmp_path / trace).parent.mkdir(parents=True)
    (tmp_path / trace).write_bytes(b"x")
    top = tmp_path / trace.partition("/")[0]
    with pytest.raises(StoreError, match=f"is missing.*spheroidd restore BACKUP.*aside {top}"):
        require_sound(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedError, match="it is empty"):
        require_sound(path)
    path.unlink()
    top.rename(tmp_path / "aside")
    require_sound(path)


def test_backups_and_a_log_tell_of_a_database_that_vanished(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "spheroidd.db", tmp_path / "elsewhere"
    require_sound(path, elsewhere)
    for folder, name in ((tmp_path / "backups", "20260102"), (elsewhere, "20260101")):
        folder.mkdir()
        backup = folder / f"spheroidd-{name}T000000Z.db"
        backup.write_bytes(b"")
        with pytest.raises(StoreError, match=f"is missing.*spheroidd restore .*/{folder.name}/"):
            require_sound(path, elsewhere)
        folder.rename(tmp_path / f"{folder.name} aside")
    require_sound(path, elsewhere)
    path.with_name("spheroidd.db-wal").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"is missing.*spheroidd\.db-wal"):
        require_sound(path)


def test_a_large_one_is_checked_unless_its_daemon_ended_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "_ALWAYS_BYTES", 0)
    monkeypatch.setattr(soundness, "_TELL_SECONDS", 0.0)
    monkeypatch.setattr(soundness, "_STEPS", 10)
    told: list[int] = []

    def checked() -> bool:
        told.clear()
        require_sound(path, None, lambda: told.append(1))
        return bool(told)

    assert checked(), "no daemon ever ran"
    with Database(path) as database:
        Health(database).started(NOW, pid=1, version="0")
    assert checked(), "killed"
    with Database(path) as database:
        Health(database).ended(NOW, "stopped")
    assert not checked()


# -- in other hands ------------------------------------------------------------------------


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that has the database to itself until its input is closed."""
    script = (
        "import sqlite3, sys\n"
        "other = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "other.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_only_the_first_waits_long_while_another_program_has_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 2.0)
    monkeypatch.setattr(module, "_LOCKED_SECONDS", 0.1)
    with Database(path) as database:
        holder = request.getfixturevalue("holder")
        waits: list[float] = []

        def try_to_write() -> None:
            began = time.monotonic()
            with pytest.raises(LockedError, match="Another program"), database.write():
                pass
            waits.append(time.monotonic() - began)

        threads = [threading.Thread(target=try_to_write) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(waits) == 6
        assert 2.0 <= max(waits) < 6.0, "not two seconds each"
        assert len(database.rows("SELECT 1 FROM images")) == 40, "reading goes on"
        holder.stdin.close()
        holder.wait(30)
        measured(database, "A2", 0)
        assert database._patience == 2.0


def test_a_full_disk_in_a_commit_leaves_no_transaction_behind(path: Path) -> None:
    with Database(path) as database:
        [pages] = database.sql.execute("PRAGMA page_count").fetchone()
        database.sql.execute(f"PRAGMA max_page_count = {pages}")
        for _ in range(2):
            with (
                pytest.raises(sqlite3.OperationalError, match="full"),
                database.write() as sql,
            ):
                sql.execute("UPDATE images SET reason = hex(zeroblob(20000))")
            assert not database.sql.conn.in_transaction
        database.sql.execute("PRAGMA max_page_count = 1000000")
        measured(database, "A2", 0)
        assert database.rows("SELECT count(*) AS n FROM images WHERE reason <> ''") == [{"n": 0}]


def test_a_failed_commit_is_rolled_back(path: Path) -> None:
    """A deferred foreign key fails in the commit itself, as a full disk may."""
    with Database(path) as database:
        with pytest.raises(sqlite3.IntegrityError), database.write() as sql:
            sql.execute("PRAGMA defer_foreign_keys = ON")
            sql.execute("INSERT INTO transitions (image_id, to_state, at) VALUES (999, 'x', '')")
        measured(database, "A2", 0)
        assert len(database.rows("SELECT 1 FROM images")) == 41
