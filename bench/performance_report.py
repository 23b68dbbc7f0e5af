"""What was measured, as a table, as JSON, as a picture, and held against the targets."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
from rich.console import Console
from rich.table import Table

from spheroidd import __version__
from spheroidd.measure.environment import check

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
PAGE = HERE / "PERFORMANCE.md"
PICTURE = HERE.parent / "docs" / "performance.png"
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
_PACKAGES = ("rembg", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "pillow")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_ORDER = ("a", "b", "c", "d", "stage", "line")
OURS, PEER, LIMIT = "#1f6f8b", "#b8b8b8", "#e3b23c"

Result = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A target of issue 5, and what came out."""

    what: str
    wanted: str
    measured: str
    met: bool


def machine() -> dict[str, Any]:
    info = _cpu_info()
    flags = info.get("flags", "").split()
    return {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cpu": info.get("model name", platform.processor()),
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        # Above a few tenths before it begins, somebody else is using the machine.
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def versions(home: Path) -> dict[str, str]:
    found = {"spheroidd": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | {"cellprofiler": check(home).cellprofiler}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, and the middle half of the values where there are enough."""
    median = f"{statistics.median(values):.{digits}f}"
    if len(values) < 4:
        return median
    low, _, high = statistics.quantiles(values, n=4)
    return f"{median} ({low:.{digits}f}–{high:.{digits}f})"


def lines_of(result: Result) -> list[tuple[str, ...]]:
    """The rows as text: row, what, samples, seconds per image, CPU seconds, rate over (a)'s."""
    return [
        (
            row["row"],
            row["name"],
            str(len(row["seconds"])),
            spread(row["seconds"]),
            f"{statistics.median(row['cpu']):.3f}" if row["cpu"] else "",
            spread(row["against_a"], 2) if row["against_a"] else "",
        )
        for _, row in ordered(result)
    ]


def ordered(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """The rows with their keys: what users run today, the limit, what is ours."""
    return sorted(result["rows"].items(), key=lambda item: _ORDER.index(item[1]["row"]))


HEADER = ("row", "what", "n", "s per image", "CPU s per image", "× (a)")


def title(result: Result) -> str:
    return f"{result['model']['name']}, {result['images']['source']}"


def show(result: Result, console: Console) -> None:
    table = Table(*HEADER, title=title(result))
    for line in lines_of(result):
        table.add_row(*line)
    console.print(table)
    for row, reason in result["skipped"].items():
        console.print(f"({row}) was skipped: {reason}", soft_wrap=True)


def target_table(results: Sequence[Result], console: Console) -> None:
    table = Table("target", "wanted", "measured", "met")
    for target in (target for result in results for target in targets(result)):
        table.add_row(target.what, target.wanted, target.measured, "yes" if target.met else "no")
    console.print(table)


def targets(result: Result) -> list[Target]:
    """The targets of issue 5 that this run can say something of."""
    model, rows = result["model"]["name"], result["rows"]
    wanted = 2.0 if model == "u2netp" else 2.5
    found = []
    for key, looks in {"stage-once": "one look", "stage": "looking again when unsure"}.items():
        if key in rows:
            what = f"segmentation stage, {model}, {looks}, against (a)"
            found.append(_at_least(what, wanted, rows[key]["against_a"]))
    if "flood" in rows:
        rates = [
            limit / ours
            for limit, ours in zip(
                rows["d-folder"]["seconds"], rows["flood"]["seconds"], strict=True
            )
        ]
        found.append(_at_least(f"segmentation stage, {model}, one look, against (d)", 0.95, rates))
    if "line" in result:
        found += _line_targets(result)
    if "live" in result:
        found.append(_live_target(result))
    if "start" in result:
        for name in ("help", "status"):
            cpu = statistics.median(result["start"][f"{name}_cpu"])
            what = f"CPU of `spheroidd {'--help' if name == 'help' else name}`"
            found.append(Target(what, "≤ 0.50 s", f"{cpu:.2f} s", cpu <= 0.5))
    return found


def _at_least(what: str, wanted: float, values: Sequence[float]) -> Target:
    met = statistics.median(values) >= wanted
    return Target(what, f"≥ {wanted:.2f} ×", f"{spread(values, 2)} ×", met)


def _line_targets(result: Result) -> list[Target]:
    line, rows, model = result["line"], result["rows"], result["model"]["name"]
    images = line["images"]
    least = (
        line["model_cpu"]["first"]
        + (line["looks"] - 1) * line["model_cpu"]["second"]
        + line["modules_cpu"]
    )
    running, whole = rows["line-ready"]["cpu"][0], rows["line"]["cpu"][0]
    found = [
        Target(
            f"whole line, {model}, {images} images: CPU over model + CellProfiler's modules",
            "≤ 1.10 ×",
            f"{running / least:.2f} × ({running:.2f} s of {least:.2f} s; "
            f"{whole / least:.2f} × with the start)",
            running / least <= 1.1,
        )
    ]
    if "a+c" in rows:
        old = statistics.mean(rows["a+c"]["seconds"])
        ratio, ready = (old / rows[key]["seconds"][0] for key in ("line", "line-ready"))
        what = f"whole line, {model}, {images} images, against (a) then (c)"
        shown = f"{ratio:.2f} × ({ready:.2f} × once ready)"
        found.append(Target(what, "≥ 3.00 ×", shown, ratio >= 3))
    return found


def _live_target(result: Result) -> Target:
    live = result["live"]
    seconds = sorted(live["seconds"])
    p95 = seconds[round(0.95 * (len(seconds) - 1))]
    wanted = live["model"] + 1.0
    return Target(
        f"live, {result['model']['name']}: file complete → row, over settle time",
        f"p95 ≤ {wanted:.2f} s",
        f"p50 {statistics.median(seconds):.2f} s, p95 {p95:.2f} s ({len(seconds)} images)",
        p95 <= wanted,
    )


def save(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    size = result["images"]["source"].rpartition(", ")[2].replace(" × ", "x")
    path = folder / f"performance-{result['model']['name']}-{size}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def draw(results: Sequence[Result], path: Path) -> None:
    """Bars of how many times another's rate each row has, a column for each run: above the
    segmentation against (a), below the whole line against (a) and then (c)."""
    kinds = {
        "the published script's": [_segmentation(result) for result in results],
        "(a)'s and then (c)'s": [_whole_line(result) for result in results],
    }
    kinds = {base: columns for base, columns in kinds.items() if any(columns)}
    if not kinds:
        return
    names = {base: list(dict.fromkeys(chain(*columns))) for base, columns in kinds.items()}
    heights = [len(each) + 1 for each in names.values()]
    figure, axes = plt.subplots(
        len(kinds), len(results), figsize=(4.6 + 2.7 * len(results), 0.34 * sum(heights) + 1.2),
        height_ratios=heights, layout="constrained", squeeze=False, sharey="row",
    )  # fmt: skip
    for row, (base, columns) in zip(axes, kinds.items(), strict=True):
        for axis, bars in zip(row, columns, strict=True):
            _panel(axis, names[base], bars)
            axis.set_xlabel(f"images per second, × {base}", fontsize=9)
    for axis, result in zip(axes[0], results, strict=True):
        axis.set_title(title(result).replace(", ", "\n", 1), loc="left", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, names: Sequence[str], bars: "Bars") -> None:
    places = [names.index(name) for name in bars]
    ratios, colours = zip(*bars.values(), strict=True) if bars else ((1.0,), ())
    drawn = axis.barh(places, ratios if bars else [], color=colours, height=0.72)
    axis.bar_label(drawn, fmt="%.2f ×", padding=4, fontsize=9)
    axis.axvline(1, color="#555555", linewidth=0.8, linestyle=":")
    axis.set_xlim(0, 1.25 * max(ratios))
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


Bars = dict[str, tuple[float, str]]  # a row's name → how many times the rate, colour


def _segmentation(result: Result) -> Bars:
    colours = {"a": PEER, "b": PEER, "d": LIMIT, "stage": OURS}
    return {
        row["name"]: (statistics.median(row["against_a"]), colours[row["row"]])
        for key, row in ordered(result)
        if row["row"] in colours and row["against_a"] and not key.endswith("-folder")
    }


def _whole_line(result: Result) -> Bars:
    rows = {key: row for key, row in result["rows"].items() if row["row"] == "line"}
    if "a+c" not in rows:
        return {}
    base = statistics.mean(rows["a+c"]["seconds"])
    return {
        row["name"]: (base / statistics.mean(row["seconds"]), PEER if key == "a+c" else OURS)
        for key, row in rows.items()
    }


def record(folder: Path, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Write the last runs' figures between the page's markers, and draw the picture for docs."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("performance-*.json"))]
    if not results:
        sys.exit(f"nothing was measured yet: no performance-*.json in {folder}")
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}")
    draw([result for result in results if result["rows"].get("stage")], picture)


def markdown(results: Sequence[Result]) -> str:
    rows = [
        (target.what, target.wanted, target.measured, "yes" if target.met else "**no**")
        for result in results
        for target in targets(result)
    ]
    parts = ["### Targets", _table(("what", "target", "measured", "met"), rows)]
    for result in results:
        parts += [f"### {title(result)}", _conditions(result)]
        parts.append(_table(HEADER, lines_of(result)))
        parts += [f"({row}) was skipped: {reason}" for row, reason in result["skipped"].items()]
        if "start" in result:
            start = result["start"]
            ready, first = statistics.median(start["ready"]), start["first"]
            parts.append(f"From exec to READY: {ready:.1f} s; the very first time {first:.1f} s.")
    return "\n\n".join(parts)


def _conditions(result: Result) -> str:
    on, had = result["machine"], result["versions"]
    flags = " ".join(on["cpu_flags"])
    packages = ", ".join(f"{name} {version}" for name, version in had.items())
    provider = result["model"].get("provider", "not asked for")
    busy = on["load_before"] > on["cores"] / 4
    doubt = "**Others were using the machine: provisional.** " if busy else ""
    return doubt + (
        f"`{result['command']}` on {on['when'][:16].replace('T', ' ')}: {on['cpu']}, "
        f"{on['cores']} cores ({flags}), {on['memory_gb']} GB, load before it {on['load_before']}; "
        f"{packages}; provider {provider}; weights md5 {result['model']['md5']}."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
