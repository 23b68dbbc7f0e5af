"""`alerts test | list`: whether messages get through, and what they were about."""

import json
import os
import time
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.terminal import ConfigFile, database_of, load, out, say, tell
from spheroidd.store.reader import Reader

alerts = typer.Typer(
    no_args_is_help=True,
    help="Who is told when something is wrong: try it, and see what there was.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(alerts, name="alerts")


@alerts.command()
def test(config: ConfigFile) -> None:
    """Send a message to each target, and say which got it; no secret is shown."""
    import socket

    from spheroidd.alerts.addresses import addresses
    from spheroidd.alerts.sending import Sender
    from spheroidd.alerts.telling import Message, signed
    from spheroidd.system.logs import open_log

    wanted = load(config).alerts
    found = addresses(wanted.targets, wanted.targets_file, os.environ)
    for warning in found.warnings:
        tell(warning, "note: ")
    if not found.found:
        tell("there is nobody to tell: no alerts.targets, no file, no SPHEROIDD_ALERTS", "error: ")
        raise typer.Exit(1)
    message = Message(
        "spheroidd: a test",
        signed(
            "This is a test. If you read it, spheroidd can tell you when something is wrong.",
            socket.gethostname(),
        ),
        "info",
    )
    sender = Sender(found.found, open_log("error", "json"))
    sender.send(message, time.time())
    for target in sender.targets:
        say(
            f"{target.shown}: {target.why or 'sent'}",
            "bold red" if target.why else "green",
        )
    if any(target.why for target in sender.targets):
        raise typer.Exit(1)


@alerts.command("list")
def list_them(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many, open ones first.")
    ] = 50,
) -> None:
    """What is wrong now, and what was lately; who was told, and when."""
    from spheroidd.store.alerting import recent_alerts

    with Reader(database_of(config)) as reader:
        rows = recent_alerts(reader, limit)
    if as_json:
        out.print_json(json.dumps([{**row, "open": bool(row["open"])} for row in rows]))
        return
    if not rows:
        say("No alert so far.")
        return
    table = Table("since (UTC)", "until", "what", "told")
    for row in rows:
        style = ("bold red" if row["urgent"] else "yellow") if row["open"] else ""
        cells = (row["raised_at"][:19], _until(row), row["title"], _told(row))
        table.add_row(*(Text(cell, style=style) for cell in cells))
    out.print(table)


def _until(row: dict[str, Any]) -> str:
    return "now" if row["open"] else str(row["ended_at"])[:19]


def _told(row: dict[str, Any]) -> str:
    if row["told_at"]:
        return str(row["told_at"])[:19]
    return f"no: {row['error']} (tried {row['tries']} times)" if row["error"] else "not yet"
