"""What all sections of the configuration are made of."""

import os
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


FilePath = Annotated[Path, BeforeValidator(absolute)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
