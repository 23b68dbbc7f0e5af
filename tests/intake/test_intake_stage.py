"""Files as they really arrive, stepped by hand with an invented clock."""

import os
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from watched import NOW, Bench

from spheroidd.errors import ImageError
from spheroidd.intake.original import read_original
from spheroidd.store.paths import to_stored


def test_nothing_is_taken_in_before_it_is_quiet(bench: Any) -> None:
    b = bench()
    path = b.picture("P/A1/A1_011.png")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    b.pass_time(1, scan=True)
    b.pass_time(4)
    path.write_bytes(whole)  # the instrument goes on writing
    b.pass_time(2)
    assert b.ledger.counts()["waiting"] == 1
    b.pass_time(6)
    [row] = b.rows()
    assert (row["state"], row["plate"], row["well"], row["name"], row["timepoint"]) == (
        "ready",
        "P",
        "A1",
        "A1_011.png",
        11,
    )
    assert (row["width"], row["height"], row["bit_depth"]) == (60, 40, 8)
    assert row["captured_from"] == "mtime"
    assert row["time_key"] == "frame 000000000011"


def test_damaged_files_fail_with_a_reason_and_the_rest_goes_on(bench: Any) -> None:
    b = bench()
    good = b.picture("P/A1/1.jpg")
    bad = {
        "truncated.jpg": good.read_bytes()[:-300],
        "zero tail.jpg": good.read_bytes()[:-300] + bytes(300),
        "empty.jpg": b"",
        "text.jpg": b"Dear colleague, please find attached the images.",
    }
    for name, content in bad.items():
        (b.root / "P" / "A1" / name).write_bytes(content)
    (b.root / "P" / "A1" / "folder.jpg").mkdir()
    (b.root / "nameless.jpg").write_bytes(good.read_bytes())
    b.arrive()
    states = {Path(row["path"]).name: row for row in b.rows()}
    assert states["1.jpg"]["state"] == "ready"
    for name in bad:
        assert states[name]["state"] == "failed", name
        assert states[name]["next_try_at"] is not None
        assert len(states[name]["reason"]) > 20
    nameless = states["nameless.jpg"]
    assert nameless["state"] == "failed"
    assert "check --names" in nameless["reason"]
    assert "folder.jpg" not in states


def test_a_file_that_is_mended_is_looked_at_afresh(bench: Any) -> None:
    b = bench()
    path = b.picture("P/A1/1.jpg")
    whole = path.read_bytes()
    path.write_bytes(whole[:-200] + bytes(200))
    b.arrive()
    assert b.rows()[0]["state"] == "failed"
    path.write_bytes(whole)
    os.utime(path, (1, 1))
    b.arrive()
    [row] = b.rows()
    assert (row["state"], row["attempts"], row["reason"]) == ("ready", 0, None)


def test_new_content_is_a_new_version_and_a_touch_is_not(bench: Any) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    b.arrive()
    os.utime(path, (5, 5))
    b.arrive()
    assert [row["state"] for row in b.rows()] == ["ready", "superseded"]
    b.arrive()
    assert len(b.rows()) == 2  # seen once, not at every scan
    b.picture("P/A1/1.png", seed=1)
    b.arrive()
    assert [(row["version"], row["state"]) for row in b.rows()] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "ready"),
    ]


def test_content_that_changes_after_it_was_taken_in_is_not_measured(bench: Any) -> None:
    b = bench()
    b.picture("P/A1/1.png")
    b.arrive()
    [image] = b.ledger.claim("ready", NOW)
    assert read_original(b.ledger, image).shape == (40, 60)
    b.picture("P/A1/1.png", seed=1)
    with pytest.raises(ImageError, match="changed"):
        read_original(b.ledger, image)


def test_a_missing_folder_is_degraded_and_heals(bench: Any, captured_log: Any) -> None:
    b = bench()
    b.picture("P/A1/1.png")
    b.pass_time(1, scan=True)
    shutil.move(b.root, b.root.with_name("away"))
    b.pass_time(6, scan=True)
    assert b.rows()[0]["state"] == "waiting"  # nothing is lost because a mount is gone
    [folder] = b.database.rows("SELECT * FROM folders")
    assert folder["health"] == "degraded"
    assert "No such file" in folder["reason"]
    assert [e for e in captured_log[1] if e["event"] == "folder degraded"]
    shutil.move(b.root.with_name("away"), b.root)
    b.arrive()
    b.pass_time(6)
    assert b.rows()[0]["state"] == "ready"
    assert b.database.rows("SELECT health FROM folders") == [{"health": "ok"}]


def test_a_file_deleted_before_it_is_read_is_recorded_and_may_come_back(
    bench: Any, captured_log: Any
) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    b.picture("P/A1/2.png", seed=2)
    content = path.read_bytes()
    b.pass_time(1, scan=True)
    path.unlink()
    b.arrive()
    states = {Path(row["path"]).name: (row["state"], row["reason"]) for row in b.rows()}
    assert states["1.png"] == ("superseded", "gone before it was read")
    assert [e for e in captured_log[1] if e["event"] == "image gone before it was read"]
    path.write_bytes(content)
    b.arrive()
    assert b.ledger.counts()["ready"] == 2


