"""Takes the place of python-javabridge: CellProfiler imports it, but nothing here needs Java."""

JARS: list = []


class JavaMissingError(RuntimeError):
    """A CellProfiler module asked for Java, which this environment leaves out."""

    def __init__(self, name):
        super().__init__(
            f"this CellProfiler runs without Java and Bio-Formats, and '{name}' needs them"
        )


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise JavaMissingError(f"{__name__}.{name}")
