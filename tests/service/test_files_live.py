"""Files that misbehave, in front of the real daemon: one start, everything at once."""

import contextlib
import errno
import hashlib
import os
import pickle
import shutil
import stat
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image as Pillow

from daemons import Daemon, kill
from spheroidd.store.paths import to_real, to_stored

pytestmark = pytest.mark.timeout(300)

SETTLE = 1.0
ODD = [
    "new\nline",
    "\udcff\udcfe",
    "..%2f..%2fetc",
    "-rf",
    "🧫",
    "\u202egpj.1A",
    " a ",
    "\uf7ff",
    "b" * 250,
]


def well(radius: int, seed: int = 0) -> np.ndarray:
    """A dark spheroid on light ground, uint8."""
    y, x = np.mgrid[:240, :300]
    noise = np.random.default_rng(seed).normal(0, 3, y.shape)
    drawn = np.where(np.hypot(y - 120, x - 150) < radius, 60, 180) + noise
    return np.clip(drawn, 1, 254).astype(np.uint8)


class Stage:
    """The daemon with its export folder, and what this test has put there."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.export = daemon.export
        self.fifo = self.export / "P" / "special" / "pipe.png"
        self.through = threading.Event()

    def save(self, name: str, radius: int, **options: object) -> Path:
        path = self.export / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(well(radius, seed=radius)).save(path, **options)
        return path

    def row(self, path: Path, version: int = 1) -> dict[str, object]:
        stored = to_stored(str(path))
        found = [
            row
            for row in self.daemon.rows(f"SELECT * FROM images WHERE version = {version}")
            if row["path"] == stored
        ]
        return found[0] if found else {"state": "unseen", "reason": None}

    def until(self, path: Path, state: str, version: int = 1) -> None:
        self.daemon.wait_until(lambda: self.row(path, version)["state"] == state)


def slowly(path: Path, content: bytes, seconds: float) -> None:
    """In pieces, over longer than files need to settle, each in time."""
    pieces = 16
    with path.open("wb") as file:
        for start in range(0, len(content), len(content) // pieces + 1):
            file.write(content[start : start + len(content) // pieces + 1])
            file.flush()
            time.sleep(seconds / pieces)


class Payload:
    """What a pickle can do to whoever reads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.target,))


def bomb() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + tail

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def set_up(stage: Stage, outside: Path) -> None:
    """All that lies there before anything moves."""
    first = stage.save("P/A1/1.png", 40)
    os.utime(first, (978_307_200, 978_307_200))
    for name in ("P/A1/2.png", "P/B7/1.png"):
        (stage.export / name).parent.mkdir(exist_ok=True)
        os.link(first, stage.export / name)
    for odd in ODD:
        stage.save(f"odd {odd}/{'w' if odd == ODD[2] else ''}{odd}/1{odd[:60]}.png", 35)
    deep = stage.export / "Q" / "A1" / "16.tif"
    deep.parent.mkdir(parents=True)
    tifffile.imwrite(deep, well(45).astype(np.uint16) * 20, compression="lzw")
    links = stage.export / "P" / "links"
    links.mkdir()
    outside.mkdir()
    (links / "file.png").symlink_to(first)
    (links / "out.png").symlink_to(shutil.copy(first, outside / "9.png"))
    (links / "loop").symlink_to("..")
    (links / "outside").symlink_to(outside)
    stage.fifo.parent.mkdir()
    os.mkfifo(stage.fifo)
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a container that may not
            os.mknod(stage.fifo.with_name("zero.png"), stat.S_IFCHR | 0o600, os.makedev(1, 5))
    (stage.export / "P" / "A1" / "bomb.png").write_bytes(bomb())


