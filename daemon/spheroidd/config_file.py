"""YAML file → `Config`; every problem is told at once, each with where it stands and what to do."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from spheroidd.config import Config, OverlapError
from spheroidd.errors import ConfigError

# Aliases of aliases multiply: with so few, a file can't grow into more than it says.
_MOST_ALIASES = 20
# What PyYAML may say without showing a piece of the file, which may be a password: names of its
# own, such as '<block end>', and single signs.
_HARMLESS = re.compile(r"(?:[^'\"]|'[^']{1,2}'|'<[a-z ]+>')*")
_SECRET = re.compile(r"://|@")


class _StrictLoader(yaml.SafeLoader):
    """YAML itself lets a repeated key win in silence; here it is an error.

    Aliases are few: nine of nine of nine, thirty times, would fill any memory.
    """

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > _MOST_ALIASES:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                said = f"there are more than {_MOST_ALIASES} aliases (*name)"
                raise yaml.composer.ComposerError(None, None, said, mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):  # `!!set x`
            said = "this is no mapping, though it is marked as one"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    name = f" {key.value}" if key.value in _names_in(Config) else ""
                    said = f"the key{name} stands here twice"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What PyYAML's constructors stumble over (`!!bool x`, 2001-99-99) is an error like any
        other, with its place."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:
            said = f"this value is not what it is marked as or looks like ({type(error).__name__})"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from None


def load_config(path: Path, check_pattern: Callable[[str], None] | None = None) -> Config:
    """Read and validate a configuration file.

    Args:
        path: the YAML file; relative paths in it are relative to its folder.
        check_pattern: raises ValueError for a file-name pattern that can't be used.

    Raises:
        ConfigError: with every problem found, each on a line of its own.
    """
    try:
        # Only the safe constructors of SafeLoader are behind this loader.
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no configuration file {path}.",
            "Copy config.example.yaml and edit the ten lines that matter.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        # Without the cause: it holds the lines around the place.
        raise ConfigError(f"{path} is not valid YAML: {_said(error)}.") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} holds no settings.", "See config.example.yaml for what belongs there."
        )
    context = {"base": path.resolve().parent, "check_pattern": check_pattern}
    try:
        return Config.model_validate(raw, context=context)
    except ValidationError as error:
        problems = list(_problems(error))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{path}: {count}\n{listing}") from None


def _said(error: yaml.YAMLError | RecursionError) -> str:
    """What is wrong and where; nothing of what stands there, for it may be a password."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"its character number {error.position + 1} is not allowed in YAML"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else "it is damaged"
    parts = [(error.context, error.context_mark), (error.problem, error.problem_mark)]
    said = []
    for text, mark in parts:
        words = _harmless(text or "")
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if words or place:
            said.append(f"{words} ({place})" if words and place else words or place)
    return ", ".join(said)


def _harmless(text: str) -> str:
    found = _HARMLESS.match(text)
    kept = found.group() if found else ""
    return kept if kept == text else f"{kept.rstrip()} …"


def _problems(error: ValidationError) -> Iterator[str]:
    """One line each: where (dotted path), the value found, and what to do."""
    details = error.errors()
    for detail in details:
        inner = [
            d
            for d in details
            if len(d["loc"]) > len(detail["loc"])
            and d["loc"][: len(detail["loc"])] == detail["loc"]
        ]
        if inner and detail["loc"]:
            continue  # a list "too short" only because its items were refused
        where = ".".join(_harmless_name(part) for part in detail["loc"])
        where = re.sub(r"\.(\d+)", r"[\1]", where)
        value = _shown(detail)
        for advice in _advice(detail):
            yield f"{where} is {value}: {advice}" if value else f"{where}: {advice}"


def _harmless_name(part: int | str) -> str:
    """A setting's name; an address that stands where a name belongs is no name."""
    return "…" if _SECRET.search(str(part)) else str(part)


def _shown(detail: ErrorDetails) -> str:
    """The value as found, unless it may hold a password.

    That is all of `alerts`, what may be a section with a mistyped name, and what looks like an
    address.  A whole section would be no help either.
    """
    value, unknown = detail["input"], detail["type"] == "extra_forbidden"
    if "alerts" in detail["loc"] or detail["type"] == "missing":
        return ""
    if unknown and len(detail["loc"]) == 1:
        return ""
    of_numbers = isinstance(value, (list, tuple)) and all(
        isinstance(item, (int, float)) for item in value
    )
    if isinstance(value, (dict, list, tuple, set, BaseModel)) and (
        not of_numbers or unknown or detail["type"] == "value_error"
    ):
        return ""
    text = repr(value)
    if _SECRET.search(text):
        return ""
    return text if len(text) <= 80 else text[:77] + "..."


def _advice(detail: ErrorDetails) -> list[str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return [f"no such setting; known here are {', '.join(_siblings(detail['loc']))}"]
    if kind == "missing":
        return ["this setting is needed; see config.example.yaml"]
    if kind == "literal_error":
        return [f"choose one of {context['expected']}"]
    if kind == "value_error":
        error = context["error"]
        return list(error.args) if isinstance(error, OverlapError) else [str(error)]
    message = detail["msg"].replace("Input should", "must")
    return [message[0].lower() + message[1:]]


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The settings that exist where an unknown one was found."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        if isinstance(part, str):
            section = _section_of(section.model_fields[part].annotation) or section
    return sorted(section.model_fields)


def _names_in(section: type[BaseModel]) -> frozenset[str]:
    """All settings that there are, in whatever section."""
    below = map(_section_of, (field.annotation for field in section.model_fields.values()))
    return frozenset(section.model_fields).union(*map(_names_in, filter(None, below)))


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting holds, be it one or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
