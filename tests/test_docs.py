"""Documents that can't rot: every command they name exists, every file they link to is there."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer.main

from spheroidd.cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.S | re.M)
LINES = [line.partition(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r"`((?:spheroidd|make) [^`]+)`", README.replace("\n", " "))
COMMANDS = sorted(
    {line for line in LINES + INLINE if re.match(r"(sudo )?(\S*spheroidd|make) ", line)}
)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 12
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_readmes_commands_exist(line: str) -> None:
    words = shlex.split(line.removeprefix("sudo ").replace("…", ""))
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        for target in targets:
            assert re.search(rf"^{target}:", MAKEFILE, re.M), f"no target {target}"
        for variable in (word.split("=")[0] for word in words[1:] if "=" in word):
            assert re.search(rf"^{variable} \?=", MAKEFILE, re.M), f"no variable {variable}"
        return
    command: click.Command = typer.main.get_command(app)  # type: ignore[assignment]
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= known


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (REPOSITORY / target).is_file(), target


def test_the_example_names_every_setting() -> None:
    from spheroidd import config, config_upkeep, config_web
    from spheroidd.config_types import Section

    text = (REPOSITORY / "config.example.yaml").read_text()
    sections = [
        section
        for module in (config, config_upkeep, config_web)
        for section in vars(module).values()
        if isinstance(section, type) and issubclass(section, Section)
    ]
    for section in sections:
        for name in section.model_fields:
            assert re.search(rf"\b{name}:", text), name


def test_the_growth_columns_in_the_readme_are_the_views() -> None:
    from spheroidd.store.reading import GROWTH_COLUMNS

    assert ", ".join(GROWTH_COLUMNS) in README.replace("\n", " ")


# Projects and standards that are cited; a registry or a mirror must not come among them.
CITED = {
    "cellprofiler.org",
    "onnxruntime.ai",
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "www.w3.org",
    "www.cellprofiler.org",
    "www.openmicroscopy.org",
}


def test_only_cited_hosts_are_named() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "README.md" in files
    for name in files:
        if name.endswith(".png"):
            continue
        text = (REPOSITORY / name).read_text()
        named = set(re.findall(r"https?://([a-z0-9.-]+\.[a-z]+)", text))
        # RFC 2606: nobody's
        assert {host for host in named if not host.endswith(".example")} <= CITED, name
