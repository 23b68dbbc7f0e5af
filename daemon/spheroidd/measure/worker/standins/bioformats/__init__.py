"""Takes the place of python-bioformats: images reach CellProfiler in memory instead."""

from javabridge import JavaMissingError


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise JavaMissingError(f"{__name__}.{name}")
