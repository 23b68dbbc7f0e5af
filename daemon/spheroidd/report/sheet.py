"""A contact sheet: every well's outline at its first, middle and last time point."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from spheroidd.store.reader import Row

_TILE_PX = 320


def contact_sheet(rows: Sequence[Row], path: Path, state_dir: Path) -> None:
    """Draw outlines on the originals, one row per time point, one column per well.

    Args:
        rows: of `store.reading.outlines`, all of one plate, at least one.
        path: the PNG to write.
        state_dir: what outline paths are relative to.
    """
    wells: dict[str, list[Row]] = {}
    for row in rows:
        wells.setdefault(row["well"], []).append(row)
    figure = Figure(figsize=(2.1 * len(wells), 4.0), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    # A $ in a name begins no formula.
    figure.suptitle(rows[0]["plate"], fontsize=10, parse_math=False)
    grid = figure.subplots(3, len(wells), squeeze=False)
    for column, (well, series) in enumerate(wells.items()):
        for line, row in enumerate((series[0], series[len(series) // 2], series[-1])):
            axis = grid[line][column]
            axis.imshow(_thumbnail(state_dir / row["outline_path"]))
            unit, area = (
                ("µm²", row["area_um2"]) if row["area_um2"] is not None else ("px", row["area_px"])
            )
            axis.set_xlabel(f"{row['hours']:g} h: {area:,.0f} {unit}", fontsize=7)
            axis.set(xticks=[], yticks=[])
        grid[0][column].set_title(well, fontsize=9, parse_math=False)
    figure.savefig(path, dpi=110)


def _thumbnail(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        picture.thumbnail((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
        return np.asarray(picture.convert("RGB"))
