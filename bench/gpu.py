"""What a GPU gives: the published steps, the bare model, and the segmentation stage on it.

    python bench/gpu.py [--model NAME] [--images FOLDER] [--count 64] [--tensorrt]

The stage has 1, 2, 4 and 8 images in hand, and as many as the daemon has here.  Prints a table and
writes bench/out/gpu.json.  Needs onnxruntime-gpu (`make setup EXTRA=gpu`) and a GPU that it really
runs on, and says so where there is none.  Images are made 2048 × 1536.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from performance import weights
from performance_images import REAL, plate_of
from performance_turns import model_input, published, stage
from spheroidd import __version__
from spheroidd.home import installation_home
from spheroidd.segment.finding import Finder
from spheroidd.segment.lanes import Lanes
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.session import open_session
from spheroidd.segment.stock import Model
from spheroidd.store.images import Image

CUDA = "CUDAExecutionProvider"
SIZE = (2048, 1536)
console = Console()
Row = dict[str, Any]


def main() -> None:
    options = parse()
    refuse_without_gpu()
    home = installation_home()
    with tempfile.TemporaryDirectory(prefix="spheroidd-gpu-") as name:
        scratch = Path(name)
        export, source = plate_of(8, SIZE, scratch / "export", options.images)
        files = sorted(export.rglob("*.jpg"))
        work = [files[n % len(files)] for n in range(options.count)]
        model = weights(options.model, home)
        rows = [*theirs(model, home, work, scratch), *ours(model, home, work, scratch, options)]
    report(rows, {"model": model.name, "images": f"{len(work)} of {source}", "gpu": card()})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", help="default: isnet-imgly-fp16 where it can be had, or u2netp")
    parser.add_argument("--images", type=Path, default=REAL)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--tensorrt", action="store_true", help="takes minutes the first time")
    return parser.parse_args()


def refuse_without_gpu() -> None:
    if CUDA not in onnxruntime.get_available_providers():
        sys.exit("the installed onnxruntime offers no CUDA: `make setup EXTRA=gpu` installs one")
    if not card():
        sys.exit("there is no NVIDIA GPU here: `nvidia-smi` names none")
    onnxruntime.preload_dlls()


def card() -> str:
    """The GPU's name and driver; empty where there is none."""
    return smi("name,driver_version")


def memory() -> str:
    """Of the GPU, in use by everything on it."""
    return smi("memory.used")


