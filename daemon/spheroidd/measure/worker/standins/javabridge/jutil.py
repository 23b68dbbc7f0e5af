"""The one name that CellProfiler imports from here."""


class JavaException(Exception):  # noqa: N818 - the name is javabridge's
    """Never raised: there is no Java."""
