"""What all sections of the configuration are made of."""

import os
import threading
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo


class Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def absolute(value: Any, info: ValidationInfo) -> Any:
    """Relative paths are relative to the configuration file, `~` is the user's home."""
    if not isinstance(value, (str, Path)):
        return value
    if not str(value):
        raise ValueError("name a folder")
    base: Path = (info.context or {}).get("base", Path.cwd())
    try:
        return Path(os.path.normpath(base / Path(value).expanduser()))
    except RuntimeError as error:  # ~somebody
        raise ValueError(str(error)) from error


_RESOLVE_SECONDS = 2.0


def resolved(path: Path) -> Path:
    """The path without links; as it is named where its folder does not answer.

    A share that hangs must keep neither the daemon nor `status` from starting, and whoever asks
    it where it is waits as long as it hangs.

    Raises:
        ValueError: no file system can have such a name.
    """
    found: list[Path | Exception] = []

    def ask() -> None:
        try:
            found.append(path.resolve())
        except (OSError, RuntimeError, ValueError) as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_RESOLVE_SECONDS)
    answer = found[0] if found else path
    if isinstance(answer, Exception):
        raise ValueError(str(answer)) from answer
    return answer


FilePath = Annotated[Path, BeforeValidator(absolute)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def auto_or_up_to(most: int) -> BeforeValidator:
    """`auto`, or a whole number from 1: one check for both, and so one message."""

    def check(value: object) -> object:
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        if value != "auto" and not whole:
            raise ValueError(f"must be auto, or a whole number from 1 to {most}")
        return value

    return BeforeValidator(check)
