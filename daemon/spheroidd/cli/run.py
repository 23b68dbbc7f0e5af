"""`run` and `check`: the daemon itself, and a look at what it would do."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.terminal import ConfigFile, err, load, out, say, tell
from spheroidd.home import installation_home

if TYPE_CHECKING:
    from spheroidd.config import Config
    from spheroidd.intake.dryrun import Outcome


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(check)


def run(
    config: ConfigFile,
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle",
            help="Measure what is there, then end (0: all measured, 3: some images failed, or "
            "could not be judged).",
        ),
    ] = False,
) -> None:
    """Watch, segment, measure: the daemon.

    Ctrl-C (or SIGTERM) finishes or hands back the work in hand; a second one ends at once.
    """
    from spheroidd.alerts.starting import Starting
    from spheroidd.system.logs import open_log

    # Of a wrong configuration's own addresses nothing is known: only the environment's are told.
    environment = {} if until_idle else os.environ
    with Starting((), None, 24.0, None, environment, open_log("info", "auto")).guard():
        settings = load(config)
    from spheroidd import service

    log = open_log(settings.logging.level, settings.logging.format)
    finished = (lambda: True) if until_idle else None
    raise typer.Exit(service.run(lambda: load(config), installation_home(), log, finished))


def check(
    config: ConfigFile,
    names: Annotated[
        bool,
        typer.Option(
            "--names", help="Dry run: what each file under the watched folders becomes, or why not."
        ),
    ] = False,
) -> None:
    """Check the configuration and print it with all defaults filled in.

    What is still missing on this machine (folder, model, CellProfiler) is said on standard error.
    """
    settings = load(config)
    for advice in _missing(settings):
        tell(advice, "still to do: ")
    if names:
        _print_names(settings)
    else:
        out.print(settings.dump(), markup=False, soft_wrap=True, end="")


def _missing(settings: "Config") -> list[str]:
    """What `run` would stumble over."""
    from spheroidd.errors import SpheroiddError
    from spheroidd.measure.environment import check as check_engine
    from spheroidd.segment.models import resolve

    home = installation_home()
    advice = [
        f"the watched folder {watch.path} is not there (yet)"
        for watch in settings.watch
        if not watch.path.is_dir()
    ]
    checks: list[Callable[[], object]] = [lambda: check_engine(home)]
    checks += [partial(resolve, name, home) for name in settings.segmentation.models]
    for look in checks:
        try:
            look()
        except SpheroiddError as error:
            advice.append(str(error))
    return advice


def _print_names(settings: "Config") -> None:
    from spheroidd.assembly import folder_of
    from spheroidd.intake.dryrun import Outcome, preview

    for watch in settings.watch:
        outcomes: list[Outcome] = []
        try:
            with err.status(f"reading {watch.path}") as status:
                for outcome in preview(folder_of(watch)):
                    outcomes.append(outcome)
                    status.update(f"reading {watch.path}: {len(outcomes)} files")
        except OSError as error:
            tell(f"{watch.path} can't be read: {error.strerror}", "error: ", "bold red")
            continue
        images = [outcome for outcome in outcomes if not outcome.reason]
        _print_images(str(watch.path), images)
        left_out = [outcome for outcome in outcomes if outcome.reason]
        for outcome in left_out:
            say(f"not used: {outcome.path}: {outcome.reason}", "yellow")
        say(f"{len(images)} images, {len(left_out)} not used")
        if weak := sum(outcome.source == "mtime" for outcome in images):
            tell(
                f"{weak} times come from the files' own dates, which copying changes; set "
                "`interval_minutes`, or a `pattern` that finds the time in the name",
                "note: ",
            )


def _print_images(title: str, images: "list[Outcome]") -> None:
    table = Table("file", "plate", "well", "time", "from", title=title)
    for image in images:
        cells = (image.path, image.plate, image.well, image.time, image.source)
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)
