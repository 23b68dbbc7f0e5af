"""`runs`: what measuring again gave, which results are shown, how they differ."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.selecting import plate_as_stored
from spheroidd.cli.terminal import ConfigFile, database_of, load, out, say, tell
from spheroidd.errors import SpheroiddError
from spheroidd.store import run_reading
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader, Row
from spheroidd.store.reviewing import listed

if TYPE_CHECKING:
    from spheroidd.report.bland_altman import Agreement
    from spheroidd.store.runs import Shown

Plate = Annotated[str, typer.Option("--plate", metavar="P", help="The plate's name.")]
_LIVE = "live"


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Results of measuring again: list, choose, compare them."
    )
    group.command("list")(list_runs)
    group.command()(use)
    group.command()(compare)
    app.add_typer(group, name="runs")


# -- runs -------------------------------------------------------------------------------------


def list_runs(
    config: ConfigFile,
    plate: Annotated[
        str | None, typer.Option("--plate", metavar="P", help="Only this plate.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Every way in which plates were measured, and which one is shown."""
    with Reader(database_of(config)) as reader:
        found = run_reading.runs(reader) if plate is None else _runs_of(reader, plate)
    if as_json:
        for row in found:
            row["chosen"] = bool(row["chosen"])
        out.print_json(json.dumps(found))
        return
    table = Table(
        "run", "plate", "kind", "model", "threshold", "refinement", "pipeline", "started",
        "finished", "images", "failed", "shown",
    )  # fmt: skip
    for row in found:
        cells = (row[name] for name in ("id", "plate", "kind", "model", "threshold", "refinement"))
        table.add_row(
            *(Text("" if cell is None else printable(str(cell))) for cell in cells),
            Text(f"{printable(row['pipeline'])} {row['pipeline_sha256'][:8]}"),
            row["started_at"][:16],
            (row["finished_at"] or "")[:16],
            f"{row['images']} of {row['total']}",
            Text(str(row["failures"]), style="red" if row["failures"] else ""),
            Text(f"{row['shown']} images", style="green") if row["chosen"] else str(row["shown"]),
        )
    out.print(table)


def use(
    config: ConfigFile,
    plate: Plate,
    run: Annotated[str, typer.Argument(metavar="RUN|live", help="A run's number, or `live`.")],
) -> None:
    """Show a run's areas in `growth` and everything made from it; `live`: as they came.

    Nothing is deleted: another `runs use` brings the others back.
    """
    from spheroidd.remeasure import show
    from spheroidd.store.database import Database
    from spheroidd.system.logs import open_log

    settings = load(config)
    database_file = settings.state_dir / "spheroidd.db"
    with Reader(database_file) as reader:
        plate = plate_as_stored(reader, plate)
        chosen = _run_of(reader, plate, run)
    number = chosen["id"] if chosen and chosen["kind"] == "again" else None
    with Database(database_file) as database:
        log = open_log("warning", settings.logging.format)
        shown = show(settings, database, plate, number, log)
    tell_shown(shown, _LIVE if number is None else run)


def tell_shown(shown: "Shown", name: str) -> None:
    """Say what `growth` shows from now on; `name` is a run's number, or `live`."""
    what = "what was measured live" if name == _LIVE else f"run {name}"
    say(f"{what} is shown for {shown.images - shown.lacking} of {shown.images} images")
    if shown.lacking:
        tell(f"{shown.lacking} images are not in it and are shown as they were measured live")
    if shown.settled:
        tell(
            f"{shown.settled} results that were confirmed or chosen by hand belong to what was "
            "shown before; they are kept with it"
        )


def _run_of(reader: Reader, plate: str, name: str) -> Row | None:
    """A plate's run by its number; None: `live`."""
    found = _runs_of(reader, plate)
    if name == _LIVE:
        return None
    for row in found:
        if str(row["id"]) == name:
            return row
    raise SpheroiddError(
        f"The plate '{printable(plate)}' has no run {name}.",
        f"It has {', '.join(str(row['id']) for row in found)} and `live`; see `runs list`.",
    )