def smi(wanted: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={wanted}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip().partition("\n")[0]


def theirs(model: Model, home: Path, work: list[Path], scratch: Path) -> Iterator[Row]:
    """The published script's steps and the bare model, in rembg's own session on the GPU."""
    import rembg

    with rembg_home(home):
        plain = rembg.new_session(
            model.session, providers=[CUDA, "CPUExecutionProvider"], model_path=str(model.path)
        )
    ran_on = plain.inner_session.get_providers()[0].removesuffix("ExecutionProvider")
    if ran_on != "CUDA":
        sys.exit(f"onnxruntime fell back to {ran_on}; check the driver with `nvidia-smi`")
    step = partial(published, plain, scratch / "published.jpg")
    yield row("the published script's steps", ran_on, step, work)
    feeds = model_input(plain, work[0])
    for batch in (1, 8):
        inputs = {name: np.repeat(array, batch, axis=0) for name, array in feeds.items()}
        try:
            yield bare(plain.inner_session, inputs, batch, ran_on)
        except Exception as error:  # onnxruntime's; many exported models take one image only
            console.print(f"the bare model, batch of {batch}: {str(error).splitlines()[0]}")


def bare(session: Any, inputs: Row, batch: int, ran_on: str) -> Row:
    output = session.get_outputs()[0].name
    session.run([output], inputs)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        session.run([output], inputs)
        taken.append(time.perf_counter() - began)
    rate = batch / statistics.median(taken)
    return {"way": f"the bare model, batch of {batch}", "on": ran_on, "rate": rate,
            "memory": memory(), "images a run": batch}  # fmt: skip


def ours(
    model: Model, home: Path, work: list[Path], scratch: Path, options: argparse.Namespace
) -> Iterator[Row]:
    """The segmentation stage, unrefined, in the daemon's own lanes; the model runs in batches of
    what these have ready, where its graph allows that."""
    session = open_session(
        model,
        home=home,
        device="cuda",
        require=True,
        tensorrt=options.tensorrt,
        cache=Path(__file__).parent / "out" / "cache",
        warn=console.print,
        inform=console.print,
    )
    recipe = Recipe(Finder(session, None, 0.5, refine=False), __version__, white=False)
    console.print(f"the daemon has {recipe.lanes} images in hand here")
    for lanes in sorted({1, 2, 4, 8, recipe.lanes}):
        with folders(scratch, lanes) as free:
            step = partial(in_own_folder, recipe, free)
            yield row(f"our stage, lanes: {lanes}", session.provider, step, work, lanes)


@contextmanager
def folders(scratch: Path, count: int) -> Iterator["SimpleQueue[Path]"]:
    """One for each lane to write to."""
    free: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        for number in range(count):
            folder = Path(name, str(number))
            folder.mkdir()
            free.put(folder)
        yield free


def in_own_folder(recipe: Recipe, free: "SimpleQueue[Path]", path: Path) -> None:
    folder = free.get()
    try:
        stage(recipe, folder)(path)
    finally:
        free.put(folder)


def row(
    way: str, ran_on: str, step: Callable[[Path], Any], work: list[Path], lanes: int = 1
) -> Row:
    in_lanes(step, work[: 2 * lanes], lanes)
    with model_runs() as runs:
        began = time.perf_counter()
        in_lanes(step, work, lanes)
        rate = len(work) / (time.perf_counter() - began)
    return {"way": way, "on": ran_on, "rate": rate, "memory": memory(),
            "images a run": len(work) / len(runs)}  # fmt: skip


def in_lanes(step: Callable[[Path], Any], work: list[Path], count: int) -> None:
    """As the daemon's stage keeps its lanes busy."""
    lanes = Lanes(count, lambda image, _now: step(Path(image.path)))
    waiting = [image_of(number, path) for number, path in enumerate(work)]
    while waiting or lanes.busy:
        while waiting and lanes.fits(waiting[0]):
            lanes.begin(waiting.pop(0), 0.0)
        lanes.wait_for_one()
    lanes.end()


def image_of(number: int, path: Path) -> Image:
    return Image(
        number, "/", str(path), 1, 1, 1, "ready", "P", "A1", path.name, None, None, None,
        *SIZE, None, None, 0,
    )  # fmt: skip


@contextmanager
def model_runs() -> Iterator[list[None]]:
    """Something for each run of onnxruntime, from any thread."""
    kind, runs = onnxruntime.InferenceSession, list[None]()
    real = {name: getattr(kind, name) for name in ("run", "run_with_iobinding")}

    def counting(name: str) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            runs.append(None)
            return real[name](*given, **named)

        return counted

    for name in real:
        setattr(kind, name, counting(name))
    try:
        yield runs
    finally:
        for name, method in real.items():
            setattr(kind, name, method)


def report(rows: list[Row], about: dict[str, str]) -> None:
    base = rows[0]["rate"]
    table = Table("way", "ran on", "images/s", "× the published steps", "images a run",
                  "GPU memory in use")  # fmt: skip
    for one in rows:
        table.add_row(one["way"], one["on"], f"{one['rate']:.1f}", f"{one['rate'] / base:.1f}",
                      f"{one['images a run']:.1f}", one["memory"])  # fmt: skip
    console.print(table)
    out = Path(__file__).parent / "out" / "gpu.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    console.print(f"written to {out}; {about['model']}; {about['gpu']}")


if __name__ == "__main__":
    main()
