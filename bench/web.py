"""What people who look on cost the daemon, and how fast the pages are over a large archive.

    python bench/web.py [--viewers 50] [--images 48] [--rounds 3] [--archive FOLDER]

First a daemon measures a plate with nobody looking on, with the web process alone, and with
`--viewers` open plate pages (each gets the page's data once and then listens), in turns; the rate
is that of the images between the first and the last area.  The viewers run on the same machine,
which costs something by itself.  Then, over an archive that `bench/archive.py --keep FOLDER`
left, every page's data is asked for over HTTP.  Prints tables and writes bench/out/web.json.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from performance_daemon import COMMAND, Setup, configure, fill, moments, until_idle
from performance_images import plate_of

OUT = Path(__file__).parent / "out" / "web.json"
PATIENCE = 60.0
TIMES = 7
console = Console()


def main() -> None:
    wanted = arguments()
    if wanted.look_on:
        asyncio.run(look_on(wanted.look_on, wanted.viewers, Path(wanted.report)))
        return
    result: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
    if wanted.rounds:
        result["viewers"] = viewers(wanted)
    if wanted.archive:
        result["archive"] = archive(wanted.archive)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {OUT}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3, help="0: only the archive")
    parser.add_argument("--archive", type=Path, help="a state folder with a large database")
    parser.add_argument("--look-on", help=argparse.SUPPRESS)
    parser.add_argument("--report", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- people who look on ---------------------------------------------------------------------


def viewers(wanted: argparse.Namespace) -> dict[str, Any]:
    """Images per second of the daemon: alone, beside the web process, with people looking on."""
    ways = {"alone": None, "web process": 0, f"{wanted.viewers} viewers": wanted.viewers}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    told: list[float] = []
    cpu: list[float] = []
    with tempfile.TemporaryDirectory(prefix="spheroidd-web-") as name:
        scratch = Path(name)
        export, _ = plate_of(wanted.images, None, scratch / "frames")
        files = sorted(export.rglob("*.jpg"))
        for number in range(wanted.rounds):
            for way, count in ways.items():
                console.print(f"round {number + 1} of {wanted.rounds}: {way}")
                folder = scratch / f"{number}-{count}"
                rate, seen = one_run(folder, files, count)
                rates[way].append(rate)
                told += seen.get("told", [])
                cpu += [seen["cpu"]] if "cpu" in seen else []
    base = rates["alone"]
    table = Table("the daemon", "images/s", "of its rate alone")
    for way, measured in rates.items():
        shares = [100 * rate / alone for rate, alone in zip(measured, base, strict=True)]
        share = f"{statistics.median(shares):.1f} % ({min(shares):.1f}–{max(shares):.1f})"
        table.add_row(way, f"{statistics.median(measured):.3f}", share)
    console.print(table)
    late = sorted(told)
    if late:
        console.print(f"from commit to every page: median {statistics.median(late):.2f} s, "
                      f"95 % within {late[int(0.95 * (len(late) - 1))]:.2f} s, at most "
                      f"{late[-1]:.2f} s; CPU of the web process meanwhile: "
                      f"{statistics.median(cpu):.1f} s")  # fmt: skip
    return {"rates": rates, "told_seconds": late[:: max(1, len(late) // 1000)], "web_cpu": cpu}


def one_run(folder: Path, files: list[Path], count: int | None) -> tuple[float, dict[str, Any]]:
    """One plate measured; images per second, and what the viewers saw."""
    fill(folder / "export", files[:1])
    config = configure(folder / "daemon", folder / "export", Setup("u2netp", "cpu"))
    until_idle(config)  # the database is there, and one image in it
    fill(folder / "export", files[1:])
    seen: dict[str, Any] = {}
    with contextlib.ExitStack() as beside:
        if count is not None:
            address, web = beside.enter_context(serving(config))
            if count:
                beside.enter_context(looking_on(address, count, folder / "seen.json"))
            began = cpu_of(web.pid)
        measured = sorted(moments(until_idle(config)[1], "measured"))
        if count is not None:
            seen["cpu"] = cpu_of(web.pid) - began
    if count:
        seen["told"] = json.loads((folder / "seen.json").read_text())
    return (len(measured) - 1) / (measured[-1] - measured[0]), seen


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has taken so far."""
    taken = psutil.Process(pid).cpu_times()
    return float(taken.user + taken.system)


