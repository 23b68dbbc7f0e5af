"""`run` and `check`: the daemon itself, and a look at what it would do."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.terminal import ConfigFile, err, load, out, say, tell
from spheroidd.config import Config
from spheroidd.home import installation_home


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(check)


def run(
    config: ConfigFile,
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle",
            help="Measure what is there, then end (0: all measured, 3: some images failed).",
        ),
    ] = False,
) -> None:
    """Watch, segment, measure: the daemon.

    Ctrl-C (or SIGTERM) finishes or hands back the work in hand; a second one ends at once.
    """
    settings = load(config)
    from spheroidd import service
    from spheroidd.system.logs import open_log

    log = open_log(settings.logging.level, settings.logging.format)
    finished = (lambda: True) if until_idle else None
    raise typer.Exit(service.run(settings, installation_home(), log, finished))


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


def _missing(settings: Config) -> list[str]:
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
    if settings.segmentation.enabled:
        checks.append(lambda: resolve(settings.segmentation.model, home))
    for look in checks:
        try:
            look()
        except SpheroiddError as error:
            advice.append(str(error))
    return advice


def _print_names(settings: Config) -> None:
    from spheroidd.assembly import folder_of
    from spheroidd.intake.dryrun import Outcome, preview

    for watch in settings.watch:
        table = Table("file", "plate", "well", "time", "from", title=str(watch.path))
        counts = {"images": 0, "ignored": 0}
        weak = 0
        try:
            outcomes: list[Outcome] = []
            with err.status(f"reading {watch.path}") as status:
                for outcome in preview(folder_of(watch)):
                    outcomes.append(outcome)
                    status.update(f"reading {watch.path}: {len(outcomes)} files")
        except OSError as error:
            tell(f"{watch.path} can't be read: {error.strerror}", "error: ", "bold red")
            continue
        for outcome in outcomes:
            if outcome.reason:
                counts["ignored"] += 1
                table.add_row(Text(outcome.path), Text(outcome.reason, style="yellow"), "", "", "")
            else:
                counts["images"] += 1
                weak += outcome.source == "mtime"
                cells = (outcome.path, outcome.plate, outcome.well, outcome.time, outcome.source)
                table.add_row(*(Text(cell) for cell in cells))
        out.print(table)
        say(f"{counts['images']} images, {counts['ignored']} not used")
        if weak:
            tell(
                f"{weak} times come from the files' own dates, which copying changes; set "
                "`interval_minutes`, or a `pattern` that finds the time in the name",
                "note: ",
            )
