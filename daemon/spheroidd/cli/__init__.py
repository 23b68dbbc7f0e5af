"""The commands; the only room that prints or exits.

Heavy imports (numpy, rembg, matplotlib; pydantic with the configuration) stay inside the
commands that need them, so that `--help`, `status` and a shell's Tab key answer at once.
"""

import os
import sqlite3
import sys
from typing import Annotated

import typer

from spheroidd.cli import (
    alerts,
    backup,
    demo,
    doctor,
    engine,
    look,
    models,
    reload,
    remeasure,
    review,
    run,
    runs,
    web,
)
from spheroidd.cli.terminal import complain, say
from spheroidd.errors import SpheroiddError

app = typer.Typer(
    name="spheroidd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "The area of every spheroid over time, while the experiment runs.\n\n"
        "Watches an instrument's export folder, segments each new image (rembg), measures it "
        "(CellProfiler) and keeps the areas in SQLite.\n\n"
        "First time: `spheroidd demo`. Then edit config.example.yaml, look at "
        "`spheroidd check -c config.yaml --names`, and `spheroidd run -c config.yaml`."
    ),
    epilog="Exit codes: 0 fine, 1 failed, 2 usage, 3 finished with failed images, "
    "78 bad configuration.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from spheroidd import __version__

        say(f"spheroidd {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    pass


run.add_to(app)
reload.add_to(app)
look.add_to(app)
remeasure.add_to(app)
runs.add_to(app)
review.add_to(app)
web.add_to(app)
backup.add_to(app)
alerts.add_to(app)
models.add_to(app)
engine.add_to(app)
doctor.add_to(app)
demo.add_to(app)


def _know_the_shells() -> None:
    """So that one of them can ask what could come next; typer does it by itself only for
    programs that write into people's start-up files."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def main() -> None:
    """Entry point: a foreseen problem is told in words, and its exit code given."""
    if "_SPHEROIDD_COMPLETE" in os.environ:
        _know_the_shells()
    try:
        app()
    except SpheroiddError as error:
        complain(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor complain at exit
        sys.exit(1)
    except (OSError, sqlite3.Error, UnicodeError) as error:
        complain(SpheroiddError(f"{type(error).__name__}: {error}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
