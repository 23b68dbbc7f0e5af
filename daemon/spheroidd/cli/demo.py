"""`demo` and `simulate`: see the whole line at work without an instrument."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.look import progress_table
from spheroidd.cli.terminal import err, load, out, say, tell
from spheroidd.errors import SpheroiddError, StoreError
from spheroidd.home import installation_home
from spheroidd.store.paths import to_real
from spheroidd.store.reader import Reader, Row

_HOURS_PER_FRAME = 24.0
_PIXEL_SIZE_UM = 1.5
_INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)  # Ctrl-C reaches the instrument too
_CONFIG = """\
# Written by `spheroidd demo`; a real one starts from config.example.yaml.
watch:
  - path: export
    settle_seconds: 1
    interval_minutes: {minutes:g}
    pixel_size_um: {pixel_size:g}
state_dir: state
segmentation: {{model: {model}}}
measurement:
  pipeline: mask
  batch: {{max_images: 12, max_wait_seconds: 5}}
logging: {{format: json}}
"""


def add_to(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(simulate)


def simulate(  # noqa: PLR0917 - each is an option of the command
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The export folder to write.")],
    plates: Annotated[int, typer.Option(help="Plates in the instrument.")] = 1,
    wells: Annotated[int, typer.Option(help="Wells on each plate.")] = 6,
    frames: Annotated[int, typer.Option(help="Pictures of each well.")] = 8,
    interval: Annotated[float, typer.Option(help="Seconds between two pictures.")] = 1.0,
    hours: Annotated[
        float, typer.Option(help="Simulated hours between two pictures of a well.")
    ] = _HOURS_PER_FRAME,
    width: Annotated[int, typer.Option(help="Pixels.")] = 960,
    height: Annotated[int, typer.Option(help="Pixels.")] = 540,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    for_demo: Annotated[
        bool, typer.Option("--demo", help="The demo's two plates instead of mixed ones.")
    ] = False,
) -> None:
    """An instrument: writes plates of growing and dying spheroids, one image at a time.

    The true areas go to `truth.csv` beside the images. Ctrl-C stops it; started again, it goes on.
    """
    from spheroidd.simulator.instrument import Instrument
    from spheroidd.simulator.plan import demo_plates, mixed_plates, plan

    chosen = demo_plates(seed) if for_demo else mixed_plates(plates, wells, seed)
    shots = plan(chosen, frames, hours, (height, width))
    stop = threading.Event()
    with err.status(f"writing {len(shots)} images to {to}") as status:
        written = Instrument(to, shots, interval_seconds=interval).run(
            stop, lambda path, _: status.update(f"writing {len(shots)} images: {path}")
        )
    tell(f"{written} images written; the true areas are in {to / 'truth.csv'}")


def demo(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Where everything is put.")
    ] = Path("demo"),
    model: Annotated[str, typer.Option(help="The segmentation model.")] = "u2netp",
) -> None:
    """Two simulated plates, measured while they grow: the whole line in a minute or two."""
    from spheroidd import service
    from spheroidd.system.logs import open_log

    config_file = _prepare(to, model)
    settings = load(config_file)
    tell(f"The demo segments with {model}; the default for real work is isnet-general-use.")
    with (
        (to / "spheroidd.log").open("w", encoding="utf-8") as stream,
        _page(config_file, settings.web.port, stream),
    ):
        log = open_log("info", "json", stream)
        with _instrument(to / "export") as finished, _progress(settings.state_dir):
            code = service.run(lambda: settings, installation_home(), log, finished)
            complete = finished()  # asked here: leaving the block ends the instrument
        if not complete:
            tell("interrupted; `make demo` starts afresh")
            raise typer.Exit(1)
        _report(to)
        if sys.stdin.isatty():
            err.input("the page stays open; Enter ends it ")
    raise typer.Exit(code)


def _prepare(to: Path, model: str) -> Path:
    """A fresh folder with a configuration; an earlier demo's is replaced, nothing else is."""
    config_file = to / "config.yaml"
    if to.exists() and any(to.iterdir()):
        if not (config_file.exists() and "spheroidd demo" in config_file.read_text()):
            raise SpheroiddError(f"{to} holds something else.", "Choose another folder with --to.")
        shutil.rmtree(to)
    (to / "export").mkdir(parents=True)
    config_file.write_text(
        _CONFIG.format(model=model, minutes=_HOURS_PER_FRAME * 60, pixel_size=_PIXEL_SIZE_UM)
    )
    return config_file


