"""The configuration in force, and how another one takes its place while the service runs."""

import os
from collections.abc import Callable
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from spheroidd.alerts.addresses import addresses, fingerprint
from spheroidd.alerts.sending import open_targets
from spheroidd.config import Config
from spheroidd.errors import ConfigError, SpheroiddError

_T = TypeVar("_T")


class Settings:
    """`now` is in force; `refused` says why a newer one is not.  `answered`: how often it has been
    read and applied or refused; whoever asked for it waits for that."""

    def __init__(self, load: Callable[[], Config], log: FilteringBoundLogger) -> None:
        """
        Args:
            load: reads the configuration file.

        Raises:
            ConfigError: it can't be used; at start there is no older one to go on with.
        """
        self._load = load
        self._log = log
        self.now = self._before = load()
        self._told = _addresses_of(self.now)
        self.refused = ""
        self.answered = 0

    def read_again(self) -> bool:
        """Read the file again; returns whether there is something new to apply."""
        try:
            new = self._load()
            _refuse_what_needs_a_restart(self.now, new)
            told = _addresses_of(new)
            if told != self._told:  # the old configuration may name the same file: no way back
                wanted = new.alerts
                open_targets(addresses(wanted.targets, wanted.targets_file, os.environ).found)
        except SpheroiddError as error:
            self._refuse(error)
            return False
        self.refused = ""
        if new == self.now and told == self._told:
            self._log.info("configuration read again: nothing has changed")
            return False
        self._before, self.now, self._told = self.now, new, told
        return True

    def apply(self, build: Callable[[Config], _T]) -> _T:
        """What `build` makes of the new configuration, or of the old one where it can't.

        Raises:
            SpheroiddError: neither can be built.
        """
        try:
            return build(self.now)
        except Exception as error:
            if self.now is self._before:
                raise
            self._refuse(error)
            self.now = self._before
            return build(self.now)

    def _refuse(self, error: Exception) -> None:
        self.refused = str(error)
        self._log.error(
            "the new configuration can't be used; going on with the old one", reason=self.refused
        )


def _addresses_of(config: Config) -> str:
    """What tells one content of the file that the configuration names from another."""
    return fingerprint(config.alerts.targets_file, os.environ)


def _refuse_what_needs_a_restart(now: Config, new: Config) -> None:
    for name in ("state_dir", "logging"):
        if getattr(now, name) != getattr(new, name):
            raise ConfigError(
                f"{name} can't change while the service runs.",
                "Restart it: systemctl restart spheroidd.",
            )
