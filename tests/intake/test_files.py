"""Files that misbehave, each misbehaving for real; the clock alone is invented."""

import io
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image as Pillow
from watched import NOW, PATTERN, Bench

from spheroidd.errors import ImageError
from spheroidd.intake.dryrun import preview
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import NamePattern
from spheroidd.intake.original import read_original
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import BACK_OFF
from spheroidd.store.paths import to_real, to_stored

NOISE = np.random.default_rng(7).integers(1, 255, (200, 300), dtype=np.uint8)
Make = Callable[..., Bench]


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "tif":
        tifffile.imwrite(stream, NOISE)
    elif kind == "lzw.tif":
        tifffile.imwrite(stream, NOISE, compression="lzw")
    else:
        Pillow.fromarray(NOISE).save(stream, {"jpg": "JPEG", "png": "PNG"}[kind])
    return stream.getvalue()


def well_of(bench: Bench) -> Path:
    folder = bench.root / "P" / "A1"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def history(bench: Bench) -> list[tuple[str | None, str]]:
    rows = bench.database.rows("SELECT from_state, to_state FROM transitions ORDER BY id")
    return [(row["from_state"], row["to_state"]) for row in rows]


def retried(bench: Bench) -> None:
    """The longest back-off passes, and what is due is tried again."""
    bench.clock += BACK_OFF[-1]
    bench.ledger.retry_due(NOW + bench.clock)
    bench.pass_time(1)
    bench.pass_time(6)


