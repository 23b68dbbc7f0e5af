"""Where alerts go: apprise's URLs from the configuration, a file, and the environment.

They hold passwords and tokens: nothing here ever shows more of one than its scheme.
"""

import hashlib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spheroidd.errors import ConfigError

_VARIABLE = "SPHEROIDD_ALERTS"
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*(?=://)")


@dataclass(frozen=True)
class Address:
    """One apprise URL, and where it was found; the URL is left out of every `repr`."""

    place: str
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """What may be shown: the scheme and the place."""
        found = _SCHEME.match(self.url)
        return f"{found.group().lower()}://… ({self.place})" if found else self.place


@dataclass(frozen=True)
class Addresses:
    """All addresses, and what is unwise about where they are kept."""

    found: tuple[Address, ...]
    warnings: tuple[str, ...] = ()


def addresses(
    targets: Sequence[str], targets_file: Path | None, environment: Mapping[str, str]
) -> Addresses:
    """Every address, in the order: configuration, file, environment; each once.

    Args:
        targets: `alerts.targets`.
        targets_file: one URL a line, `#` begins a comment; None: `alerts` among the credentials
            that systemd hands over (LoadCredential=alerts:…), if it is there.
        environment: SPHEROIDD_ALERTS holds URLs with white space between them.

    Raises:
        ConfigError: the file can't be read.
    """
    found = [Address(f"alerts.targets[{n}]", url.strip()) for n, url in enumerate(targets)]
    warnings: list[str] = []
    file = targets_file or _credential(environment)
    if file is not None:
        found += _lines(file)
        if targets_file is not None and file.stat().st_mode & stat.S_IROTH:
            warnings.append(f"everybody on this machine may read {file}; `chmod o-r` it")
    found += [
        Address(f"{_VARIABLE}, number {n}", url)
        for n, url in enumerate(environment.get(_VARIABLE, "").split(), start=1)
    ]
    once = {one.url: one for one in reversed(found)}
    return Addresses(tuple(one for one in found if once[one.url] is one), tuple(warnings))


def fingerprint(targets_file: Path | None, environment: Mapping[str, str]) -> str:
    """What tells one content of the file (or credential) from another: its SHA-256, in hex; empty
    where there is none, `unreadable` where it can't be read.

    Args:
        targets_file, environment: as of `addresses`.
    """
    file = targets_file or _credential(environment)
    if file is None:
        return ""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _credential(environment: Mapping[str, str]) -> Path | None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, "alerts") if folder else None
    return file if file is not None and file.is_file() else None


def _lines(file: Path) -> list[Address]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"alerts.targets_file {file} can't be read: {error.strerror}.",
            "Let the user that runs spheroidd read it, or take the setting out.",
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(
            f"alerts.targets_file {file} is not text.", "It holds one URL a line."
        ) from None
    return [
        Address(f"{file.name}, line {number}", line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
