"""What an image costs, from the model alone to the whole line, side by side in one run.

    python bench/line.py [--model NAME] [--frames 32] [--images FOLDER]

Prints a table and writes bench/out/line.json.  Machines are noisy: read the ratios.  Without
real images (../shared/data) it takes simulated ones, and says so.
"""

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table

from spheroidd import __version__
from spheroidd.errors import ModelError
from spheroidd.home import installation_home
from spheroidd.intake.imagefile import read_image
from spheroidd.measure.engine import Engine, ImageInput, worker_command
from spheroidd.measure.environment import engine_python
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.segment.finding import Finder
from spheroidd.segment.mask import on_white, write_mask, write_white
from spheroidd.segment.models import Model, fetch
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.session import RembgSession, open_session
from spheroidd.simulator.instrument import Instrument
from spheroidd.simulator.plan import mixed_plates, plan

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = REPOSITORY.parent / "shared" / "data" / "cell-iq-timelapse" / "export"
SECOND = "u2netp"
console = Console()


def main() -> None:
    options = parse()
    home = installation_home()
    with tempfile.TemporaryDirectory(prefix="spheroidd-bench-") as name:
        scratch = Path(name)
        export, source = images(options.images, options.frames, scratch)
        files = sorted(export.rglob("*.jpg"))
        model = weights(options.model, home)
        console.print(f"{len(files)} images, {source}; model {model}")
        chosen = fetch(model, home, report=console.print)
        session = open_session(chosen, home=home, device="cpu", warn=console.print)
        second = None if model == SECOND else small_session(home)
        times = per_image(finders(session, second), plain_session(chosen, home), files, scratch)
        engine = engine_costs(home, files, scratch)
        line = whole_line(model, export, len(files), scratch)
    report(
        {
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
            "spheroidd": __version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version[:6]}",
            "model": model,
            "provider": session.provider,
            "second_model": second.model.name if second else None,
            "images": f"{len(files)} × {source}",
            "seconds_per_image": {**times, "the whole line": line.pop("seconds_per_image")},
            "cellprofiler_seconds": engine,
            **line,
        }
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", help="default: isnet-imgly-fp16 where it can be had, or u2netp")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--images", type=Path, default=REAL)
    return parser.parse_args()


def images(folder: Path, count: int, scratch: Path) -> tuple[Path, str]:
    """The export folder to measure, and what is in it."""
    export = scratch / "export"
    if folder.is_dir():
        for file in sorted(folder.rglob("*.jpg"))[:count]:
            target = export / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        return export, "real Cell-IQ frames"
    shots = plan(mixed_plates(1, 1), count)
    Instrument(export, shots, interval_seconds=0, pause_seconds=0).run(threading.Event())
    return export, "simulated frames (no real ones here)"


def weights(wanted: str | None, home: Path) -> str:
    for name in [wanted] if wanted else ["isnet-imgly-fp16", "u2netp"]:
        try:
            return fetch(name, home, report=console.print).name
        except ModelError as error:
            console.print(f"{name}: {error}")
    raise SystemExit("no model to measure with")


def small_session(home: Path) -> RembgSession:
    """The model that the daemon looks again with, unless it is configured otherwise."""
    model = fetch(SECOND, home, report=console.print)
    return open_session(model, home=home, device="cpu", warn=console.print)


def finders(session: RembgSession, second: RembgSession | None) -> dict[str, Finder]:
    """The segmentation stage as `refine: false` has it, and as it is by default."""
    return {
        "the segmentation stage, unrefined": Finder(session, None, 0.5, refine=False),
        "the segmentation stage, refined": Finder(session, second, 0.5),
    }


def plain_session(model: Model, home: Path) -> Any:
    """rembg's own session, as the published script makes it."""
    import rembg

    with rembg_home(home):
        return rembg.new_session(
            model.session, providers=["CPUExecutionProvider"], model_path=str(model.path)
        )