# -- writers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "lzw.tif"])
def test_a_slow_writer_is_waited_for_and_read_once(bench: Make, kind: str) -> None:
    b = bench()
    whole = encoded(kind)
    path = well_of(b) / f"1.{kind}"
    with path.open("wb") as file:
        for start in range(0, len(whole), len(whole) // 9 + 1):
            file.write(whole[start : start + len(whole) // 9 + 1])
            file.flush()
            b.pass_time(4, scan=start % 2 == 0)  # settle_seconds is 5, all takes 36
            assert [row["state"] for row in b.rows()] == ["waiting"]
    b.pass_time(1)
    b.pass_time(6)
    assert history(b) == [(None, "waiting"), ("waiting", "ready")]
    assert b.rows()[0]["size"] == len(whole)


def test_a_writer_that_pauses_for_longer_than_files_settle_loses_nothing(bench: Make) -> None:
    b = bench()
    whole = encoded("jpg")
    path = well_of(b) / "1.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    b.arrive()
    [row] = b.rows()
    assert (row["state"], "cut short" in row["reason"]) == ("failed", True)
    assert row["next_try_at"] is not None
    with path.open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    b.arrive()
    assert [row["state"] for row in b.rows()] == ["ready"]


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "lzw.tif"])
@pytest.mark.parametrize("filled", [0.0, 0.6])
def test_reserved_space_is_not_an_image_until_it_is_filled(
    bench: Make, kind: str, filled: float
) -> None:
    """Filled through a memory map, say: neither size nor date ever changes again."""
    b = bench()
    whole = encoded(kind)
    begun = int(len(whole) * filled)
    path = well_of(b) / f"1.{kind}"
    path.write_bytes(whole[:begun] + bytes(len(whole) - begun))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    b.arrive()
    [row] = b.rows()
    assert row["state"] == "failed", row["reason"]
    path.write_bytes(whole)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    retried(b)
    assert [row["state"] for row in b.rows()] == ["ready"]
    [image] = b.ledger.claim("ready", NOW)
    assert read_original(b.ledger, image).shape == NOISE.shape


def test_an_old_date_is_no_sign_of_completeness(bench: Make) -> None:
    b = bench()
    whole = encoded("png")
    path = well_of(b) / "1.png"
    for share in (3, 2, 1):
        path.write_bytes(whole[: len(whole) // share])
        os.utime(path, (978_307_200, 978_307_200))  # 2001, as a copying program keeps it
        b.pass_time(4, scan=True)
        assert [row["state"] for row in b.rows()] == ["waiting"]
    b.pass_time(6)
    [row] = b.rows()
    assert row["state"] == "ready"
    assert row["captured_at"].startswith("2001-01-01")


@pytest.mark.parametrize("name", ["P/A1/1.png.part", "P/A1/.1.png.x7Gh", "elsewhere/1.png"])
def test_a_file_renamed_into_place_is_seen_by_its_event(
    tmp_path: Path, captured_log: Any, name: str
) -> None:
    final = tmp_path / "export" / "P" / "A1" / "1.png"
    final.parent.mkdir(parents=True)
    b = Bench(tmp_path, captured_log[0], observer="native", settle_seconds=0.2)
    try:
        b.pass_time(60, scan=True)  # and none from now on: it would only be due in minutes
        place = tmp_path if name.startswith("elsewhere") else b.root
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(encoded("png"))
        b.pass_time(1)
        assert b.rows() == []
        (place / name).rename(final)
        wait_for(lambda: bool(b.rows()), lambda: b.pass_time(0.1))
        b.pass_time(1)
        b.pass_time(1)
        assert [(row["path"], row["state"]) for row in b.rows()] == [(str(final), "ready")]
    finally:
        b.intake.stop()
        b.database.close()


def test_a_file_renamed_over_another_is_a_new_version(bench: Make) -> None:
    b = bench()
    path = b.picture("P/A1/1.png", seed=1)
    b.arrive()
    [image] = b.ledger.claim("ready", NOW)
    new = b.picture("P/A1/1.png.part.png", seed=2)
    date = path.stat().st_mtime_ns
    os.utime(new, ns=(date, date))  # noise of one size: the size may be the same too
    new.rename(path)
    if path.stat().st_size == image.size:
        os.utime(path, ns=(date + 1, date + 1))
    b.arrive()
    b.arrive()
    rows = [row for row in b.rows() if row["path"] == str(path)]
    assert [(row["version"], row["state"]) for row in rows] == [(1, "superseded"), (2, "ready")]
    with pytest.raises(ImageError, match="changed since"):
        read_original(b.ledger, image)


def test_a_file_deleted_between_the_last_look_and_the_reading(bench: Make) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    b.picture("P/A1/2.png", seed=2)
    b.pass_time(1, scan=True)
    b.clock += 6
    assert b.intake.step(NOW + b.clock)  # both are quiet: to be read next
    assert b.ledger.counts()["waiting"] == 2
    path.unlink()
    b.step_all()
    states = {row["name"] or Path(row["path"]).name: row for row in b.rows()}
    assert states["2.png"]["state"] == "ready"
    assert "deleted before it was read" in states["1.png"]["reason"]
    b.pass_time(1, scan=True)
    [row] = [row for row in b.rows() if row["path"] == str(path)]
    assert (row["state"], row["reason"]) == ("superseded", "gone before it was read")


# -- crowds ----------------------------------------------------------------------------------

CROWD = 10_000


def crowd(bench: Bench) -> None:
    content = encoded("png")[:400]
    for well in range(100):
        folder = bench.root / "P" / f"W{well}"
        folder.mkdir(parents=True)
        for frame in range(CROWD // 100):
            (folder / f"d{frame}.png").write_bytes(content)


def test_ten_thousand_at_once_are_all_seen_by_a_scan(bench: Make) -> None:
    b = bench()
    crowd(b)
    process = psutil.Process()
    before, began = process.memory_info().rss, time.monotonic()
    b.intake.rescan()
    assert b.intake.step(NOW)
    b.intake.step(NOW)  # a look at what waits
    assert time.monotonic() - began < 60
    assert process.memory_info().rss - before < 150e6
    paths = {row["path"] for row in b.rows("path")}
    assert paths == {str(path) for path in b.root.rglob("*.png")}
    assert len(b.rows("path")) == CROWD
    b.intake.rescan()
    b.step_all()
    assert len(b.rows("path")) == CROWD, "seen once"


# watchdog says so, to no harm, where a folder appears while it looks through the one above.
@pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")
def test_ten_thousand_events_lose_nothing_and_take_bounded_memory(bench: Make) -> None:
    """They come while nobody looks, from the kernel itself, and no scan is due."""
    b = bench(observer="native", scan_seconds=1e9)
    process = psutil.Process()
    before = process.memory_info().rss
    crowd(b)
    expected = {str(path) for path in b.root.rglob("*.png")}

    def all_seen() -> bool:
        return {row["path"] for row in b.rows("path")} == expected

    def look() -> None:
        b.clock += 0.5
        for _ in range(20):
            b.intake.step(NOW)

    wait_for(all_seen, look, 60)
    assert len(b.rows("path")) == CROWD
    assert process.memory_info().rss - before < 200e6


# -- names of other kinds ----------------------------------------------------------------------


def test_hard_links_are_images_of_their_own(bench: Make) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    for name in ("P/A1/2.png", "P/B7/1.png"):
        (b.root / name).parent.mkdir(exist_ok=True)
        os.link(path, b.root / name)
    b.arrive()
    b.arrive()
    rows = b.rows()
    assert {(row["well"], row["name"], row["state"]) for row in rows} == {
        ("A1", "1.png", "ready"),
        ("A1", "2.png", "ready"),
        ("B7", "1.png", "ready"),
    }
    assert (len(rows), len({row["sha256"] for row in rows})) == (3, 1)


@pytest.fixture
def links(bench: Make, tmp_path: Path) -> Bench:
    """A folder with an image of its own, and links to files, folders, itself and the outside."""
    b = bench(observer="polling", poll_seconds=0.1, settle_seconds=0.1)
    path = b.picture("P/A1/1.png")
    outside = tmp_path / "outside" / "P" / "A1"
    outside.mkdir(parents=True)
    shutil.copy(path, outside / "9.png")
    (b.root / "P/A1/2.png").symlink_to(path)
    (b.root / "P/A1/3.png").symlink_to(outside / "9.png")
    (b.root / "P/A1/4.png").symlink_to("4.png")
    (b.root / "P/A1/5.png").symlink_to("nowhere.png")
    (b.root / "P/A2").symlink_to(b.root / "P/A1")
    (b.root / "P/loop").symlink_to(b.root)
    (b.root / "P/A1/up").symlink_to("..")
    (b.root / "out").symlink_to(tmp_path / "outside")
    (b.root / "everything").symlink_to("/")
    return b


def test_links_are_never_followed(links: Bench) -> None:
    for _ in range(5):
        time.sleep(0.15)  # the observer polls too, and may say what it likes
        links.pass_time(1, scan=True)
    assert [row["path"] for row in links.rows()] == [str(links.root / "P/A1/1.png")]
    assert links.intake.degraded == ""


def test_a_dry_run_says_of_each_link_why_it_is_refused(links: Bench) -> None:
    outcomes = {outcome.path: outcome.reason for outcome in preview(folder_of(links.root))}
    assert outcomes.pop("P/A1/1.png") == ""
    assert set(outcomes) == {
        "P/A1/2.png", "P/A1/3.png", "P/A1/4.png", "P/A1/5.png", "P/A2", "P/loop", "P/A1/up",
        "out", "everything",
    }  # fmt: skip
    assert all("symbolic link" in reason for reason in outcomes.values())


def test_a_file_that_becomes_a_link_is_not_read_through_it(bench: Make, tmp_path: Path) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    shutil.copy(path, tmp_path / "outside.png")
    b.pass_time(1, scan=True)
    b.clock += 6
    b.intake.step(NOW + b.clock)
    path.unlink()
    path.symlink_to(tmp_path / "outside.png")
    b.step_all()
    assert "Symbolic links are not followed" in b.rows()[0]["reason"]


def folder_of(root: Path) -> Folder:
    return Folder(
        root, NamePattern(PATTERN), ("jpg", "png", "tif"), "polling", 5, 60, 300, None, UTC, None
    )


OPENED = """
import json, os, sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, told: opened.append(os.fsdecode(told[0]))
                 if event == "open" and isinstance(told[0], (str, bytes)) else None)
sys.path.insert(0, {tests!r})
from test_files import folder_of
from spheroidd.errors import ImageError
from spheroidd.intake.dryrun import preview
from spheroidd.intake.imagefile import read_image
root = Path({root!r})
outcomes = {{outcome.path: outcome.reason for outcome in preview(folder_of(root))}}
for path in sorted(root.rglob("*.png")):
    try:
        read_image(str(path))
    except ImageError as error:
        outcomes[f"read {{path.name}}"] = str(error)
print(json.dumps([outcomes, [path for path in opened if path.startswith(str(root))]]))
"""


def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    """The interpreter itself tells of every file that is opened."""
    root = tmp_path / "export"
    well = root / "P" / "A1"
    well.mkdir(parents=True)
    Pillow.fromarray(NOISE).save(well / "good.png")
    special = {"pipe.png", "socket.png"}
    os.mkfifo(well / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(well / "socket.png"))
        if os.geteuid() == 0:
            for name, kind, device in (
                ("zero.png", stat.S_IFCHR, os.makedev(1, 5)),
                ("watchdog.png", stat.S_IFCHR, os.makedev(10, 130)),  # opening one arms it
                ("loop.png", stat.S_IFBLK, os.makedev(7, 0)),
            ):
                try:
                    os.mknod(well / name, kind | 0o600, device)
                except PermissionError:
                    continue  # a container that may not
                special.add(name)
        script = OPENED.format(tests=str(Path(__file__).parent), root=str(root))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True, text=True, timeout=60, check=True, env=environment,
        )  # fmt: skip
    outcomes, opened = json.loads(done.stdout)
    assert set(opened) - {str(folder) for folder in (root, root / "P", well)} == {
        str(well / "good.png")
    }
    for name in special:
        assert "not a regular file" in outcomes[f"P/A1/{name}"]
        assert "not a regular file" in outcomes[f"read {name}"]


def test_a_file_that_becomes_a_pipe_lets_no_writer_go(bench: Make) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    b.pass_time(1, scan=True)
    path.unlink()
    os.mkfifo(path)
    through = threading.Event()

    def write() -> None:
        descriptor = os.open(path, os.O_WRONLY)  # returns when somebody opens it for reading
        through.set()
        os.close(descriptor)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        b.pass_time(1)
        b.pass_time(6)
        assert "not a regular file" in b.rows()[0]["reason"]
        b.arrive()
        assert not through.wait(0.3)
    finally:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        writer.join(10)


ODD_NAMES = [
    b"new\nline", b"\xff\xfe\x80", b"x" * 251, "é".encode() * 125 + b"x", b"%2e%2e%2f..%2fetc",
    b"-rf", b"--config=x", "🧫🔬".encode(), "\u202egnp.1A".encode(), b" leading", b"trailing .",
    b"'\"`$(touch x);&|", b"\\", b"%s%n{0}", "\uf7ff\uf780".encode(), b"\x1b[31mred", b"a,b\tc",
    b"\xed\xa0\x80", b"CON", b"~root",
]  # fmt: skip


def test_any_name_is_taken_in_and_kept_byte_by_byte(bench: Make, tmp_path: Path) -> None:
    b = bench()
    content = encoded("png")
    root = os.fsencode(b.root)
    names = [name + b"/" + name + b"/" + name + b".png" for name in ODD_NAMES]
    for name in names:
        os.makedirs(os.path.dirname(root + b"/" + name), exist_ok=True)  # noqa: PTH103, PTH120
        with open(root + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(content)
    b.arrive()
    rows = b.rows()
    assert {row["state"] for row in rows} == {"ready"}, [r["reason"] for r in rows]
    assert {os.fsencode(to_real(row["path"])) for row in rows} == {
        root + b"/" + name for name in names
    }
    state = StateFolder(tmp_path / "state")
    for image in b.ledger.claim("ready", NOW, limit=len(names)):
        assert read_original(b.ledger, image).shape == NOISE.shape
        picture = state.root / state.image(image.plate, image.well, image.name, image.id, "mask")
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.with_name(f".{picture.name}.{os.getpid()}.part").touch()
        assert picture.resolve().is_relative_to(state.root.resolve() / "images")
    outcomes = list(preview(folder_of(b.root)))
    assert len(outcomes) == len(names)
    assert all(outcome.path.isprintable() and not outcome.reason for outcome in outcomes)


def test_a_private_character_in_a_name_is_not_taken_for_a_stray_byte() -> None:
    both = ["\uf7ff.png", "\udcff.png"]
    assert len({to_stored(name) for name in both}) == 2
    assert [os.fsencode(to_real(to_stored(name))) for name in both] == [
        "\uf7ff.png".encode(),
        b"\xff.png",
    ]


# -- large ones --------------------------------------------------------------------------------


def test_a_27_megapixel_tiff_of_16_bits_goes_through(bench: Make) -> None:
    b = bench()
    counts = np.tile((NOISE.astype(np.uint16) + 900)[:100], (43, 22))[:, :6300]
    tifffile.imwrite(well_of(b) / "1.tif", counts, compression="lzw")
    b.arrive()
    [row] = b.rows()
    assert (row["state"], row["width"], row["height"], row["bit_depth"]) == (
        "ready", 6300, 4300, 16,
    )  # fmt: skip
    [image] = b.ledger.claim("ready", NOW)
    pixels = read_original(b.ledger, image)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (4300, 6300))
    assert pixels.max() - pixels.min() > 20


# -- time ----------------------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")
CHANGES = {
    "spring": datetime(2024, 3, 30, 23, 10, tzinfo=UTC),
    "autumn": datetime(2024, 10, 26, 23, 10, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("change", "late"),
    [("spring", 3.0), ("spring", 1800.0), ("spring", 9e6), ("autumn", 3.0), ("autumn", 1800.0)],
)
def test_hours_go_on_evenly_over_both_changes_of_the_clock(
    bench: Make, change: str, late: float
) -> None:
    """Every 40 minutes, named with the wall clock and without a zone; written so much later."""
    b = bench(pattern=NamePattern("incucyte"), timezone=BERLIN)
    moments = [CHANGES[change] + timedelta(minutes=40) * step for step in range(7)]
    for moment in moments:
        wall = moment.astimezone(BERLIN)
        path = b.picture(f"x/P_A1_1_{wall:%Yy%mm%dd_%Hh%Mm}.png")
        os.utime(path, (moment.timestamp() + late,) * 2)
    b.arrive()
    rows = sorted(b.rows(), key=lambda row: row["time_key"])
    assert [datetime.fromisoformat(row["captured_at"]) for row in rows] == moments
    assert {row["captured_from"] for row in rows} == {"name"}


def test_the_hour_that_comes_twice_is_told_apart_in_metadata_too(bench: Make) -> None:
    b = bench(timezone=BERLIN)
    for frame, moment in enumerate(datetime(2024, 10, 27, hour, 30, tzinfo=UTC) for hour in (0, 1)):
        path = well_of(b) / f"{frame}.tif"
        wall = moment.astimezone(BERLIN).replace(tzinfo=None)
        assert wall.hour == 2
        tifffile.imwrite(path, NOISE + frame, datetime=wall)
        os.utime(path, (moment.timestamp() + 20,) * 2)
    b.arrive()
    assert [(row["captured_at"][11:16], row["captured_from"]) for row in b.rows()] == [
        ("00:30", "metadata"),
        ("01:30", "metadata"),
    ]


def wait_for(
    condition: Callable[[], bool], meanwhile: Callable[[], None], seconds: float = 20
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        meanwhile()
        time.sleep(0.02)
