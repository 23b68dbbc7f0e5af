"""The rows that the whole daemon is measured for: a plate, one image at a time, the start."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import performance_daemon as daemon
from performance_bench import Bench, Result, add, limit_of, loop, peer
from performance_process import Cost
from performance_rows import measured_by_command
from performance_turns import model_input, rembg_session

BATCH = 24  # the daemon's own default
LIVE_SECONDS = 240.0  # then it ends with fewer images


def whole_line(bench: Bench, wanted: set[str], result: Result) -> None:
    """The daemon on a plate; before and after it a part of the plate by (a) and then (c)."""
    commands = peer("cellprofiler", "line", wanted, result, bench)
    half = min(BATCH, max(1, len(bench.plate) // 2))
    halves: list[tuple[Cost, Cost]] = []

    def the_old_way(files: Sequence[Path]) -> None:
        bench.tell("whole line: published script's steps")
        first = bench.publish(files)
        if commands:
            bench.tell("whole line: CellProfiler's command line")
            halves.append((first, measured_by_command(bench, commands, files)))

    the_old_way(bench.plate[:half])
    bench.tell(f"whole line: the daemon on {len(bench.plate)} images")
    run = daemon.plate(bench.scratch / "line", bench.plate, bench.setup)
    the_old_way(bench.plate[-half:])
    result["line"] = asdict(run) | {"batch": half, "model_cpu": model_cpu(bench)}
    base = [first.wall / half for first, _ in halves]
    if halves:
        both = [(first + second).per(half) for first, second in halves]
        name = f"published steps, then `cellprofiler -c -r` on batches of {half}"
        add(result, bench, "a+c", "line", name, both, base)
    ours = [run.cost.per(run.images)]
    name = f"spheroidd, the whole line, {run.images} images and its start"
    add(result, bench, "line", "line", name, ours, [statistics.mean(base)] if base else None)
    ready = [(run.busy / run.images, (run.cost.cpu - run.idle.cpu) / run.images)]
    name = "spheroidd, the whole line once it is ready"
    add(result, bench, "line-ready", "line", name, ready, [statistics.mean(base)] if base else None)


def model_cpu(bench: Bench) -> dict[str, float]:
    """CPU seconds of one run of each bare model, on what the daemon runs it on."""
    finder = bench.recipe.finder
    assert finder is not None
    first = loop(bench.limit, bench.files)[1]
    if finder.second is None:
        return {"first": first, "second": first}
    session = rembg_session(finder.second.model, bench.home)
    feeds = {path: model_input(session, path) for path in bench.files}
    way = limit_of(finder.second, session, feeds)
    way(bench.files[0])
    return {"first": first, "second": loop(way, bench.files)[1]}


def live(bench: Bench, _wanted: set[str], result: Result, count: int) -> None:
    files = (bench.plate * count)[:count]
    seconds = []
    for latency in daemon.live(bench.scratch / "live", files, bench.setup, LIVE_SECONDS):
        seconds.append(latency)
        bench.tell(f"live, image {len(seconds)} of {count}: {latency:.2f} s")
    result["live"] = {"seconds": seconds, "settle": daemon.SETTLE, "wanted": count}
    alone = [loop(bench.limit, [path])[0] for path in bench.files]
    result["live"]["model"] = statistics.median(alone[1:])
    bench.tell(f"live: median {statistics.median(seconds):.2f} s over settle time", done=True)


def start(bench: Bench, _wanted: set[str], result: Result) -> None:
    bench.tell("start: from exec to READY")
    (export := bench.scratch / "start" / "export").mkdir(parents=True)
    config = daemon.configure(bench.scratch / "start" / "daemon", export, bench.setup)
    first, *ready = daemon.start_seconds(config, 4)
    bench.tell("start: commands")
    result["start"] = {
        "first": first,
        "ready": ready,
        "help_cpu": daemon.command_cpu(config, "--help"),
        "status_cpu": daemon.command_cpu(config, "status", "-c", str(config)),
    }
