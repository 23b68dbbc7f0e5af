"""The CellProfiler pipelines that ship; each opens in CellProfiler's own window too."""

from pathlib import Path

from spheroidd.errors import PipelineError

SHIPPED = ("mask", "white-background", "threshold")


def pipeline_path(name_or_path: str) -> Path:
    """The .cppipe file of a shipped pipeline's name, or of a path.

    Raises:
        PipelineError: it is neither.
    """
    if name_or_path in SHIPPED:
        return Path(__file__).parent / f"{name_or_path}.cppipe"
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise PipelineError(
        f"There is no pipeline {name_or_path}.",
        f"Set measurement.pipeline to {', '.join(SHIPPED)}, or to a .cppipe file that exists.",
    )