def contents(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file's size, date and content, without opening what must not be opened."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        regular = stat.S_ISREG(status.st_mode)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, digest)
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    daemon = Daemon(tmp_path_factory.mktemp("live"))
    daemon.configure(
        watch={"settle_seconds": SETTLE, "observer": "native"},
        segmentation={"model": "none"},
        measurement={"pipeline": "threshold", "batch": {"max_images": 50, "max_wait_seconds": 3}},
    )
    stage = Stage(daemon)
    set_up(stage, daemon.folder / "outside")

    def write_to_the_pipe() -> None:
        descriptor = os.open(stage.fifo, os.O_WRONLY)  # waits for somebody to read it
        stage.through.set()
        os.close(descriptor)

    writer = threading.Thread(target=write_to_the_pipe, daemon=True)
    writer.start()
    daemon.start()
    yield stage
    kill(daemon)
    os.close(os.open(stage.fifo, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(10)


def test_all_of_it(stage: Stage) -> None:
    """In the order of time; what each part proves stands where it is looked at."""
    daemon, export = stage.daemon, stage.export
    first = export / "P" / "A1" / "1.png"
    daemon.wait_until(lambda: any(line["event"] == "ready" for line in daemon.log()))

    # A pickle in place of an array, while its image waits for its batch.
    poisoned = stage.save("Q/A2/1.png", 30)
    touched = daemon.folder / "touched by a pickle"
    stage.until(poisoned, "segmented")
    handed = daemon.state / "handover" / f"{stage.row(poisoned)['id']}.npy"
    handed.write_bytes(pickle.dumps(Payload(touched)))

    # A slow writer, a file renamed into place, and one that does not live to be read.
    image = stage.save("P/C1/.drawn.png", 50).read_bytes()
    slow = export / "P" / "C1" / "slow.png"
    slowly(slow, image, 2 * SETTLE)
    renamed = export / "P" / "C1" / "renamed.png"
    stage.save("P/C1/renamed.png.part", 42, format="PNG").rename(renamed)
    gone = stage.save("P/C1/gone.png", 44)
    stage.until(gone, "waiting")
    gone.unlink()

    # New content under a name that has been measured.
    stage.until(first.with_name("2.png"), "measured")
    replaced = export / "Q" / "A1" / "16.tif"
    stage.until(replaced, "measured")
    tifffile.imwrite(replaced, well(70).astype(np.uint16) * 20)
    before = contents(export)
    stage.until(replaced, "measured", version=2)
    for path in (slow, renamed, first):
        stage.until(path, "measured")
    stage.until(poisoned, "failed")
    stage.until(export / "P" / "A1" / "bomb.png", "failed")
    daemon.wait_until(lambda: not daemon.rows(UNFINISHED))
    process = psutil.Process(daemon.process.pid) if daemon.process else None
    assert process is not None
    assert process.memory_info().rss < 1.5e9
    assert daemon.end() == 0

    assert contents(export) == before, "the instrument's files are as they were"
    assert not touched.exists()


UNFINISHED = "SELECT 1 FROM images WHERE state IN ('waiting', 'ready', 'segmented')"


def steps(stage: Stage, path: Path) -> list[str]:
    return [
        row["to_state"]
        for row in stage.daemon.rows(
            f"SELECT to_state FROM transitions WHERE image_id = {stage.row(path)['id']} ORDER BY id"
        )
    ]


def test_the_slow_file_was_read_once_and_whole(stage: Stage) -> None:
    slow = stage.export / "P" / "C1" / "slow.png"
    assert steps(stage, slow) == ["waiting", "ready", "segmented", "measured"]
    assert stage.row(slow)["sha256"] == hashlib.sha256(slow.read_bytes()).hexdigest()


def test_the_renamed_file_was_seen_once(stage: Stage) -> None:
    assert steps(stage, stage.export / "P/C1/renamed.png")[-1] == "measured"
    paths = {row["path"] for row in stage.daemon.rows("SELECT path FROM images")}
    assert not [path for path in paths if path.endswith((".part", ".drawn.png"))]


def test_the_deleted_file_is_closed_with_its_reason(stage: Stage) -> None:
    row = stage.row(stage.export / "P/C1/gone.png")
    assert (row["state"], row["reason"]) == ("superseded", "gone before it was read")


def test_both_names_of_a_hard_link_are_measured_once_each(stage: Stage) -> None:
    rows = stage.daemon.rows(
        "SELECT path, count(*) AS n, min(area_px) AS low, max(area_px) AS high FROM measurements"
        " JOIN images ON images.id = image_id WHERE plate = 'P' AND well IN ('A1', 'B7')"
        " GROUP BY path ORDER BY path"
    )
    assert [Path(row["path"]).relative_to(stage.export).as_posix() for row in rows] == [
        "P/A1/1.png",
        "P/A1/2.png",
        "P/B7/1.png",
    ]
    assert {row["n"] for row in rows} == {1}
    assert rows[0]["low"] == rows[2]["high"] == pytest.approx(np.pi * 40**2, rel=0.1)


def test_new_content_has_a_result_of_its_own_and_the_old_one_stays(stage: Stage) -> None:
    path = to_stored(str(stage.export / "Q" / "A1" / "16.tif"))
    areas = stage.daemon.rows(
        "SELECT images.version, state, area_px FROM images JOIN measurements"
        " ON image_id = images.id WHERE well = 'A1' AND plate = 'Q' ORDER BY images.version"
    )
    assert [(row["version"], row["state"]) for row in areas] == [(1, "superseded"), (2, "measured")]
    for row, radius in zip(areas, (45, 70), strict=True):
        assert row["area_px"] == pytest.approx(np.pi * radius**2, rel=0.1)
    [current] = [line for line in stage.daemon.exported() if line["image_path"] == path]
    assert float(current["area_px"]) == areas[1]["area_px"]


def test_a_pickle_in_the_handover_fails_its_image_and_runs_nowhere(stage: Stage) -> None:
    row = stage.row(stage.export / "Q" / "A2" / "1.png")
    assert row["state"] == "failed"
    assert "allow_pickle=False" in str(row["reason"])
    assert row["next_try_at"] is not None
    others = stage.daemon.rows("SELECT state FROM images WHERE plate LIKE 'odd%'")
    assert {other["state"] for other in others} == {"measured"}, "they were in the same daemon"


def test_the_bomb_is_set_aside_with_the_limit(stage: Stage) -> None:
    row = stage.row(stage.export / "P" / "A1" / "bomb.png")
    assert "the limit is 120 megapixels" in str(row["reason"])
    assert row["next_try_at"] is None


def test_odd_names_get_as_far_as_their_pictures(stage: Stage) -> None:
    rows = stage.daemon.rows(
        "SELECT path, plate, well, outline_path FROM images"
        " JOIN measurements ON image_id = images.id WHERE plate LIKE 'odd%'"
    )
    assert len(rows) == len(ODD)
    root = stage.daemon.state.resolve()
    for row in rows:
        assert Path(to_real(row["path"])).is_file()
        picture = (root / row["outline_path"]).resolve()
        assert picture.is_relative_to(root / "images")
        assert picture.is_file()


def test_links_pipes_and_devices_were_left_alone(stage: Stage) -> None:
    assert not stage.through.is_set(), "nobody has ever opened the pipe"
    known = [row["path"] for row in stage.daemon.rows("SELECT path FROM images")]
    assert not [path for path in known if "/links/" in path or "/special/" in path]
    assert not [path for path in known if path.startswith(str(stage.daemon.folder / "outside"))]


def test_check_says_of_each_why_it_is_not_used(stage: Stage) -> None:
    told = stage.daemon.command("check", "--names").stdout
    lines = [line for line in told.splitlines() if line.startswith("not used: ")]
    for name in ("file.png", "out.png", "loop", "outside"):
        assert [line for line in lines if f"links/{name}" in line and "symbolic link" in line], name
    for path in stage.fifo.parent.iterdir():
        assert [line for line in lines if path.name in line and "regular file" in line]
    assert not stage.through.is_set()


def test_nothing_was_left_and_nothing_is_outside_the_state_folder(stage: Stage) -> None:
    folder = stage.daemon.folder
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "daemon.log", "export", "outside", "state",
    }  # fmt: skip
    left = [path for path in stage.daemon.state.rglob("*") if path.name.endswith(".part")]
    assert left == []
    failed = stage.row(stage.export / "Q" / "A2" / "1.png")["id"]
    assert [path.name for path in (stage.daemon.state / "handover").iterdir()] == [f"{failed}.npy"]


def test_the_pipe_had_a_writer_all_the_time(stage: Stage) -> None:
    """Else the tests above prove nothing: as soon as one reads, the writer goes on."""
    with pytest.raises(OSError) as caught:
        os.open(stage.fifo, os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO, "no reader"
    reading = os.open(stage.fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert stage.through.wait(20)
    finally:
        os.close(reading)
