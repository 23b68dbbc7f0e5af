"""`doctor`: is everything in place, and what to do where it is not?"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from spheroidd.cli.terminal import ConfigFile, err, load, out, say
from spheroidd.errors import ConfigError
from spheroidd.home import installation_home

if TYPE_CHECKING:
    from spheroidd.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check the whole installation, and say of each thing how it is and what to do.

    Runs the model and CellProfiler once; changes nothing. 0: nothing is wrong (there may be
    warnings); 1: something is; 78: the configuration is.
    """
    found: list[Finding] = []
    with err.status("looking") as status:
        for finding in _findings(config, status.update):
            found.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        out.print_json(json.dumps([dataclasses.asdict(finding) for finding in found]))
    else:
        _sum_up(found)
    wrong = [finding.what for finding in found if finding.level == "wrong"]
    if wrong:
        raise typer.Exit(ConfigError.exit_code if "configuration" in wrong else 1)


def _findings(config: ConfigFile, begin: Callable[[str], object]) -> "Iterator[Finding]":
    from spheroidd.doctor.checks import checks, examine
    from spheroidd.doctor.finding import Finding, Installation

    here = None
    try:
        here = Installation(load(config), installation_home())
        yield Finding("configuration", "ok", str(config))
    except ConfigError as error:
        advice = error.hint or "Correct it; the other checks need it."
        yield Finding("configuration", "wrong", error.message, advice)
    yield from examine(checks(here), lambda name: begin(f"looking at {name}"))


def _show(finding: "Finding") -> None:
    say(f"{finding.level:8} {finding.what}: {finding.found}", _STYLES[finding.level])
    if finding.next_step:
        say(f"         → {finding.next_step}")


def _sum_up(found: "list[Finding]") -> None:
    wrong, warnings = (
        sum(finding.level == level for finding in found) for level in ("wrong", "warning")
    )
    if wrong:
        say(f"{wrong} wrong, {_warned(warnings)}", "bold red")
    else:
        say(f"nothing is wrong, {_warned(warnings)}", "yellow" if warnings else "green")


def _warned(count: int) -> str:
    return "1 warning" if count == 1 else f"{count} warnings"
