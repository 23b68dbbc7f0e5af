"""`status`, `export`, `retry`: look at the results, and bring failures back."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.selecting import plate_as_stored
from spheroidd.cli.terminal import ConfigFile, database_of, out, say, tell
from spheroidd.store.paths import printable, to_stored
from spheroidd.store.reader import Reader

Plate = Annotated[str | None, typer.Option("--plate", metavar="P", help="Only this plate.")]


def add_to(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(export)
    app.command()(retry)


def status(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What is running, how far every plate is, what waits for review, and what failed, and why."""
    from spheroidd.report.status import snapshot

    with Reader(database_of(config)) as reader:
        found = snapshot(reader, time.time())
    if as_json:
        out.print_json(json.dumps(found))
        return
    _print_daemon(found["daemon"])
    for folder in found["folders"]:
        well = folder["health"] == "ok"
        line = f"{folder['root']}: {folder['health']} since {folder['since']}"
        line += f" ({folder['observer']})" if well else f": {folder['reason']}"
        say(line, "" if well else "red")
    out.print(progress_table(found["plates"]))
    _print_failures(found["failures"])
    if found["gone"]:
        say(f"{found['gone']} images were gone before they could be read; see the log", "yellow")


def progress_table(plates: list[dict[str, Any]]) -> Table:
    """Images seen, segmented, measured, failed, waiting for review and excluded per plate."""
    table = Table(
        "plate", "wells", "seen", "segmented", "measured", "failed", "to review", "excluded"
    )
    for plate in plates:
        failed = Text(str(plate["failed"]), style="red" if plate["failed"] else "")
        review = Text(str(plate["to_review"]), style="yellow" if plate["to_review"] else "")
        numbers = (str(plate[key]) for key in ("wells", "seen", "segmented", "measured"))
        name = Text(printable(plate["plate"] or "(not taken in yet)"))
        table.add_row(name, *numbers, failed, review, str(plate["excluded"]))
    return table


def _print_daemon(daemon: dict[str, Any]) -> None:
    if "pid" not in daemon:
        say("The daemon has never run on this state folder.")
        return
    what = f"model {daemon['model']} on {daemon['provider']}, pipeline {daemon['pipeline']}"
    if daemon["running"]:
        say(f"running since {daemon['started_at']} (process {daemon['pid']}); {what}")
    else:
        ended = daemon["stopped_at"] or f"without a word {daemon['silent_seconds']:.0f} s ago"
        say(f"not running; it ended {ended}; {what}", "yellow")
    if daemon["trouble"]:
        say(f"trouble: {daemon['trouble']}", "red")


def _print_failures(failures: list[dict[str, Any]]) -> None:
    for failure in failures:
        when = failure["next_try_at"]
        fate = f"tried again at {when}" if when else "set aside; `spheroidd retry` brings it back"
        say(f"failed: {printable(failure['path'])}", "red")
        say(f"  {failure['reason']} ({fate})")


def export(
    config: ConfigFile,
    plate: Plate = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: the screen.")
    ] = None,
) -> None:
    """Write the growth table as CSV: one line per measured image, by plate, well and time."""
    from spheroidd.report.export import export_csv, export_file

    with Reader(database_of(config)) as reader:
        plate = None if plate is None else plate_as_stored(reader, plate)
        if output is None:
            count = export_csv(reader, sys.stdout, plate)
            sys.stdout.flush()  # here, where a reader that has left (`| head`) is foreseen
        else:
            count = export_file(reader, output, plate)
    tell(f"{count} images" + (f" → {output}" if output else ""))


def retry(
    config: ConfigFile,
    plate: Plate = None,
    well: Annotated[str | None, typer.Option("--well", metavar="W", help="Only this well.")] = None,
    path: Annotated[
        Path | None, typer.Option("--path", metavar="FILE", help="Only this image.")
    ] = None,
) -> None:
    """Bring failed images back to the stage where they failed, those set aside too."""
    from spheroidd.store.database import Database
    from spheroidd.store.ledger import Ledger

    database_file = database_of(config)
    Reader(database_file).close()  # says what to do where there is none; a writer would make one
    database = Database(database_file)
    try:
        # Not resolved: the ledger knows images below the watched folder as it is named.
        wanted = to_stored(os.path.normpath(path.absolute())) if path else None
        count = Ledger(database).retry(time.time(), plate=plate, well=well, path=wanted)
    finally:
        database.close()
    say(f"{count} failed images will be tried again" if count else "no failed images there")
