"""Errors that are meant for people: each says what is wrong and what to do next."""


class SpheroiddError(Exception):
    """A foreseen problem, told in words a user can act on.

    Args:
        message: what is wrong, with the value or path concerned.
        hint: what to do next; empty where the message says it all.
    """

    exit_code = 1
    fatal = False  # in a running service: it ends, for going on would be worse

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(SpheroiddError):
    """The configuration can't be used (exit code 78, systemd won't restart on it)."""

    exit_code = 78


class ModelError(SpheroiddError):
    """A segmentation model is missing, damaged, or can't run as demanded."""


class AcceleratorLostError(SpheroiddError):
    """The accelerator that `require: true` demands failed in mid-run; no image is to blame."""

    fatal = True


class EngineError(SpheroiddError):
    """CellProfiler's environment is missing, or its worker failed as a whole."""


class PipelineError(EngineError):
    """A CellProfiler pipeline can't be run as it is; starting again would not help."""

    exit_code = 78


class StoreError(SpheroiddError):
    """The state folder or its database can't be used."""


class ImageError(SpheroiddError):
    """One image can't be used now.

    `permanent`: waiting can't help.  `unreachable`: the file could not be read at all, which
    says nothing about the image (a share may be away), so it is tried again for ever.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        permanent: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.permanent = permanent
        self.unreachable = unreachable
