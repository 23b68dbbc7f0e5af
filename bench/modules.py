"""What an image costs in CellProfiler, module by module, and around the modules.

    python bench/modules.py [--pipelines mask …] [--rounds 3] [--frame IMAGE] [--against FOLDER]

For the pipelines that ship, on 960 × 540 and 2048 × 1536 pixels, alone and in a batch of 24.
`--against` names the `worker` folder of another version: both then take turns in one run, and
the table says how many times faster this one is.  Prints tables, writes bench/out/modules.json.
Machines are noisy: read the ratios, and the CPU seconds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from spheroidd import __version__
from spheroidd.home import installation_home
from spheroidd.measure.engine import WORKER
from spheroidd.measure.environment import engine_python
from spheroidd.measure.pipelines import SHIPPED, pipeline_path
from spheroidd.segment.mask import write_mask, write_white

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1] / "shared" / "data" / "cell-iq-timelapse" / "export"
SIZES = ((960, 540), (2048, 1536))
BATCHES = (1, 24)
ALL = "the whole batch"

Steps = dict[str, tuple[float, float]]  # seconds per image: wall, CPU
console = Console()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="spheroidd-bench-") as folder:
        scratch = Path(folder)
        jobs = {
            (pipeline, size, batch): files
            for size in SIZES
            for files in [draw(size, options.frame, scratch)]
            for pipeline in options.pipelines
            for batch in BATCHES
        }
        workers = {"this": WORKER.parent}
        if options.against:
            workers["other"] = options.against.resolve()
        times: dict[str, list[list[Any]]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                times[name].append(run(worker, jobs, scratch / name))
    result = [
        {
            "pipeline": pipeline,
            "size": list(size),
            "batch": batch,
            **{name: median_of([each[at] for each in all_]) for name, all_ in times.items()},
        }
        for at, (pipeline, size, batch) in enumerate(jobs)
    ]
    for one in result:
        show(one)
    write(result, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frame", type=Path, help="default: a real one, or a drawn one")
    parser.add_argument("--pipelines", nargs="+", default=SHIPPED, choices=SHIPPED)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="the worker folder of another version")
    return parser.parse_args()


def draw(size: tuple[int, int], frame: Path | None, scratch: Path) -> dict[str, str]:
    """One field, with a spheroid across a third of its height; its files, as the daemon's."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    angle = np.arctan2(rows - height * 0.55, columns - width * 0.48)
    radius = height / 6 * (1 + 0.08 * np.sin(5 * angle) + 0.03 * np.sin(23 * angle))
    mask = np.hypot(rows - height * 0.55, columns - width * 0.48) <= radius
    pixels = np.where(mask, background(size, frame) // 2, background(size, frame))
    files = {name: scratch / f"{width}-{name}" for name in ("Original", "Mask", "Spheroid")}
    files = {
        name: path.with_suffix(".npy" if name == "Original" else ".png")
        for name, path in files.items()
    }
    np.save(files["Original"], pixels)
    write_mask(files["Mask"], mask)
    write_white(files["Spheroid"], np.where(mask, pixels, 255).astype(np.uint8))
    return {name: str(path) for name, path in files.items()}


def background(size: tuple[int, int], frame: Path | None) -> NDArray[np.uint8]:
    frame = frame or next(iter(sorted(REAL.rglob("*.jpg"))), None)
    if frame is None:
        noise = np.random.default_rng(1).normal(150, 6, (size[1], size[0]))
        return noise.clip(0, 255).astype(np.uint8)
    with Image.open(frame) as picture:
        return np.asarray(picture.convert("L").resize(size, Image.Resampling.BICUBIC))


def run(folder: Path, jobs: Mapping[Any, Mapping[str, str]], scratch: Path) -> list[Any]:
    """One process over all jobs: before each batch one image, which does not count."""
    plan = [
        {
            "pipeline": str(pipeline_path(pipeline)),
            "batches": [
                [
                    {"key": f"k{number}", "plate": "P", "well": "A1", "timepoint": number}
                    | {"files": dict(files)}
                    for number in range(count)
                ]
                for count in (1, batch)
            ],
        }
        for (pipeline, _, batch), files in jobs.items()
    ]
    done = subprocess.run(
        [engine_python(installation_home()), "-I", HERE / "modules_inside.py", folder, scratch],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return [batches[-1] for batches in json.loads(done.stdout)]


def median_of(rounds: Sequence[Mapping[str, Sequence[float]]]) -> Steps:
    """Seconds per image of every step, and of what is between the steps."""
    images = max(times for _, _, times in rounds[0].values())
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for steps in rounds:
        each = {name: (wall / images, cpu / images) for name, (wall, cpu, _) in steps.items()}
        inside = [taken for name, taken in each.items() if name != ALL]
        each["CellProfiler between its modules, spreadsheets"] = (
            each[ALL][0] - sum(wall for wall, _ in inside),
            each[ALL][1] - sum(cpu for _, cpu in inside),
        )
        for name, taken in each.items():
            seen[name].append(taken)
    return {
        name: (
            statistics.median(wall for wall, _ in all_),
            statistics.median(cpu for _, cpu in all_),
        )
        for name, all_ in seen.items()
    }


def show(one: Mapping[str, Any]) -> None:
    width, height = one["size"]
    table = Table(title=f"{one['pipeline']}, {width} × {height}, batch of {one['batch']}")
    table.add_column("ms per image")
    for column in ("wall", "CPU", "share") + (("other CPU", "×") if "other" in one else ()):
        table.add_column(column, justify="right")
    whole = one["this"][ALL]
    for name, (wall, cpu) in one["this"].items():
        row = [name, f"{1000 * wall:.1f}", f"{1000 * cpu:.1f}", f"{cpu / whole[1]:.0%}"]
        if name in one.get("other", {}):
            other = one["other"][name][1]
            row += [f"{1000 * other:.1f}", f"{other / cpu:.2f}" if cpu > 0 else ""]
        table.add_row(*row)
    console.print(table)


def write(result: list[dict[str, Any]], options: argparse.Namespace) -> None:
    out = HERE / "out" / "modules.json"
    out.parent.mkdir(exist_ok=True)
    about = {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "spheroidd": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rounds": options.rounds,
        "costs": result,
    }
    out.write_text(json.dumps(about, indent=2) + "\n")
    console.print(f"written to {out}")


if __name__ == "__main__":
    main()