@contextmanager
def serving(config: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The web process; gives its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with config.with_name("web.log").open("w") as log:
        process = subprocess.Popen([*COMMAND, "web", "-c", str(config), "--port", str(port)],
                                   stderr=log)  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                fetch(f"{address}/api/v1/status")
                break
            time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def looking_on(address: str, count: int, report: Path) -> Iterator[None]:
    """So many open pages, in a process of their own."""
    command = [sys.executable, __file__, "--look-on", address, "--viewers", str(count)]
    process = subprocess.Popen([*command, "--report", str(report)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate(timeout=PATIENCE)  # its end of the pipe closes: that is the sign


async def look_on(address: str, count: int, report: Path) -> None:
    """Open `count` plate pages and listen, until standard input ends."""
    host, port = address.removeprefix("http://").split(":")
    plates = plates_of(address)
    plate = quote(plates[0]["plate"], safe="")
    told: list[float] = []
    listening = [asyncio.create_task(listen(host, int(port), plate, told)) for _ in range(count)]
    await asyncio.to_thread(sys.stdin.buffer.read)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    report.write_text(json.dumps(told))


async def listen(host: str, port: int, plate: str, told: list[float]) -> None:
    """One page: its data once, then what changes; notes how long after its commit a measurement
    came."""
    page = await asyncio.to_thread(fetch, f"http://{host}:{port}/api/v1/plate?plate={plate}")
    newest = newest_of(json.loads(page)["wells"])  # what it has seen already is no news
    reader, writer = await asyncio.open_connection(host, port, limit=2**24)
    writer.write(f"GET /api/v1/live?plate={plate} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    try:
        while line := await reader.readline():
            if line.startswith(b"data: ") and b'"measured_at"' in line:
                last = newest_of(json.loads(line[6:])["wells"])
                if last > newest:
                    newest = last
                    told.append(time.time() - datetime.fromisoformat(last).timestamp())
    finally:
        writer.close()


def newest_of(wells: list[dict[str, Any]]) -> str:
    """When the newest area was measured."""
    return max((well["last"]["measured_at"] for well in wells if well["last"]), default="")


# -- over a large archive ---------------------------------------------------------------------


def archive(folder: Path) -> dict[str, Any]:
    """Milliseconds of every page's data over HTTP; the first time, and then."""
    with tempfile.TemporaryDirectory(prefix="spheroidd-web-") as name:
        config = Path(name, "config.yaml")
        config.write_text(yaml.safe_dump({
            "watch": [{"path": str(Path(name, "export"))}], "state_dir": str(folder.absolute()),
        }))  # fmt: skip
        with serving(config) as (address, process):
            plates = plates_of(address)
            largest = quote(max(plates, key=lambda row: row["measured"])["plate"], safe="")
            usual = quote(plates[0]["plate"], safe="")
            asked = {
                "overview (page)": "/",
                "overview (status)": "/api/v1/status",
                "a usual plate": f"/api/v1/plate?plate={usual}",
                "the largest plate": f"/api/v1/plate?plate={largest}",
                "the review queue": "/api/v1/review?limit=50",
            }
            taken = {what: times(f"{address}{path}") for what, path in asked.items()}
            memory = Path(f"/proc/{process.pid}/status").read_text()
    table = Table("asked for", "first, ms", "then, ms", "KB")
    for what, (first, then, size) in taken.items():
        table.add_row(what, f"{first:.0f}", f"{then:.0f}", f"{size / 1000:.0f}")
    console.print(table)
    peak = next(line.split()[1] for line in memory.splitlines() if line.startswith("VmHWM"))
    console.print(f"{len(plates)} plates; the web process took at most {int(peak) / 1000:.0f} MB")
    return {"taken": taken, "peak_kb": int(peak)}


def plates_of(address: str) -> list[dict[str, Any]]:
    """All plates; images that are not taken in yet are of none."""
    rows = json.loads(fetch(f"{address}/api/v1/plates"))
    return [row for row in rows if row["plate"] is not None]


def times(address: str) -> tuple[float, float, int]:
    """Milliseconds of the first answer, the median of some more, and the answer's size."""
    taken, size = [], 0
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        size = len(fetch(address))
        taken.append(1000 * (time.perf_counter() - began))
    return taken[0], statistics.median(taken[1:]), size


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main()
