"""`reload`: have the running daemon read its configuration again, and hear what it says."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from spheroidd.cli.terminal import ConfigFile, database_of, err, say
from spheroidd.errors import ConfigError, SpheroiddError
from spheroidd.report.status import daemon as daemon_of
from spheroidd.store import reading
from spheroidd.store.reader import Reader

_LOOK_SECONDS = 0.3


def add_to(app: typer.Typer) -> None:
    app.command()(reload)


def reload(
    config: ConfigFile,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for its answer.")
    ] = 600.0,
    pid: Annotated[
        int | None,
        typer.Option("--pid", metavar="N", help="The daemon's process; default: as recorded."),
    ] = None,
) -> None:
    """Have the running daemon read its configuration again (as `systemctl reload` does).

    Work in hand is finished first.  A configuration that can't be used is refused, the reason is
    told here, and the daemon goes on with the old one.
    """
    with Reader(_database(config, pid)) as reader:
        daemon = daemon_of(reading.service(reader), time.time())
        if not daemon["running"]:
            raise SpheroiddError(
                "No daemon is running on this state folder.", "Start it: spheroidd run -c FILE."
            )
        before = int(daemon["reloads"])
        _ask(pid or int(daemon["pid"]))
        with err.status("the daemon finishes what it has in hand, and reads its configuration"):
            _await(reader, before, time.monotonic() + wait)
        refused = next(
            (row for row in reading.conditions(reader) if row["name"] == "configuration"), None
        )
    if refused and refused["trouble"]:
        raise ConfigError(refused["trouble"], "It goes on with the old configuration.")
    say("the configuration is in force")


def _database(config: Path, pid: int | None) -> Path:
    """Where it lies.  A file that can't be read does not tell, but the daemon is to hear of it,
    so that its status says so, too."""
    try:
        return database_of(config)
    except ConfigError:
        if pid is not None:
            _ask(pid)
        raise


def _ask(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise SpheroiddError(
            f"The daemon (process {pid}) can't be asked: {error.strerror}.",
            "Do it as the user that it runs as, or as root: systemctl reload spheroidd.",
        ) from error


def _await(reader: Reader, before: int, end: float) -> None:
    while time.monotonic() < end:
        daemon = reading.service(reader)
        if daemon is None or daemon["stopped_at"] is not None:
            raise SpheroiddError("The daemon has ended meanwhile.", "See its log.")
        if daemon["reloads"] > before:
            return
        time.sleep(_LOOK_SECONDS)
    raise SpheroiddError("The daemon has not answered yet.", "See `spheroidd status` and its log.")
