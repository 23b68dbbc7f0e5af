"""spheroidd: the area of every spheroid over time, while the experiment runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read when asked for: what reads it brings all of `email` with it."""
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415

            return version("spheroidd")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