def _runs_of(reader: Reader, plate: str) -> list[Row]:
    found = run_reading.runs(reader, plate_as_stored(reader, plate))
    if not found:
        known = list(dict.fromkeys(row["plate"] for row in run_reading.runs(reader)))
        raise SpheroiddError(
            f"Nothing of a plate '{printable(plate)}' has been measured.",
            f"There is {listed(known) or 'no plate yet'}.",
        )
    return found


# -- compare ----------------------------------------------------------------------------------


def compare(
    config: ConfigFile,
    plate: Plate,
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="A run's number, or `live`.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="A run's number, or `live`.")],
    picture: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.png", help="A Bland–Altman picture."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="All images, for machines.")] = False,
) -> None:
    """How the areas of two runs differ: B − A, in per cent of the two areas' mean."""
    from spheroidd.report.bland_altman import agreement, draw

    with Reader(database_of(config)) as reader:
        plate = plate_as_stored(reader, plate)
        chosen = [_run_of(reader, plate, name) for name in (first, second)]
        rows = [run_reading.areas(reader, plate, run["id"] if run else None) for run in chosen]
    found = agreement(*rows)
    names = [_name(run) for run in chosen]
    if as_csv:
        _print_csv(*rows)
    else:
        say(f"A: {names[0]}")
        say(f"B: {names[1]}")
        for name, areas in zip("AB", rows, strict=True):
            if largest := sum(row["largest"] for row in areas):
                tell(
                    f"{name} has not been judged (it was not shown yet): in {largest} images with "
                    "several objects, its area is that of the largest object of each image"
                )
        _print_agreement(found)
    if picture is not None:
        draw(found, (names[0], names[1]), printable(plate), picture)
        tell(f"picture: {picture}")


def _name(run: Row | None) -> str:
    if run is None:
        return "live"
    parts = [run["model"]]
    if run["threshold"] is not None:
        parts.append(f"{run['threshold']:g}")
    parts += [run["refinement"]] if run["refinement"] else []
    return f"run {run['id']} ({', '.join(parts)}, {Path(run['pipeline']).name})"


def _print_agreement(found: "Agreement") -> None:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:+.2f} %"

    low, high = found.limits_pct or (None, None)
    median = found.median_absolute_pct
    table = Table("B − A", "", show_header=False)
    for name, value in (
        ("images with an area in both", str(len(found.pairs))),
        ("bias (mean difference)", percent(found.bias_pct)),
        ("limits of agreement (bias ± 1.96 SD)", f"{percent(low)} to {percent(high)}"),
        ("median |difference|", "–" if median is None else f"{median:.2f} %"),
        ("empty in both", str(found.both_empty)),
        ("found in one only", str(len(found.found_in_one))),
        ("images only in A", str(len(found.only_first))),
        ("images only in B", str(len(found.only_second))),
        ("excluded by hand, left out", str(found.excluded)),
    ):
        table.add_row(name, value)
    out.print(table)
    listed = Table("well", "hours", "A (px)", "B (px)", "difference", "image")
    for pair in (*found.found_in_one, *found.worst(10)):
        difference = pair.difference_pct
        listed.add_row(
            Text(printable(pair.well)),
            f"{pair.hours:.3f}",
            f"{pair.first:,.0f}",
            f"{pair.second:,.0f}",
            "found in one only" if difference is None else f"{difference:+.1f} %",
            Text(printable(pair.image_path)),
        )
    if listed.row_count:
        out.print(listed)


def _print_csv(first: list[Row], second: list[Row]) -> None:
    """One line per image that either run has; an empty cell: the run does not have it."""
    from spheroidd.report.bland_altman import Pair

    others = {row["image_id"]: row for row in second}
    ids = {row["image_id"] for row in first}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("well", "hours", "image_path", "excluded", "a_px", "b_px", "difference_pct"))
    for row in (*first, *(row for row in second if row["image_id"] not in ids)):
        a: Any = row["area_px"] if row["image_id"] in ids else None
        b: Any = others[row["image_id"]]["area_px"] if row["image_id"] in others else None
        known = a is not None and b is not None
        pair = Pair(row["well"], row["hours"], row["image_path"], a or 0.0, b or 0.0)
        difference = pair.difference_pct if known else None
        writer.writerow(
            (
                row["well"],
                row["hours"],
                row["image_path"],
                row["excluded"],
                a,
                b,
                None if difference is None else round(difference, 4),
            )
        )
    sys.stdout.flush()
