"""What all commands share: the consoles, the configuration option, how errors look."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from spheroidd.errors import SpheroiddError
from spheroidd.store.folder import StateFolder

if TYPE_CHECKING:
    from spheroidd.config import Config

# Where nobody looks at a terminal (a pipe, a file) tables keep their lines whole.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 250)
err = Console(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path,
    typer.Option("-c", "--config", metavar="FILE", help="The configuration (YAML)."),
]


def say(text: str, style: str = "") -> None:
    """One line on standard output, as it is: no markup, no folding (paths stay whole)."""
    out.print(Text(text, style=style), soft_wrap=True)


def tell(text: str, label: str = "", style: str = "yellow") -> None:
    """One line on standard error, with a coloured word before it."""
    err.print(Text(label, style=style) + Text(text), soft_wrap=True)


def complain(error: SpheroiddError) -> None:
    """What is wrong, and what to do next below it; never a traceback."""
    tell(error.message, "error: ", "bold red")
    if error.hint:
        tell(f"  → {error.hint}")


def load(path: Path) -> "Config":
    """The validated configuration, file-name patterns included."""
    from spheroidd.config_file import load_config  # pydantic is half of what `--help` would take
    from spheroidd.intake.naming import check_pattern

    return load_config(path, check_pattern)


def database_of(path: Path) -> Path:
    """Where the configuration's database lies."""
    return StateFolder(load(path).state_dir).database
