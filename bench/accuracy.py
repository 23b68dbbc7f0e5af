"""How right the areas are: real sets with references, and simulated wells with exact truth.

    python bench/accuracy.py [--model u2netp] [--wells 500] [--frames 1] [--workers 2]

Prints a table for each model and writes bench/out/accuracy.json, and a contact sheet for each
class: truth in cyan, result in yellow, the worst first. Real sets (../shared/data) that are
missing are left out. The models' maps are kept, so a second run with other lines is quick.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cases import Case, simulated_wells
from measuring import Result, Setting, measure_all, threads_each
from pictures import COLUMNS, badness, sheet
from real_sets import real_wells
from scores import Score, summary
from spheroidd import __version__
from spheroidd.errors import ModelError
from spheroidd.home import installation_home
from spheroidd.segment.models import fetch

REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = ("u2netp", "isnet-imgly-fp16")
TILES = 3 * COLUMNS
SHOWN = {  # heading: key of the summary, and how it is written
    "frames": ("frames", "{}"),
    "IoU\nmedian": ("iou_median", "{:.3f}"),
    "\nworst": ("iou_worst", "{:.2f}"),
    "|error|\nmedian": ("area_error_median", "{:.1%}"),
    "\nworst ": ("area_error_worst", "{:.0%}"),
    "off by\n> 10 %": ("off_by_more_than_10_percent", "{}"),
    "ghosts": ("ghost_rate", "{:.0%}"),
    "missed": ("miss_rate", "{:.0%}"),
    "wrong\nobject": ("wrong_object_rate", "{:.0%}"),
    "largest\nstep": ("largest_step", "{:.0%}"),
    "flags:\nrecall": ("flag_recall", "{:.0%}"),
    "\nprecision": ("flag_precision", "{:.0%}"),
    "false\nalarms": ("right_ones_flagged_falsely", "{:.0%}"),
}
# A log is as wide as the table; a terminal has the width that it has.
console = Console(width=None if sys.stdout.isatty() else 165)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    real = real_wells(options.data)
    cases: list[Case] = [*real, *simulated_wells(options.wells, options.frames, options.seed)]
    found = ", ".join(dict.fromkeys(case.set for case in real)) or f"none in {options.data}"
    console.print(f"real sets: {found}; {options.wells} simulated wells × {options.frames} frames")
    report: dict[str, Any] = {**provenance(options), "models": {}}
    for model in options.model or available(MODELS):
        with tempfile.TemporaryDirectory(prefix="spheroidd-accuracy-") as tiles:
            setting = Setting(model, options.cache, Path(tiles), threads_each(options.workers))
            results = measured(cases, setting, options.workers)
            draw(results, model, options.out)
        scores = [one for one, _ in results]
        report["models"][model] = {"summary": summaries(scores), "frames": rows(scores)}
        show(model, report["models"][model]["summary"])
    path = options.out / "accuracy.json"
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written to {path}, and a picture for each class beside it")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", help=f"may be repeated; default: {MODELS}")
    parser.add_argument("--wells", type=int, default=500, help="simulated; 0 for none")
    parser.add_argument("--frames", type=int, default=1, help="of each simulated well")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated wells")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "out")
    parser.add_argument("--cache", type=Path, help="of the models' maps; default: OUT/maps")
    options = parser.parse_args(arguments)
    options.cache = options.cache or options.out / "maps"
    return options


def available(models: Sequence[str]) -> list[str]:
    """Those that are here or can be fetched."""
    names = []
    for name in models:
        try:
            names.append(fetch(name, installation_home(), report=console.print).name)
        except ModelError as error:
            console.print(f"{name} is left out: {error}")
    return names


def measured(cases: Sequence[Case], setting: Setting, workers: int) -> Result:
    """Every line on every frame, in the order of the wells, with a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    results: Result = []
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(f"{setting.model}: wells", total=len(cases))
        for result in measure_all(cases, setting, workers):
            results += result
            progress.advance(task)
    return sorted(results, key=lambda pair: pair[1].name)


def summaries(scores: Sequence[Score]) -> dict[str, dict[str, dict[str, Any]]]:
    """Line → set and class → figures; a set with several classes has a row of its own, too."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for line in dict.fromkeys(one.line for one in scores):
        ours = [one for one in scores if one.line == line]
        found[line] = {}
        for name in dict.fromkeys(one.set for one in ours):
            of_set = [one for one in ours if one.set == name]
            kinds = list(dict.fromkeys(one.kind for one in of_set))
            found[line][name] = summary(of_set)
            for kind in kinds if len(kinds) > 1 else ():
                of_kind = [one for one in of_set if one.kind == kind]
                found[line][f"{name}: {kind}"] = summary(of_kind)
    return found


def rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [{**asdict(one), "error": one.error, "wrong": one.wrong} for one in scores]


def show(model: str, found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """One table per model: the lines below one another for every class."""
    table = Table(title=f"{model}: areas against the truth", title_justify="left")
    for heading in ("set: class", "line", *SHOWN):
        names = heading in ("set: class", "line")
        table.add_column(heading, justify="left" if names else "right", no_wrap=names)
    for name in next(iter(found.values()), {}):
        for place, (line, figures) in enumerate(found.items()):
            values = [
                "–" if figures[name][key] is None else form.format(figures[name][key])
                for key, form in SHOWN.values()
            ]
            table.add_row("" if place else name, line, *values)
    console.print(table)


def draw(results: Result, model: str, out: Path) -> None:
    """A contact sheet for every class and line."""
    groups: dict[tuple[str, str, str], Result] = {}
    for one, path in results:
        groups.setdefault((one.set, one.kind, one.line), []).append((one, path))
    for (name, kind, line), group in groups.items():
        worst = sorted(group, key=lambda pair: -badness(pair[0]))[:TILES]
        title = f"{name}, {kind}: {model}, {line}; worst {len(worst)} of {len(group)}"
        file = f"{name}-{kind}-{model}-{line}.png".replace(" ", "-")
        sheet(f"{title} (cyan: truth, yellow: result)", worst, out / "accuracy" / file)


def provenance(options: argparse.Namespace) -> dict[str, Any]:
    packages = ("rembg", "onnxruntime", "numpy", "scipy", "pillow")
    return {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(["python", "bench/accuracy.py", *sys.argv[1:]]),
        "options": {key: str(value) for key, value in vars(options).items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version[:6]}",
        "versions": {"spheroidd": __version__, **{name: version(name) for name in packages}},
    }


if __name__ == "__main__":
    main()
