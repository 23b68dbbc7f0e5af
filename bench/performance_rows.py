"""The rows that are measured image by image and folder by folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from performance_bench import PEERS, Bench, Result, Taken, add, loop, peer
from performance_daemon import flood
from performance_peers import cellprofiler, rembg_p
from performance_process import Cost
from performance_turns import Way, bare, bare_openvino, precision_of, stage, take_turns, unrefined


def turns(bench: Bench, wanted: set[str], result: Result) -> None:
    """a, d and stage, image by image."""
    bench.tell("loading the models")
    result["model"]["provider"] = bench.first.provider
    ways: dict[str, tuple[str, str, Way]] = {
        "a": ("a", "published script's steps", lambda path: bench.publish([path])),
        "d": ("d", "bare model, onnxruntime", bare(bench.session, bench.feeds)),
    }
    if "d" in wanted:
        try:
            way = bare_openvino(bench.model, bench.feeds, precision_of(bench.first.provider))
            ways["d-openvino"] = ("d", "bare model, OpenVINO", way)
        except ImportError:
            result["skipped"]["d-openvino"] = "OpenVINO is not installed"
    if "stage" in wanted:
        ways |= _stages(bench)
    taken = take_turns({key: way for key, (_, _, way) in ways.items()}, bench.files, bench.tell)
    base = [seconds for seconds, _ in taken["a"]]
    for key, (row, name, _) in ways.items():
        add(result, bench, key, row, name, taken[key], base)


def _stages(bench: Bench) -> dict[str, tuple[str, str, Way]]:
    recipes = {"stage": (bench.first.provider, bench.recipe)}
    if bench.first.provider != "CPU":
        recipes["stage-cpu"] = ("CPU", bench.recipe_on("cpu"))
    ways: dict[str, tuple[str, str, Way]] = {}
    for key, (where, one) in recipes.items():
        shown = "onnxruntime" if where == "CPU" else where
        ways[f"{key}-once"] = ("stage", f"spheroidd, file to mask, one look, {shown}",
                               stage(unrefined(one), bench.scratch))  # fmt: skip
        ways[key] = ("stage", f"spheroidd, file to mask, {shown}", stage(one, bench.scratch))
    return ways


FOLDER_ROWS = {
    "a-folder": ("a", "published script's steps, a folder"),
    "b": ("b", "`rembg p`, {} images and its start"),
    "b-warm": ("b", "`rembg p`, a further image"),
    "c": ("c", "`cellprofiler -c -r`, batch of {} and its start"),
    "c-warm": ("c", "`cellprofiler -c -r`, a further image"),
    "d-folder": ("d", "bare model before and after the daemon"),
    "flood": ("stage", "spheroidd, the daemon's rate on a full folder, one look"),
}


def rounds(bench: Bench, wanted: set[str], result: Result, count: int) -> None:
    """Whole folders: a, then b, c and the daemon's own rate, and all of it again."""
    commands = {row: peer(name, row, wanted, result, bench) for name, row in PEERS.items()}
    peers = {row: _peer_run(bench, row, folder) for row, folder in commands.items() if folder}
    taken: dict[str, list[Taken]] = {key: [] for key in FOLDER_ROWS}
    for number in range(count):
        say = f"folders, round {number + 1} of {count}: "
        bench.tell(say + "published script")
        taken["a-folder"].append(bench.publish(bench.files).per(bench.count))
        for row, run in peers.items():
            bench.tell(f"{say}({row})")
            if number == 0:  # what it compiles or lists on its very first run
                run(bench.files[:1])
            one, all_ = run(bench.files[:1]), run(bench.files)
            further = Cost(all_.wall - one.wall, all_.cpu - one.cpu)
            taken[row].append(all_.per(bench.count))
            if further.wall > 0:  # else the machine's noise is larger than what is measured
                taken[f"{row}-warm"].append(further.per(bench.count - 1))
        if "stage" in wanted:
            bench.tell(say + "the daemon on a full folder")
            before = loop(bench.limit, bench.files)
            folder = bench.scratch / f"flood-{number}"
            taken["flood"].append((flood(folder, bench.files, bench.setup), None))
            taken["d-folder"] += [_mean(before, loop(bench.limit, bench.files))]
    base = [seconds for seconds, _ in taken["a-folder"]]
    for key, costs in taken.items():
        row, name = FOLDER_ROWS[key]
        if costs:
            against = base if row != "c" and len(costs) == len(base) else None
            add(result, bench, key, row, name.format(bench.count), costs, against)


def _peer_run(bench: Bench, row: str, commands: Path) -> Callable[[Sequence[Path]], Cost]:
    if row == "b":
        return lambda files: rembg_p(commands, bench.model, bench.home, files, bench.scratch)
    return lambda files: measured_by_command(bench, commands, files)


def measured_by_command(bench: Bench, commands: Path, files: Sequence[Path]) -> Cost:
    """CellProfiler's command line on images that were published before."""
    return cellprofiler(commands, [(path, bench.white(path)) for path in files], bench.scratch)


def _mean(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
