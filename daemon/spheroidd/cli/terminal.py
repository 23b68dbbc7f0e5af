"""What all commands share: the consoles, the configuration option, how errors look."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from spheroidd.config import Config, load_config
from spheroidd.errors import SpheroiddError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path,
    typer.Option("-c", "--config", metavar="FILE", help="The configuration (YAML)."),
]


def complain(error: SpheroiddError) -> None:
    """What is wrong in red, what to do next below it; never a traceback."""
    err.print(Text("error: ", style="bold red") + Text(error.message))
    if error.hint:
        err.print(Text(f"  → {error.hint}"))


def load(path: Path) -> Config:
    """The validated configuration, file-name patterns included."""
    from spheroidd.intake.naming import check_pattern

    return load_config(path, check_pattern)


def database_of(path: Path) -> Path:
    """Where the configuration's database lies."""
    return load(path).state_dir / "spheroidd.db"