def per_image(
    stages: dict[str, Finder], plain: Any, files: list[Path], scratch: Path
) -> dict[str, float]:
    """Median seconds of each way, the ways taking turns on every image."""
    bare = plain.inner_session
    output = bare.get_outputs()[0].name
    feeds = {path: model_input(plain, path) for path in files}
    ways: dict[str, Callable[[Path], Any]] = {
        "the model alone": lambda path: bare.run([output], feeds[path]),
        **{name: partial(our_stage, finder, scratch) for name, finder in stages.items()},
        "the published script's steps": lambda path: published(plain, path, scratch),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(files[0])
    for path in files:
        for name, way in ways.items():
            began = time.perf_counter()
            way(path)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def model_input(plain: Any, path: Path) -> dict[str, Any]:
    """What rembg feeds the model for one image."""
    bare, seen = plain.inner_session, []

    class Spy:
        get_inputs = staticmethod(bare.get_inputs)

        def run(self, outputs: Any, feeds: dict[str, Any]) -> Any:
            seen.append(feeds)
            return bare.run(outputs, feeds)

    plain.inner_session = Spy()
    try:
        with Pillow.open(path) as picture:
            plain.predict(picture)
    finally:
        plain.inner_session = bare
    return seen[0]


def our_stage(finder: Finder, scratch: Path, path: Path) -> None:
    """Everything the stage does for one image, but for the ledger's rows."""
    pixels = read_image(str(path)).pixels.astype(np.uint8, copy=False)
    found = finder.find(pixels)
    np.save(scratch / "original.npy", pixels)
    write_mask(scratch / "mask.png", found.mask)
    write_white(scratch / "white.png", on_white(pixels, found.alpha))


def published(plain: Any, path: Path, scratch: Path) -> None:
    """rembg's cut-out of the file's bytes, laid on white, saved as JPEG."""
    import rembg

    cut = Pillow.open(io.BytesIO(rembg.remove(path.read_bytes(), session=plain)))
    white = Pillow.new("RGB", cut.size, "white")
    white.paste(cut, mask=cut.getchannel("A"))
    white.save(scratch / "published.jpg")


def engine_costs(home: Path, files: list[Path], scratch: Path) -> dict[str, float]:
    """A batch of 1 and of 24: on a worker just started, and on a warm one."""
    mask = scratch / "mask.png"
    pixels = read_image(str(files[0])).pixels
    np.save(scratch / "original.npy", pixels)
    inputs = [
        ImageInput(f"image{n}", "P", "A1", n, {"Original": scratch / "original.npy", "Mask": mask})
        for n in range(24)
    ]
    costs: dict[str, float] = {}
    for count in (1, 24):
        engine = Engine(
            worker_command(engine_python(home), scratch / "worker"), log=lambda *_, **__: None
        )
        for kind in ("cold", "warm", "warm"):  # the last warm one counts
            folder = scratch / f"batch-{count}-{kind}"
            folder.mkdir(exist_ok=True)
            began = time.perf_counter()
            engine.start()
            done = engine.measure(pipeline_path("mask"), inputs[:count], folder)
            costs[f"{kind}, batch of {count}"] = time.perf_counter() - began
            assert not [outcome.error for outcome in done.values() if outcome.error]
        engine.stop()
    return costs


def whole_line(model: str, export: Path, count: int, scratch: Path) -> dict[str, Any]:
    """The real daemon on the same files: seconds per image once it is ready, peak memory."""
    config = scratch / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "watch": [{"path": str(export), "settle_seconds": 0}],
                "state_dir": str(scratch / "state"),
                "segmentation": {"model": model, "device": "cpu"},
                "logging": {"format": "json"},
            }
        )
    )
    command = [sys.executable, "-m", "spheroidd", "run", "-c", str(config), "--until-idle"]
    log = scratch / "log"
    with log.open("w") as stream:
        daemon = psutil.Popen(command, stderr=stream)
        peaks = watch_memory(daemon)
    assert daemon.returncode == 0, log.read_text()[-2000:]
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    moments = {
        event: [datetime.fromisoformat(x["timestamp"]) for x in lines if x["event"] == event]
        for event in ("image complete", "measured", "starting", "ready")
    }
    assert len(moments["measured"]) == count
    busy = (max(moments["measured"]) - min(moments["image complete"])).total_seconds()
    start = (moments["ready"][0] - moments["starting"][0]).total_seconds()
    return {"seconds_per_image": busy / count, "start_seconds": start, "peak_memory_mb": peaks}


def watch_memory(daemon: psutil.Popen) -> dict[str, int]:
    """The kernel's own high-water marks, read until the processes end."""
    peaks = {"daemon": 0, "worker": 0}
    while daemon.poll() is None:
        for name, pids in (("daemon", [daemon.pid]), ("worker", children(daemon))):
            for pid in pids:
                peaks[name] = max(peaks[name], high_water(pid))
        time.sleep(0.1)
    return peaks


def children(daemon: psutil.Popen) -> list[int]:
    try:
        return [child.pid for child in daemon.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    return kilobytes[0] // 1024 if kilobytes else 0


def report(result: dict[str, Any]) -> None:
    base = result["seconds_per_image"]["the model alone"]
    table = Table("per image", "seconds", "× the model alone")
    for name, seconds in result["seconds_per_image"].items():
        table.add_row(name, f"{seconds:.3f}", f"{seconds / base:.2f}")
    console.print(table)
    table = Table("CellProfiler, pipeline `mask`", "seconds")
    for name, seconds in result["cellprofiler_seconds"].items():
        table.add_row(name, f"{seconds:.2f}")
    console.print(table)
    memory = ", ".join(f"{name} {peak} MB" for name, peak in result["peak_memory_mb"].items())
    console.print(f"peak memory: {memory}; from start to ready {result['start_seconds']:.1f} s")
    out = Path(__file__).parent / "out" / "line.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {out}; {result['machine']}; provider {result['provider']}")


if __name__ == "__main__":
    main()