def test_an_empty_mount_point_is_no_reason_to_give_up(bench: Any) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    b.pass_time(1, scan=True)
    shutil.move(b.root / "P", b.root.with_name("away"))
    for _ in range(5):
        b.pass_time(3600, scan=True)
    assert "empty, though 1 images" in b.intake.degraded
    assert b.ledger.counts()["waiting"] == 1
    shutil.move(b.root.with_name("away"), b.root / "P")
    assert path.exists()
    b.arrive()
    assert b.ledger.counts()["ready"] == 1
    assert b.intake.degraded == ""


def test_a_date_that_no_database_holds_stops_nobody(bench: Any) -> None:
    b = bench()
    odd = b.picture("P/A1/1.png")
    b.picture("P/A1/2.png", seed=2)
    os.utime(odd, (10_400_000_000, 10_400_000_000))  # the year 2299
    b.arrive()
    states = {Path(row["path"]).name: row["state"] for row in b.rows()}
    assert states["2.png"] == "ready"
    assert states["1.png"] in ("ready", "failed")


def test_a_scan_that_crashes_is_no_scan(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    b.picture("P/A1/1.png")

    def crash(*_: Any) -> None:
        raise OverflowError("a bug nobody foresaw")

    with monkeypatch.context() as patch:
        patch.setattr(b.ledger, "arrive", crash)
        number = b.intake.rescan()
        with pytest.raises(OverflowError):
            b.step_all()
        assert b.intake.scanned(number)
        assert "nobody foresaw" in b.intake.degraded
    b.pass_time(6)
    b.pass_time(6)
    assert b.ledger.counts()["ready"] == 1
    assert b.intake.degraded == ""


def test_a_decoder_that_chokes_fails_one_image(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    b.picture("P/A1/1.png")

    def choke(*_: Any) -> None:
        raise KeyError("deep inside a library")

    monkeypatch.setattr("spheroidd.intake.admitting.learn", choke)
    b.arrive()
    [row] = b.rows()
    assert row["state"] == "failed"
    assert "deep inside a library" in row["reason"]


def test_an_asked_for_scan_is_one_that_began_afterwards(bench: Any) -> None:
    b = bench()
    first = b.intake.rescan()
    b.step_all()
    assert b.intake.scanned(first)
    second = b.intake.rescan()
    assert not b.intake.scanned(second)
    b.step_all()
    assert b.intake.scanned(second)


def test_text_files_beside_the_images_cause_no_scans(tmp_path: Path, captured_log: Any) -> None:
    b = Bench(tmp_path, captured_log[0], observer="native")
    try:
        (b.root / "P").mkdir()
        time.sleep(0.3)
        b.pass_time(60, scan=True)
        scans = b.database.rows("SELECT scanned_at FROM folders")
        for number in range(20):
            (b.root / "P" / f"{number}.txt").write_text("x")
        time.sleep(0.5)
        b.pass_time(30)
        assert b.database.rows("SELECT scanned_at FROM folders") == scans
    finally:
        b.intake.stop()
        b.database.close()


def test_odd_names_get_through(bench: Any) -> None:
    b = bench()
    names = ["my, plate (é)/A 1/im 'a' \"b\".png", "new\nline/A1/1.png", "P/A1/\udcff\udcfe.png"]
    for name in names:
        b.picture(name)
    b.arrive()
    rows = b.rows()
    assert {row["state"] for row in rows} == {"ready"}
    assert {row["path"] for row in rows} == {to_stored(str(b.root / name)) for name in names}
    assert {row["plate"] for row in rows} == {"my, plate (é)", "new\nline", "P"}
    for image in b.ledger.claim("ready", NOW, limit=9):
        assert read_original(b.ledger, image).shape == (40, 60)


def test_a_backlog_is_taken_in_natural_order(bench: Any) -> None:
    b = bench()
    for number in (10, 2, 1, 33):
        b.picture(f"P/A1/d{number}.png", seed=number)
    b.arrive()
    assert [row["name"] for row in b.rows()] == ["d1.png", "d2.png", "d10.png", "d33.png"]


def test_frame_numbers_and_the_interval_give_the_time(bench: Any) -> None:
    b = bench(interval_minutes=90.0)
    for number in (0, 1, 10):
        b.picture(f"P/A1/f{number}.png", seed=number)
    b.arrive()
    times = [datetime.fromisoformat(row["captured_at"]) for row in b.rows()]
    assert [(t - times[0]).total_seconds() / 60 for t in times] == [0, 90, 900]
    assert {row["captured_from"] for row in b.rows()} == {"interval"}


def test_16_bit_is_scaled_alike_on_a_whole_plate(bench: Any) -> None:
    b = bench()
    folder = b.root / "P" / "A1"
    folder.mkdir(parents=True)
    base = np.random.default_rng(0).integers(1000, 3000, (40, 60)).astype(np.uint16)
    tifffile.imwrite(folder / "1.tif", base, compression="lzw")
    tifffile.imwrite(folder / "2.tif", (base // 2).astype(np.uint16))
    b.arrive()
    one, two = (read_original(b.ledger, image) for image in b.ledger.claim("ready", NOW, limit=2))
    assert one.dtype == two.dtype == np.uint8
    assert int(one.max()) - int(one.min()) > 100  # contrast is kept
    assert one.mean() > two.mean() + 20  # a darker image stays darker


def test_the_instruments_files_are_untouched(bench: Any) -> None:
    b = bench()
    path = b.picture("P/A1/1.png")
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
    b.arrive()
    for image in b.ledger.claim("ready", NOW):
        read_original(b.ledger, image)
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) == before
    assert sorted(p.name for p in b.root.rglob("*")) == ["1.png", "A1", "P"]
