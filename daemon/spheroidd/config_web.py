"""Settings of the web page: where it listens, and who may look."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spheroidd.config_types import Section

_PASSWORD = re.compile(r"scrypt\$\d+\$\d+\$\d+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+")
_TOKEN = re.compile(r"sha256\$[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _hashed_password(value: str) -> str:
    if not _PASSWORD.fullmatch(value):
        raise ValueError("not a hash; `spheroidd web --hash-password` makes one of your password")
    return value


def _hashed_token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("not a hash; `spheroidd web --new-token NAME` makes a token and its hash")
    return value


def _host_name(value: str) -> str:
    if not _NAME.fullmatch(value.lower()):
        raise ValueError("not a host name; give it bare, such as spheroids.lab.example.org")
    return value.lower()


class Web(Section):
    """The page and the read API; beside the daemon, started by `spheroidd web`."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8765, ge=1, le=65535)
    # Hashes only; whoever reads the configuration learns no secret that opens anything.
    password: Annotated[str, AfterValidator(_hashed_password)] | None = Field(
        default=None, repr=False
    )
    tokens: dict[str, Annotated[str, AfterValidator(_hashed_token)]] = Field(
        default_factory=dict, repr=False
    )
    # Under which names a reverse proxy serves it.
    names: tuple[Annotated[str, AfterValidator(_host_name)], ...] = ()
