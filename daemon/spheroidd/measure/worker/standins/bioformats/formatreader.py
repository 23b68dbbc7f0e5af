"""What CellProfiler calls at the end of every run does nothing; reading a file raises."""

from javabridge import JavaMissingError


def clear_image_reader_cache():
    """There is no cache."""


def release_image_reader(key):
    """There is no reader."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise JavaMissingError(f"{__name__}.{name}")
