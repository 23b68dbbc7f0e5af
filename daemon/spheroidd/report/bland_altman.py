"""How two runs of a plate agree: the differences of their areas, as numbers and as a picture.

After J. M. Bland and D. G. Altman, Statistical methods for assessing agreement between two
methods of clinical measurement, Lancet 327 (1986) 307–310: every image's difference is drawn
over its mean, with the mean difference (bias) and the limits of agreement, bias ± 1.96 standard
deviations, between which 95 % of the differences lie if they are normally distributed.  As
errors of an area grow with it, differences are in per cent of the mean.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spheroidd.errors import SpheroiddError
from spheroidd.store.reader import Row

_SPREAD = 1.96  # 95 % of a normal distribution lie within so many standard deviations
_LABELLED = 5


@dataclass(frozen=True)
class Pair:
    """One image's area in two runs, in px."""

    well: str
    hours: float
    image_path: str
    first: float
    second: float

    @property
    def mean(self) -> float:
        """Of the two areas, in px."""
        return (self.first + self.second) / 2

    @property
    def difference_pct(self) -> float | None:
        """Second minus first, in per cent of their mean (so at most ±200); two areas of 0 are
        equal, and where only one of them is 0 there is no such number."""
        if self.first == self.second:
            return 0.0
        if not (self.first and self.second):
            return None
        return 100 * (self.second - self.first) / self.mean


@dataclass(frozen=True)
class Agreement:
    """How two runs agree; excluded images don't count.

    Attributes:
        pairs: images with an object in both runs; all numbers below are of these.
        both_empty: how many images have none in either.
        found_in_one: images with an area in one run and 0 in the other.
        only_first, only_second: images that the other run does not have.
        excluded: how many images were left out, because they are excluded by hand.
        bias_pct: mean difference; None without pairs.
        limits_pct: lower and upper limit of agreement; None with fewer than two pairs.
        median_absolute_pct: median of the differences' absolute values; None without pairs.
    """

    pairs: tuple[Pair, ...]
    both_empty: int
    found_in_one: tuple[Pair, ...]
    only_first: tuple[Row, ...]
    only_second: tuple[Row, ...]
    excluded: int
    bias_pct: float | None
    limits_pct: tuple[float, float] | None
    median_absolute_pct: float | None

    def worst(self, count: int = _LABELLED) -> list[Pair]:
        """The pairs that differ most, those that don't differ left out."""
        ordered = sorted(self.pairs, key=lambda pair: -abs(pair.difference_pct or 0))
        return [pair for pair in ordered[:count] if pair.difference_pct]


def agreement(first: Sequence[Row], second: Sequence[Row]) -> Agreement:
    """Compare two runs.

    Args:
        first, second: rows of `store.run_reading.areas`.
    """
    kept = [
        {row["image_id"]: row for row in rows if not row["excluded"]} for rows in (first, second)
    ]
    ones, others = kept
    both = [_pair(row, others[number]) for number, row in ones.items() if number in others]
    pairs = tuple(pair for pair in both if pair.first and pair.second)
    differences = [pair.difference_pct or 0.0 for pair in pairs]
    bias = statistics.fmean(differences) if differences else None
    limits = None
    if bias is not None and len(differences) > 1:
        spread = _SPREAD * statistics.stdev(differences)
        limits = (bias - spread, bias + spread)
    left_out = {row["image_id"] for row in (*first, *second) if row["excluded"]}
    return Agreement(
        pairs=pairs,
        both_empty=sum(not pair.first and not pair.second for pair in both),
        found_in_one=tuple(pair for pair in both if pair.difference_pct is None),
        only_first=tuple(row for number, row in ones.items() if number not in others),
        only_second=tuple(row for number, row in others.items() if number not in ones),
        excluded=len(left_out),
        bias_pct=bias,
        limits_pct=limits,
        median_absolute_pct=statistics.median(map(abs, differences)) if differences else None,
    )


def _pair(one: Row, other: Row) -> Pair:
    return Pair(one["well"], one["hours"], one["image_path"], one["area_px"], other["area_px"])


def draw(found: Agreement, names: tuple[str, str], title: str, path: Path) -> None:
    """Draw the differences over the means and write a PNG.

    Args:
        names: of the two runs.

    Raises:
        SpheroiddError: the file can't be written.
    """
    figure = Figure(figsize=(8.2, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.axhline(0, color="#999999", lw=0.8)
    means = [pair.mean for pair in found.pairs]
    axis.scatter(means, [pair.difference_pct or 0.0 for pair in found.pairs], s=16, color="#0072B2")
    for pair in found.worst():
        axis.annotate(
            f"{pair.well}, {pair.hours:.3g} h",
            (pair.mean, pair.difference_pct),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=8,
            parse_math=False,
        )
    _lines(axis, found)
    axis.set_xlabel("mean area of the two runs (px)")
    axis.set_ylabel("difference (% of the mean)")
    # A name may hold dollar signs, which are no formula.
    heading = f"{title}\n{names[1]} − {names[0]}\n{_beside(found)}"
    axis.set_title(heading, fontsize=10, parse_math=False)
    axis.margins(x=0.12, y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise SpheroiddError(
            f"{path} can't be written: {error.strerror}.",
            "Name a file in a folder that exists and that you may write to.",
        ) from error


def _lines(axis: Any, found: Agreement) -> None:
    """Bias and limits of agreement, each with its number beside the axes."""
    if found.bias_pct is None:
        return
    lines = [(found.bias_pct, "bias", "-", "#D55E00")]
    lines += [(limit, "limit", "--", "#D55E00") for limit in found.limits_pct or ()]
    for value, name, style, colour in lines:
        axis.axhline(value, ls=style, color=colour, lw=1.2)
        axis.annotate(
            f"{name} {value:+.1f} %",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
        )


def _beside(found: Agreement) -> str:
    """What the points don't show."""
    parts = [f"{len(found.pairs)} images"]
    for count, what in (
        (found.both_empty, "empty in both"),
        (len(found.found_in_one), "found in one only, not drawn"),
        (len(found.only_first) + len(found.only_second), "in one run only"),
        (found.excluded, "excluded"),
    ):
        if count:
            parts.append(f"{count} {what}")
    return ", ".join(parts)
