"""How the simulated instrument writes its files, and the truth beside them."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spheroidd.errors import SpheroiddError
from spheroidd.simulator import (
    KINDS,
    Instrument,
    Plate,
    Well,
    demo_plan,
    mixed_plates,
    plan,
    read_truth,
    render,
    shoot,
    survey,
)

SMALL = (180, 320)
PATH = re.compile(r"\d{8} - SIM\d\d 3D \(\w+\)/(?P<well>[A-H]\d+)/(?P=well)_\d{3}\.jpg")


def few(frames: int = 2, wells: int = 3):
    return plan(mixed_plates(1, wells, seed=4), frames, size=SMALL)


def quick(to: Path, shots) -> Instrument:
    return Instrument(to, shots, interval_seconds=0, pause_seconds=0)


def test_plan_goes_round_by_round_and_repeats_itself():
    shots = plan(mixed_plates(2, 3, seed=4), 2, hours_per_frame=6.0)
    assert [shot.frame for shot in shots] == [0] * 6 + [1] * 6
    assert {shot.hours for shot in shots} == {0.0, 6.0}
    assert shots == plan(mixed_plates(2, 3, seed=4), 2, hours_per_frame=6.0)
    assert len({shot.path for shot in shots}) == len(shots)


def test_demo_has_a_growing_and_a_treated_plate_and_one_empty_well():
    shots = demo_plan(seed=1)
    plates = list(dict.fromkeys(shot.plate for shot in shots))
    kinds = [{s.kind for s in shots if s.plate == plate} for plate in plates]
    assert {"growing", "control"} <= kinds[0]
    assert {"treated", "dying", "precipitate", "empty"} <= kinds[1]
    assert len({(s.plate, s.well) for s in shots if s.kind == "empty"}) == 1
    assert len({(s.plate, s.well) for s in shots}) == 12


def test_names_are_the_instruments_and_hold_no_truth():
    for shot in demo_plan(seed=2):
        assert PATH.fullmatch(str(shot.path))
        assert not any(kind in str(shot.path).lower() for kind in KINDS)
    # The same place on the plate holds different kinds under different seeds.
    first = {seed: next(s.kind for s in demo_plan(seed) if s.well == "A1") for seed in range(8)}
    assert len(set(first.values())) > 1


def test_a_shot_is_a_gray_jpeg_and_its_area_is_the_masks():
    shot = few()[0]
    exposure = shoot(shot)
    assert exposure == shoot(shot)
    _, truth = render(shot.scene, shot.size)
    assert exposure.area_px == exposure.area_all_px == truth.sum()
    assert exposure.jpeg.startswith(b"\xff\xd8") and exposure.jpeg.endswith(b"\xff\xd9")


def test_truth_tells_the_main_spheroids_area_and_that_of_all(tmp_path):
    (shot,) = plan([Plate("p", (("A1", Well("several", 5)),))], 1, size=SMALL)
    _, labels = survey(shot.scene, shot.size)
    quick(tmp_path, [shot]).run(threading.Event())
    (row,) = read_truth(tmp_path / "truth.csv")
    assert (row.area_px, row.area_all_px) == ((labels == 1).sum(), (labels > 0).sum())
    assert row.area_all_px > 1.4 * row.area_px


def test_truth_table_agrees_with_a_recount(tmp_path):
    shots = few(frames=2, wells=6)
    heard = []
    written = quick(tmp_path, shots).run(threading.Event(), lambda *told: heard.append(told))
    rows = read_truth(tmp_path / "truth.csv")
    assert written == len(rows) == len(shots) == len(heard)
    for shot, row, (path, told) in zip(shots, rows, heard, strict=True):
        picture, truth = render(shot.scene, shot.size)
        assert (row.plate, row.well, row.timepoint) == (shot.plate, shot.well, shot.frame)
        assert (row.hours, row.kind, row.area_px) == (shot.hours, shot.kind, truth.sum())
        assert (row.area_px == 0) == (row.kind == "empty")
        assert told == row and path == tmp_path / row.image_path
        with Image.open(path) as image:
            assert image.mode == "L" and image.size == (320, 180)
            assert np.abs(np.asarray(image).astype(int) - picture).mean() < 3
    images = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")}
    assert images == {row.image_path for row in rows}
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["truth.csv"]


def test_a_watcher_sees_unfinished_files(tmp_path):
    shot = few()[0]
    size = len(shoot(shot).jpeg)
    instrument = Instrument(tmp_path, [shot], interval_seconds=0, pieces=5, pause_seconds=0.15)
    thread = threading.Thread(target=instrument.run, args=(threading.Event(),))
    thread.start()
    path, seen = tmp_path / shot.path, set()
    while thread.is_alive():
        if path.exists():
            seen.add(path.stat().st_size)
        thread.join(0.01)
    assert path.stat().st_size == size
    assert len({length for length in seen if 0 < length < size}) >= 2


def test_it_stops_promptly_and_leaves_no_half_file(tmp_path):
    stop = threading.Event()
    shots = few(frames=3)
    instrument = Instrument(tmp_path, shots, interval_seconds=60, pieces=4, pause_seconds=60)
    thread = threading.Thread(target=instrument.run, args=(stop,))
    thread.start()
    path = tmp_path / shots[0].path
    while not (path.exists() and path.stat().st_size):
        thread.join(0.01)
    asked = time.monotonic()
    stop.set()
    thread.join(10)
    assert not thread.is_alive() and time.monotonic() - asked < 5
    assert path.read_bytes() == shoot(shots[0]).jpeg
    assert len(read_truth(tmp_path / "truth.csv")) == 1


def test_a_stopped_instrument_goes_on_where_it_stopped(tmp_path):
    stop, shots = threading.Event(), few(frames=2)
    assert quick(tmp_path, shots).run(stop, lambda *_: stop.set()) == 1
    first = tmp_path / shots[0].path
    before = first.stat().st_mtime_ns
    assert quick(tmp_path, shots).run(threading.Event()) == len(shots) - 1
    assert first.stat().st_mtime_ns == before
    assert quick(tmp_path, shots).run(threading.Event()) == 0
    assert [row.image_path for row in read_truth(tmp_path / "truth.csv")] == [
        str(shot.path) for shot in shots
    ]


def test_pictures_keep_their_interval(tmp_path):
    shots = few(frames=1, wells=3)
    times = []
    instrument = Instrument(tmp_path, shots, interval_seconds=0.4, pause_seconds=0)
    instrument.run(threading.Event(), lambda *_: times.append(time.monotonic()))
    assert np.diff(times).mean() == pytest.approx(0.4, abs=0.2)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: plan([], 3),
        lambda: plan(mixed_plates(1, 1), 0),
        lambda: plan(mixed_plates(1, 1), 1, hours_per_frame=0),
        lambda: plan(mixed_plates(1, 1), 1, size=(60, 80)),
        lambda: mixed_plates(0, 1),
        lambda: mixed_plates(1, 97),
        lambda: Instrument(Path("unused"), [], pieces=0),
        lambda: Instrument(Path("unused"), [], interval_seconds=-1),
    ],
)
def test_nonsense_is_refused_with_a_hint(ask):
    with pytest.raises(SpheroiddError) as refused:
        ask()
    assert refused.value.hint


def test_ninety_six_wells_have_names_of_their_own():
    (plate,) = mixed_plates(1, 96)
    assert plate.wells[0][0] == "A1" and plate.wells[-1][0] == "H12"
    assert len({name for name, _ in plate.wells}) == 96


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    plates = [Plate("p", (("A1", Well("empty", 1)),))]
    with pytest.raises(SpheroiddError, match="Can't write"):
        quick(tmp_path / "taken" / "in", plan(plates, 1, size=SMALL)).run(threading.Event())


@pytest.mark.parametrize("content", ["plate,well\nA,B\n", None])
def test_what_is_no_truth_table_is_refused(tmp_path, content):
    path = tmp_path / "truth.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpheroiddError):
        read_truth(path)


def test_a_torn_row_names_its_line(tmp_path):
    quick(tmp_path, few(frames=1, wells=1)).run(threading.Event())
    path = tmp_path / "truth.csv"
    path.write_text(path.read_text() + "plate,A1,1\n")
    with pytest.raises(SpheroiddError, match="line 3"):
        read_truth(path)
