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
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands here twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


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
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except Exception as error:  # what PyYAML's constructors stumble over: `!!bool x`, 2001-99-99
        raise ConfigError(f"{path} is not valid YAML: {error!r:.200}") from error
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
        where = ".".join(str(part) for part in detail["loc"])
        where = re.sub(r"\.(\d+)", r"[\1]", where)
        value = _shown(detail)
        for advice in _advice(detail):
            yield f"{where} is {value}: {advice}" if value else f"{where}: {advice}"


def _shown(detail: ErrorDetails) -> str:
    """The value as found; a whole section is no help where a rule between settings is broken."""
    if "alerts" in detail["loc"]:
        return ""  # it may hold a password
    of_section = isinstance(detail["input"], (dict, list, tuple, BaseModel))
    if detail["type"] == "missing" or (detail["type"] == "value_error" and of_section):
        return ""
    text = repr(detail["input"])
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


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting holds, be it one or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
