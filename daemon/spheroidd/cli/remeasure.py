"""`remeasure`: a plate's images once more, beside the results that are there."""

from typing import TYPE_CHECKING, Annotated

import typer

from spheroidd.cli.runs import Plate, tell_shown
from spheroidd.cli.selecting import plate_as_stored
from spheroidd.cli.terminal import ConfigFile, err, load, say, tell
from spheroidd.home import installation_home
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader

if TYPE_CHECKING:
    from spheroidd.again import Progress as Step
    from spheroidd.config import Config
    from spheroidd.remeasure import Ended


def add_to(app: typer.Typer) -> None:
    app.command()(remeasure)


def remeasure(
    config: ConfigFile,
    plate: Plate,
    model: Annotated[str | None, typer.Option(metavar="M", help="Another model.")] = None,
    pipeline: Annotated[
        str | None, typer.Option(metavar="F", help="Another pipeline: a name or a .cppipe file.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Another threshold, between 0 and 1.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--use", help="Show the new results once all are there.")
    ] = False,
) -> None:
    """Measure a plate's images again, beside the results that are there.

    What is not given is as the configuration says. The results make a new run; `runs use`
    shows it. Images that arrive meanwhile are measured first. Ctrl-C (or SIGTERM) ends after
    the work in hand, and the same command goes on from there.
    """
    from rich import progress

    settings = with_options(load(config), model, pipeline, threshold)
    with Reader(settings.state_dir / "spheroidd.db") as reader:
        plate = plate_as_stored(reader, plate)
    from spheroidd.remeasure import remeasure as measure_again
    from spheroidd.system.logs import open_log

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("the model and CellProfiler are warming up", total=None)
        ended = measure_again(
            settings,
            installation_home(),
            plate,
            open_log("warning", settings.logging.format),  # inside: the bar keeps out of its way
            use=show,
            tell=lambda step: bar.update(
                task, description=_description(step), total=step.total, completed=step.done
            ),
        )
    raise typer.Exit(_tell_end(ended, plate))


def with_options(
    config: "Config", model: str | None, pipeline: str | None, threshold: float | None
) -> "Config":
    """The configuration with other values here and there, checked as a whole.

    A shipped pipeline needs no names of images and objects that were said for another one.

    Raises:
        typer.BadParameter: they don't fit.
    """
    from pydantic import ValidationError

    from spheroidd.config import PIPELINES, Config

    said = config.model_dump()
    masks = {"model": model, "threshold": threshold}
    said["segmentation"].update({name: value for name, value in masks.items() if value is not None})
    if pipeline is not None:
        said["measurement"]["pipeline"] = pipeline
        if pipeline in PIPELINES:
            said["measurement"].update(images={}, spheroid=None)
    try:
        return Config.model_validate(said)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise typer.BadParameter("; ".join(problems)) from None


def _description(step: "Step") -> str:
    name = f"run {step.run_id}"
    if step.failed:
        name += f", {step.failed} failed"
    if step.waits_for:
        name += f", waits: the daemon measures {step.waits_for} live images first"
    return name


def _tell_end(ended: "Ended", plate: str) -> int:
    """Say how it ended; the exit code."""
    step = ended.progress
    say(f"run {step.run_id}: {step.done} of {step.total} images of {printable(plate)} measured")
    if not ended.finished:
        tell("interrupted; nothing is lost, the same command goes on from here")
        return 1
    if step.failed:
        tell(f"{step.failed} images failed, see above; the same command tries them once more")
    if ended.shown is not None:
        tell_shown(ended.shown, str(step.run_id))
    else:
        say(f"next: spheroidd runs compare … live {step.run_id}, or runs use … {step.run_id}")
    return 3 if step.failed else 0
