"""`status`, `export`, `retry`: look at the results, and bring failures back."""

import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.selecting import plate_as_stored
from spheroidd.cli.terminal import ConfigFile, database_of, load, out, say, tell
from spheroidd.store.folder import StateFolder
from spheroidd.store.paths import printable, to_stored
from spheroidd.store.reader import Reader

if TYPE_CHECKING:
    from spheroidd.config import Config

Plate = Annotated[str | None, typer.Option("--plate", metavar="P", help="Only this plate.")]


def add_to(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(export)
    app.command()(retry)


def status(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What is running, how far every plate is, how healthy it is, what failed, and what to do."""
    from spheroidd.report.status import disk, snapshot

    settings, now = load(config), time.time()
    with Reader(StateFolder(settings.state_dir).database) as reader:
        found = snapshot(reader, now)
    found["disk"] = disk(settings.state_dir)
    found["last_backup_at"] = _last_backup(settings)
    if as_json:
        out.print_json(json.dumps(found))
        return
    print_status(found, now)


def _last_backup(settings: "Config") -> str | None:
    """When the newest copy of the database was made; None: there is none that we can see."""
    from spheroidd.store.backups import backups_in

    with contextlib.suppress(OSError):
        found = backups_in(StateFolder(settings.state_dir).backups(settings.backup.folder))
        made = [datetime.fromtimestamp(backup.made_at, UTC) for backup in found]
        return made[-1].isoformat() if made else None
    return None


def print_status(found: dict[str, Any], now: float) -> None:
    """One sentence, then what is wrong, where from, how far each plate is, and what failed."""
    from spheroidd.report.wording import headline, moment, troubles

    level, sentence = headline(found, now)
    say(sentence, {"ok": "green", "warning": "yellow", "wrong": "bold red"}[level])
    for trouble in troubles(found):
        since = f"since {moment(trouble.since, now)}"
        say(f"{trouble.what}: {trouble.words}, {since}", "red")
        if trouble.next_step:
            say(f"  → {trouble.next_step}", "yellow")
    _print_daemon(found["daemon"], now)
    for folder in found["folders"]:
        where = printable(folder["root"])
        since = moment(folder["since"], now)
        say(f"{where}: {folder['health']} since {since} ({folder['observer'] or 'not watched'})")
    out.print(progress_table(found["plates"]))
    _print_failures(found, now)
    _print_rest(found, now)


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


def _print_daemon(daemon: dict[str, Any], now: float) -> None:
    from spheroidd.report.wording import moment

    if "pid" not in daemon:
        return
    what = f"model {daemon['model']} on {daemon['provider']}, pipeline {daemon['pipeline']}"
    since = f"process {daemon['pid']}, started {moment(daemon['started_at'], now)}"
    say(f"spheroidd {daemon['version']}: {since}; {what}")


def _print_failures(found: dict[str, Any], now: float) -> None:
    """One by one while they are few; by reason, with an example of each, where they are many."""
    failures, left = found["failures"], found["totals"]["failed"]
    if left <= len(failures):
        for failure in failures:
            _print_failure(failure, failure["next_try_at"], failure["next_try_at"] is None, now)
        return
    for group in found["failure_groups"]:
        left -= group["count"]
        more = group["count"] - 1
        likewise = f"; and {more} more like this" if more else ""
        shown = {"path": group["path"], "reason": group["reason"].rstrip(".") + likewise}
        _print_failure(shown, group["next_try_at"], group["set_aside"], now)
    if left > 0:
        say(f"and {left} more failed images, for other reasons; `--json` lists the newest", "red")


def _print_failure(shown: dict[str, Any], next_try: str | None, set_aside: int, now: float) -> None:
    from spheroidd.report.wording import moment

    fates = [f"tried again {moment(next_try, now)}"] if next_try else []
    if set_aside:
        count = f"{set_aside} " if next_try else ""
        fates.append(f"{count}set aside; `spheroidd retry` brings back")
    say(f"failed: {printable(shown['path'])}", "red")
    reason = shown["reason"].removeprefix(f"'{shown['path']}': ")  # it stands above
    say(f"  {printable(reason)} ({', '.join(fates)})")


def _print_rest(found: dict[str, Any], now: float) -> None:
    from spheroidd.report.wording import age, moment

    if found["gone"]:
        say(f"{found['gone']} images were gone before they could be read; see the log", "yellow")
    if found["alerts_open"]:
        say(f"{found['alerts_open']} alerts are open", "yellow")
    facts = []
    if found["latency"]["images"]:
        median, slow = (age(found["latency"][key]) for key in ("median_seconds", "p95_seconds"))
        facts.append(f"seen to measured: {median}, 19 of 20 within {slow}")
    if found["disk"] is not None:
        facts.append(f"disk: {found['disk']['free_bytes'] / 1e9:.1f} GB free")
    backup = found["last_backup_at"]
    facts.append(f"last backup {moment(backup, now)}" if backup else "no backup yet")
    say("; ".join(facts))


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
