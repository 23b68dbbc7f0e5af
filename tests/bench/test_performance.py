"""Whether the performance benchmark runs, and whether it counts right on samples known before."""

import json
from pathlib import Path

import pytest
from PIL import Image

import performance
from peers import make
from performance_daemon import Setup, flood, live
from performance_images import plate_of
from performance_process import timed
from performance_report import BEGIN, END, markdown, record, spread, targets

SLOW, FAST = [2.0, 2.2, 1.8, 2.0], [0.8, 0.8, 0.9, 0.7]


def row(kind: str, name: str, seconds: list[float], base: list[float]) -> dict:
    ratios = [one / mine for one, mine in zip(base, seconds, strict=False)]
    return {"row": kind, "name": name, "seconds": seconds, "cpu": seconds, "against_a": ratios}


def result(**more) -> dict:
    return {
        "command": "python bench/performance.py",
        "machine": {
            "when": "2026-11-23T10:00:00+00:00",
            "cpu": "a CPU",
            "cpu_flags": ["avx2"],
            "cores": 2,
            "memory_gb": 24.0,
            "load_before": 0.1,
        },
        "versions": {"rembg": "2.0.86"},
        "model": {"name": "isnet", "md5": "0", "provider": "CPU"},
        "images": {"source": "frames, enlarged, 2048 × 1536", "count": 4, "plate": 96},
        "rows": {
            "a": row("a", "published script's steps", SLOW, SLOW),
            "stage": row("stage", "spheroidd, file to mask", FAST, SLOW),
            "stage-once": row("stage", "spheroidd, one look", [0.8] * 4, SLOW),
            "d-folder": row("d", "bare model", [0.7], [2.0]),
            "flood": row("stage", "the daemon's rate", [0.8], [2.0]),
        },
        "skipped": {"c": "there is no javac on this machine"},
        **more,
    }


def test_rows_are_held_against_their_targets():
    line = {
        "images": 96,
        "looks": 1.5,
        "modules_cpu": 0.4,
        "model_cpu": {"first": 1.4, "second": 0.4},
    }
    whole = result(
        line=line,
        live={"seconds": [1.0] * 28 + [1.5, 9.0], "model": 0.7},
        start={"first": 9.0, "ready": [4.0], "help_cpu": [0.3, 0.4, 0.5], "status_cpu": [0.6]},
    )
    whole["rows"] |= {
        "a+c": row("line", "a then c", [3.0, 3.2], SLOW),
        "line": row("line", "whole", [1.2], SLOW),
        "line-ready": row("line", "ready", [1.0], SLOW),
    }
    whole["rows"]["line-ready"]["cpu"] = [2.1]
    found = targets(whole)
    assert [target.met for target in found] == [True, True, False, True, False, True, True, False]
    _, stage, limit, cpu, old, live, *_ = (target.measured for target in found)
    assert stage.startswith("2.62 (") and limit == "0.87 ×"  # 0.7 / 0.8
    assert cpu.startswith("1.05 ×")  # 2.1 s of 1.4 + 0.5 · 0.4 + 0.4
    assert old.startswith("2.58 ×") and "3.10 × once ready" in old
    assert "p95 1.50 s" in live
    assert "READY: 4.0 s; the very first time 9.0 s" in markdown([whole])


def test_what_was_not_measured_is_no_target():
    assert targets(result(rows={})) == []
    assert spread([1.0, 2.0]) == "1.500" and spread([1, 2, 3, 4], 1) == "2.5 (1.2–3.8)"


def test_results_are_written_between_the_marks_and_nowhere_else(tmp_path):
    (tmp_path / "performance-isnet-2048x1536.json").write_text(json.dumps(result()))
    page, picture = tmp_path / "PERFORMANCE.md", tmp_path / "docs" / "performance.png"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        record(tmp_path, page, picture)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert markdown([result()]) in text and "there is no javac" in text
    assert "provisional" not in text
    busy = result()
    busy["machine"]["load_before"] = 3.0
    assert "provisional" in markdown([busy])
    assert text.count("| stage | spheroidd, file to mask | 4 |") == 1
    with Image.open(picture) as drawn:
        assert drawn.width > 800
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="has no"):
        record(tmp_path, page, picture)


def test_images_are_of_the_size_asked_for_and_no_two_alike(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(3):
        picture = Image.new("L", (96, 54), 200)
        picture.paste(60, (20 + 9 * number, 5, 40, 20))
        picture.save(frames / f"{number}.jpg")
    export, source = plate_of(9, (128, 96), tmp_path / "export", frames)
    files = sorted(export.rglob("*.jpg"))
    assert [path.name for path in files[:2]] == ["A1_000.jpg", "A1_001.jpg"]
    assert len({path.read_bytes() for path in files}) == 9
    assert source.endswith("enlarged, 128 × 96")
    with Image.open(files[-1]) as picture:
        assert picture.size == (128, 96)


def test_a_command_is_timed_with_its_children_and_its_failure_is_told(tmp_path):
    spins = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    cost = timed(["sh", "-c", f"sh -c '{spins}'; true"], tmp_path / "log")
    assert 0 < cost.cpu <= cost.wall + 0.1
    with pytest.raises(RuntimeError, match=r"ended with 3: (?s:.*)it broke"):
        timed(["sh", "-c", "echo it broke; exit 3"], tmp_path / "log")


def test_a_peer_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "ENVIRONMENTS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(make.PeerError, match="on this machine: CellProfiler"):
        make.make("cellprofiler")


@pytest.fixture
def tiny(tmp_path: Path) -> list[Path]:
    """Two small images of a plate, drawn by the simulator."""
    export, source = plate_of(2, (256, 192), tmp_path / "images", tmp_path / "none")
    assert source.startswith("simulated frames")
    return sorted(export.rglob("*.jpg"))


@pytest.mark.slow
def test_it_runs_from_images_to_a_table(tmp_path, capsys, tiny):
    ask = ["--model", "u2netp", "--rows", "a,d,stage", "--images", "2", "--plate", "2"]
    ask += ["--size", "256x192", "--rounds", "0", "--device", "cpu"]
    performance.main([*ask, "--data", str(tiny[0].parent), "--out", str(tmp_path)])
    assert "published script's steps" in capsys.readouterr().out
    written = json.loads((tmp_path / "performance-u2netp-256x192.json").read_text())
    rows = written["rows"]
    assert {"a", "d", "stage", "stage-once"} <= set(rows)
    assert all(seconds > 0 for one in rows.values() for seconds in one["seconds"])
    assert rows["a"]["against_a"] == [1, 1] and len(rows["stage"]["seconds"]) == 2
    assert written["versions"]["cellprofiler"] and written["machine"]["cpu"]
    assert (tmp_path / "performance.png").is_file()


@pytest.mark.slow
def test_the_daemons_rate_is_measured_on_a_full_folder(tmp_path, tiny):
    assert 0 < flood(tmp_path / "flood", tiny, Setup("u2netp", "cpu")) < 60


@pytest.mark.slow
def test_one_image_at_a_time_is_measured_from_its_rename(tmp_path, tiny):
    (seconds,) = live(tmp_path / "live", tiny[:1], Setup("u2netp", "cpu"), seconds=60)
    assert 0 < seconds < 60
