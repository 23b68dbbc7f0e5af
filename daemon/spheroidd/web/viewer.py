"""Who asks, what is refused and in which words; and what may not be served at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from spheroidd.errors import ConfigError
from spheroidd.web import origin, passwords

HASH_IT = "`spheroidd web --hash-password` makes its hash, for `web.password`"
_NONE_SET = "Looking is free here; deciding takes a password, and none is set."
_SET_ONE = f"Set one ({HASH_IT}), start `spheroidd web` again and log in."
MAKE_ONE = "`spheroidd web --new-token NAME` makes one, for `web.tokens`"


@dataclass(frozen=True)
class Viewer:
    """Who asks.

    Attributes:
        name: the initials given at login, or the token's name; empty: nobody in particular.
        can_look, can_review: what they are allowed to.
        can_log_in: there is something to log in with, and they have not.
        csrf: what a page sends in `X-CSRF-Token`; empty without a session.
        number: the session's secret number; empty without a session.
    """

    name: str = ""
    can_look: bool = False
    can_review: bool = False
    can_log_in: bool = False
    csrf: str = field(default="", repr=False)
    number: str = field(default="", repr=False)

    @property
    def why_not(self) -> str:
        """Why they may not decide, and what to do; empty: they may."""
        if self.can_review:
            return ""
        return "Log in to decide." if self.can_log_in else f"{_NONE_SET} {_SET_ONE}"


class Refused(HTTPException):
    """Not for them, or not so; said in words."""

    def __init__(
        self, status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, error, dict(headers or {}))
        self.hint = hint


def unknown() -> Refused:
    """Nobody that we know."""
    return Refused(
        401,
        "This needs a login.",
        f"Log in at /login; programs send `Authorization: Bearer TOKEN` ({MAKE_ONE}).",
        {"WWW-Authenticate": "Bearer"},
    )


def not_reviewing() -> Refused:
    """Somebody who may only look."""
    return Refused(403, _NONE_SET, _SET_ONE)


def too_often(wait: float) -> Refused:
    """Wrong too many times; to be tried again after `wait` seconds."""
    seconds = math.ceil(wait)
    return Refused(
        429,
        "That was wrong too often.",
        f"Try again in {seconds} s.",
        {"Retry-After": str(seconds)},
    )


def refuse_unsafe(
    host: str, names: Sequence[str], password: str | None, tokens: Mapping[str, str]
) -> None:
    """Refuse what would be open to whoever finds it.

    Args:
        host: where it listens.
        names: under which a reverse proxy serves it.
        password: its hash; None: there is none.
        tokens: name → hash.

    Raises:
        ConfigError: says what to set.
    """
    if password is not None and (wrong := passwords.problem(password)):
        raise ConfigError(f"web.password: {wrong}.")
    alone = origin.is_loopback(host)
    if password is not None or tokens or (alone and not names):
        return
    where = f"web.names has {names[0]}" if alone else f"web.host is {host}"
    raise ConfigError(
        f"{where}, so others reach the page, and there is no password.",
        f"Set one ({HASH_IT}) or a token ({MAKE_ONE}), or keep to `host: 127.0.0.1` "
        "without `names`.",
    )
