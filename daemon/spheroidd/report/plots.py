"""Growth curves as a picture: area over time, one panel per plate, one line per well."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spheroidd.store.reader import Row

# Okabe and Ito's palette, which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# plate → well → [(hours, area)]
Truth = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]


def growth_curves(rows: Sequence[Row], path: Path, truth: Truth | None = None) -> None:
    """Draw rows of the view `growth` and write a PNG.

    Args:
        rows: excluded ones are drawn hollow, never left out in silence.
        truth: true areas (a simulator knows them), drawn as dashed lines.
    """
    plates = _by(rows, "plate")
    figure = Figure(figsize=(max(1, len(plates)) * 6.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    physical = bool(rows) and all(row["area_um2"] is not None for row in rows)
    column, unit = ("area_um2", "µm²") if physical else ("area_px", "px")
    axes = figure.subplots(1, max(1, len(plates)), squeeze=False)[0]
    for axis, (plate, measured) in zip(axes, plates.items(), strict=False):
        for index, (well, points) in enumerate(_by(measured, "well").items()):
            _line(axis, well, points, column, index)
            for hours, area in _true(truth, plate, well):
                axis.plot(hours, area, "--", color=_COLOURS[index % 7], lw=1, alpha=0.6)
        axis.set_title(plate, fontsize=10, parse_math=False)  # a $ in a name begins no formula
        axis.set_xlabel("hours since the plate's first image")
        axis.set_ylabel(f"spheroid area ({unit})")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        legend = axis.legend(fontsize=8, ncols=2, handles=_legend(axis, truth))
        for text in legend.get_texts():
            text.set_parse_math(False)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _line(axis: Any, well: str, points: Sequence[Row], column: str, index: int) -> None:
    colour, marker = _COLOURS[index % 7], _MARKERS[index % 7]
    kept = [row for row in points if not row["excluded"]]
    axis.plot(
        [row["hours"] for row in kept],
        [row[column] for row in kept],
        color=colour,
        marker=marker,
        ms=4,
        lw=1.6,
        label=well,
    )
    left_out = [row for row in points if row["excluded"]]
    axis.plot(
        [row["hours"] for row in left_out],
        [row[column] for row in left_out],
        marker,
        ms=5,
        mfc="none",
        color=colour,
    )


def _true(truth: Truth | None, plate: str, well: str) -> list[tuple[list[float], list[float]]]:
    points = (truth or {}).get(plate, {}).get(well, ())
    return [([hours for hours, _ in points], [area for _, area in points])] if points else []


def _legend(axis: Any, truth: Truth | None) -> list[Any]:
    handles = list(axis.get_legend_handles_labels()[0])
    if truth:
        handles.append(Line2D([], [], ls="--", color="#777777", label="true area"))
    return handles


def _by(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    """Group by a column, keeping the order in which its values first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
