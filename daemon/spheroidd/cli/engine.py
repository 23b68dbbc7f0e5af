"""`engine install | check`: CellProfiler in an environment of its own."""

from pathlib import Path
from typing import Annotated

import typer

from spheroidd.cli.terminal import say, tell
from spheroidd.home import installation_home

engine = typer.Typer(
    no_args_is_help=True,
    help="CellProfiler's own environment: it cannot share one with rembg.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(engine, name="engine")


@engine.command()
def install(
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="PATH", help="A CPython 3.10 to use."),
    ] = None,
) -> None:
    """Install CellProfiler from wheels alone: no Java, no compiler, no window system."""
    from spheroidd.measure import environment

    path = environment.install(installation_home(), python=python, report=tell)
    say(f"CellProfiler is ready: {path}")


@engine.command()
def check() -> None:
    """Say which CellProfiler is there, or what to do."""
    from spheroidd.measure import environment

    info = environment.check(installation_home())
    say(f"CellProfiler {info.cellprofiler} on {info.python}")