@contextmanager
def _instrument(export: Path) -> Iterator[Callable[[], bool]]:
    """A simulated Cell-IQ in a process of its own; gives whether it has finished."""
    command = [sys.executable, "-m", "spheroidd", "simulate", "--demo"]
    command += ["--to", str(export), "--frames", "9", "--interval", "0.35"]
    command += ["--hours", str(_HOURS_PER_FRAME)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:

        def finished() -> bool:
            code = process.poll()
            if code not in (None, 0, *_INTERRUPTED):
                told = process.stderr.read().decode() if process.stderr else ""
                raise SpheroiddError(f"The simulated instrument failed ({code}): {told}")
            return code == 0

        try:
            yield finished
        finally:
            process.terminate()


@contextmanager
def _page(config_file: Path, port: int, log: TextIO) -> Iterator[None]:
    """The page beside the daemon, as in real use; it opens once the database is there."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:  # somebody else's
            probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "spheroidd", "web", "-c", str(config_file)]
    with subprocess.Popen([*command, "--port", str(port)], stderr=log) as process:
        tell(f"Watch it in a browser: http://127.0.0.1:{port}/")
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _progress(state_dir: Path) -> Iterator[None]:
    """Images seen, segmented and measured per plate, while the daemon works."""
    from rich.console import Group
    from rich.live import Live

    def picture() -> Any:
        from spheroidd.report.status import snapshot

        try:
            with Reader(state_dir / "spheroidd.db") as reader:
                found = snapshot(reader, time.time())
        except StoreError:
            return Text("starting: the model and CellProfiler are warming up …", style="dim")
        phase = Text("an instrument writes, the daemon measures", style="dim")
        return Group(phase, progress_table(found["plates"]))

    with Live(get_renderable=picture, console=err, refresh_per_second=3):
        yield


def _report(to: Path) -> None:
    """The measured areas beside the true ones, and the growth curves as a picture."""
    from spheroidd.report.plots import growth_curves
    from spheroidd.report.sheet import contact_sheet
    from spheroidd.simulator.truth import Truth, read_truth
    from spheroidd.store.reading import growth, outlines

    with Reader(to / "state" / "spheroidd.db") as reader:
        rows = growth(reader)
        plates = {plate: outlines(reader, plate) for plate in {row["plate"] for row in rows}}
    truths = read_truth(to / "export" / "truth.csv")
    by_path = {str((to / "export" / truth.image_path).resolve()): truth for truth in truths}
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for truth in truths:
        points = curves.setdefault(truth.plate, {}).setdefault(truth.well, [])
        points.append((truth.hours, truth.area_px * _PIXEL_SIZE_UM**2))
    wells: dict[tuple[str, str], list[tuple[Row, Truth]]] = {}
    for row in rows:
        pair = (row, by_path[to_real(row["image_path"])])
        wells.setdefault((row["plate"], row["well"]), []).append(pair)
    out.print(_comparison(wells))
    picture = to / "growth.png"
    growth_curves(rows, picture, curves)
    for number, plate in enumerate(sorted(plates), start=1):
        sheet = to / f"outlines-{number}.png"
        if not plates[plate]:
            continue  # no outline could be drawn; the log says so
        contact_sheet(plates[plate], sheet, to / "state")
        say(f"outlines of {plate}: {sheet.resolve()}")
    say(f"{len(rows)} of {len(truths)} images measured; everything is in {to}/")
    say(f"growth curves: {picture.resolve()}")
    say(f"next: {sys.argv[0]} web -c {to / 'config.yaml'}")


def _comparison(wells: dict[tuple[str, str], list[tuple[Row, Any]]]) -> Table:
    heads = ("plate", "well", "what it is", "images", "true last", "measured last", "median error")
    table = Table(*heads, title="Areas in pixels, beside the simulator's truth")
    for (plate, well), pairs in wells.items():
        last, truth = pairs[-1]
        numbers = (str(len(pairs)), f"{truth.area_px:,}", f"{last['area_px']:,.0f}")
        table.add_row(plate, well, truth.kind, *numbers, _error(pairs))
    return table


def _error(pairs: list[tuple[Row, Any]]) -> Text:
    """Median of |measured − true| over true; an empty well has no true area to divide by."""
    import statistics

    errors = [
        abs(row["area_px"] - truth.area_px) / truth.area_px for row, truth in pairs if truth.area_px
    ]
    if errors:
        median = statistics.median(errors)
        return Text(f"{median:.1%}", style="red" if median > 0.1 else "green")
    ghosts = sum(row["area_px"] > 0 for row, _ in pairs)
    return Text(f"{ghosts} ghosts", style="red") if ghosts else Text("no ghost", style="green")
