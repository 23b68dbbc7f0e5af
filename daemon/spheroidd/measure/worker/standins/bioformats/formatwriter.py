"""Imported by SaveImages, used only for movies and stacks."""

from javabridge import JavaMissingError


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise JavaMissingError(f"{__name__}.{name}")
