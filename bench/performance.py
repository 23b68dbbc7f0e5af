"""How fast it is, against what users run today and against the limit of the machine.

    python bench/performance.py [--model NAME] [--rows a,b,c,d,stage,line,live,start]
                                [--images 8] [--plate 96] [--size 2048x1536 | --size as-is]
    python bench/performance.py --record

All rows of a run have the same images and the same weights, and take turns, so that whatever else
the machine does hits them alike: read the ratios, and the absolute seconds as this machine's.

  a      the published script's steps: rembg.remove(bytes, session) → white background → JPEG
  b      the real `rembg p` on a folder, with its start and without
  c      CellProfiler's command line on a batch, with Java, as its users start it
  d      the bare model in a loop, in onnxruntime and in OpenVINO: the limit
  stage  spheroidd from the file to the mask on the disk: one image after the other, with one
         look and as it is by default; and the daemon's own rate on a full folder
  line   the daemon on a plate, from exec to exit, against (a) and then (c) on the same images
  live   one image at a time: from the file's last rename to the row in the database
  start  from exec to READY, and what `spheroidd --help` and `status` take

Prints a table, writes bench/out/performance-MODEL-SIZE.json with all samples, the machine and the
versions, and draws bench/out/performance.png.  (b) and (c) get environments of their own under
.venv/peers the first time; where that can't be done the row is skipped, and the reason said.
With ISNet on 2 cores all rows take about a quarter of an hour, with u2netp half of that.
--record measures nothing: it writes what the last runs found into bench/PERFORMANCE.md and
docs/performance.png.
"""

import argparse
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from performance_bench import Bench
from performance_images import REAL, Size, plate_of
from performance_report import draw, machine, record, save, show, target_table, versions
from performance_rows import rounds, turns
from performance_whole import live, start, whole_line
from spheroidd.errors import ModelError
from spheroidd.home import installation_home
from spheroidd.segment.models import Model, fetch

OUT = Path(__file__).parent / "out"
ROWS = ("a", "b", "c", "d", "stage", "line", "live", "start")
console = Console(width=None if sys.stdout.isatty() else 160)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.record:
        record(options.out)
        return
    # What libraries say of each other's versions is not for whoever reads a table.
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory(prefix="spheroidd-bench-") as name, progress() as tell:
        result = measure(options, Path(name), tell)
    show(result, console)
    target_table([result], console)
    path = save(result, options.out)
    draw([result], options.out / "performance.png")
    console.print(f"written: {path} and {options.out / 'performance.png'}", soft_wrap=True)


def measure(options: argparse.Namespace, scratch: Path, tell: Any) -> dict[str, Any]:
    """All rows that were asked for, as plain data."""
    home = installation_home()
    tell("images and weights")
    model = weights(options.model, home)
    export, source = plate_of(options.plate, options.size, scratch / "export", options.data)
    files = sorted(export.rglob("*.jpg"))
    tell(f"{model.name} on {options.images} and {options.plate} images: {source}", done=True)
    bench = Bench(model, home, options.device, export, files, options.images, scratch, tell)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "bench/performance.py", *options.said]),
        "machine": machine(),
        "versions": versions(home),
        "model": {"name": model.name, "md5": model.md5},
        "images": {"source": source, "count": options.images, "plate": options.plate},
        "rows": {},
        "skipped": {},
    }
    wanted = options.rows
    parts: dict[Callable[..., None], set[str]] = {
        turns: {"a", "d", "stage"},
        partial(rounds, count=options.rounds): {"b", "c", "stage"},
        whole_line: {"line"},
        partial(live, count=options.live): {"live"},
        start: {"start"},
    }
    for part, rows in parts.items():
        if wanted & rows:
            part(bench, wanted, result)
    return result


def weights(wanted: str | None, home: Path) -> Model:
    for name in [wanted] if wanted else ["isnet-general-use", "isnet-imgly-fp16", "u2netp"]:
        try:
            return fetch(name, home, report=lambda _: None)
        except ModelError as error:
            console.print(f"{name}: {error.message}", soft_wrap=True)
    sys.exit("no model to measure with; see `spheroidd model list`")


@contextmanager
def progress() -> Iterator[Any]:
    """A line that says what is being measured, and for how long already; and what is done."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting")

        def tell(what: str, *, done: bool = False) -> None:
            if done:
                bar.console.print(what, soft_wrap=True)
            else:
                bar.update(task, description=what)

        yield tell


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="default: ISNet, where it can be had, or u2netp")
    parser.add_argument("--rows", type=rows_of, default=set(ROWS), help="default: all of them")
    parser.add_argument("--images", type=int, default=8, help="for a, b, c, d, stage (default 8)")
    parser.add_argument("--plate", type=int, default=96, help="images for line (default 96)")
    parser.add_argument("--live", type=int, default=30, help="images for live (default 30)")
    parser.add_argument("--rounds", type=int, default=2, help="of whole folders (default 2)")
    parser.add_argument(
        "--size",
        type=size_of,
        default=(2048, 1536),
        help="WIDTHxHEIGHT, or as-is for the instrument's own (default 2048x1536)",
    )
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "openvino", "cuda"], help="spheroidd's"
    )
    parser.add_argument(
        "--data", type=Path, default=REAL, help="a folder of frames (default: the Cell-IQ ones)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="default: bench/out")
    parser.add_argument("--record", action="store_true", help="write down what the last runs found")
    options = parser.parse_args(arguments)
    options.said = sys.argv[1:] if arguments is None else arguments
    options.plate = max(options.plate, options.images)
    if options.images < 2:
        parser.error("--images: at least 2")
    return options


def rows_of(text: str) -> set[str]:
    rows = set(text.split(","))
    if rows - set(ROWS):
        raise argparse.ArgumentTypeError(f"rows are {', '.join(ROWS)}")
    return rows


def size_of(text: str) -> Size | None:
    if text == "as-is":
        return None
    try:
        width, height = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError("give WIDTHxHEIGHT, such as 2048x1536") from None
    return width, height


if __name__ == "__main__":
    main()
