"""What the ledger's questions cost when it holds a million images.

    python bench/archive.py [--images 1000000] [--plates 500] [--keep FOLDER]

Fills a ledger (see filling.py), asks everything that daemon, monitor and commands ask, prints a
table and writes bench/out/archive.json.  `cold`: the first time, nothing of the file in memory;
the other numbers are medians.  `--keep` leaves the ledger there, and takes the one that is there.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
import yaml
from rich.console import Console
from rich.table import Table

from filling import Archive, fill, plate_names
from spheroidd import __version__
from spheroidd.cli.selecting import plate_as_stored
from spheroidd.intake.folder import Folder
from spheroidd.intake.naming import DEFAULT_PATTERN, NamePattern
from spheroidd.intake.stage import Intake
from spheroidd.measure.quality import FLAGS
from spheroidd.monitor.look import Look
from spheroidd.report.export import export_csv
from spheroidd.report.status import snapshot
from spheroidd.store import listing, picture, reading, reviewing, viewing
from spheroidd.store.changes import changes_since, newest
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.histories import Histories
from spheroidd.store.kept import KINDS, Kept, Kind
from spheroidd.store.ledger import Ledger
from spheroidd.store.reader import Reader
from spheroidd.store.results import Results
from spheroidd.store.sights import Sights
from spheroidd.web.curves import Curves

KNOWN = 100_000  # files in the tree that is scanned
TIMES = 7
TARGETS = {  # milliseconds, at a million images
    "growth of one plate": 50,
    "status": 300,
    "claim: ready": 5,
    "claim: segmented, of one plate": 5,
    "web: the large plate's view": 300,
}
SCAN_TARGET = (5.0, 150.0)  # seconds, MB
console = Console()


def main() -> None:
    options = parse()
    if options.scan:
        print(json.dumps(scan(options.scan)))
        return
    with tempfile.TemporaryDirectory(prefix="spheroidd-archive-") as scratch:
        folder = options.keep or Path(scratch)
        archive, seconds = made(folder, options.images, options.plates)
        size = archive.database.stat().st_size
        console.print(f"filled in {seconds:.0f} s: {size / 1e9:.2f} GB")
        found: dict[str, Any] = {
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
            "spheroidd": __version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version[:6]},"
            f" SQLite {sqlite3.sqlite_version}",
            "images": options.images,
            "plates": options.plates,
            "fill_seconds": round(seconds, 1),
            "database_bytes": size,
            "milliseconds": dict(asked(archive)),
            "status_command": command(folder, archive),
            "scan": scanned(folder),
        }
    report(found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--plates", type=int, default=500)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def made(folder: Path, images: int, plates: int) -> tuple[Archive, float]:
    began = time.perf_counter()
    archive = Archive(folder / "state" / "spheroidd.db", folder / "watched", plate_names(plates))
    if archive.database.is_file():
        Database(archive.database).close()  # brought up to date
    else:
        folder.mkdir(parents=True, exist_ok=True)
        archive = fill(folder, images, plates, min(KNOWN, images // 4), time.time())
    return archive, time.perf_counter() - began


def asked(archive: Archive) -> Iterator[tuple[str, dict[str, float]]]:
    """Name → cold, median and worst milliseconds; what changes the ledger comes last."""
    for name, ask in questions(archive):
        taken = [once(archive, ask, cold=number == 0) for number in range(TIMES)]
        walls, processor = zip(*taken, strict=True)
        yield name, {**summary(walls), "cpu": statistics.median(processor[1:])}
    with Database(archive.database) as db:
        for name, work in at_start(db):
            began = time.perf_counter()
            work()
            yield f"at start: {name}", {"once": (time.perf_counter() - began) * 1000}


def once(
    archive: Archive, ask: Callable[[Database, Reader], Callable[[], Any]], *, cold: bool
) -> tuple[float, float]:
    """Milliseconds that passed, and those that the processor worked."""
    if cold:
        evict(archive.database)
    with Database(archive.database) as db, Reader(archive.database) as reader:
        work = ask(db, reader)
        if not cold:
            work()  # the connection's own cache is as warm as the daemon's
        began, worked = time.perf_counter(), time.process_time()
        work()
        return (time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000


def summary(taken: Sequence[float]) -> dict[str, float]:
    return {"cold": taken[0], "median": statistics.median(taken[1:]), "worst": max(taken[1:])}


def evict(path: Path) -> None:
    """Have the kernel forget a file's content, of this file alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


Ask = Callable[[Database, Reader], Callable[[], Any]]


def questions(archive: Archive) -> Iterator[tuple[str, Ask]]:
    """Everything that is asked again and again; each is made ready, then asked."""
    plate, large, now = archive.ordinary, archive.large, time.time()
    root = str(archive.watched)

    def claiming(state: Any, **of: Any) -> Ask:
        def ask(db: Database, _: Reader) -> Callable[[], Any]:
            ledger = Ledger(db)
            pending = ledger.pending_plates() if of else []
            wanted = {"plate": pending[0].plate, **of} if pending else of
            return lambda: ledger.claim(state, now, **wanted)

        return ask

    def sights(ask: Callable[[Sights], Any]) -> Ask:
        def ready(_: Database, __: Reader) -> Callable[[], Any]:
            eyes = Sights(archive.database)
            return lambda: ask(eyes)

        return ready

    def keep(kind: Kind) -> Ask:
        return lambda db, _: lambda: Kept(db).older(kind, now, 200)

    def monitor(_: Database, __: Reader) -> Callable[[], Any]:
        return lambda: Look(archive.database).__call__()

    def export(_: Database, reader: Reader) -> Callable[[], Any]:
        return lambda: export_csv(reader, io.StringIO(), plate_as_stored(reader, plate))

    def curves(_: Database, reader: Reader) -> Callable[[], Any]:
        held = Curves(lambda: contextlib.nullcontext(reader))
        held.view_json(large)
        return lambda: held.view_json(large)

    yield "growth of one plate", lambda _, r: lambda: reading.growth(r, plate)
    yield "growth of the large plate", lambda _, r: lambda: reading.growth(r, large)
    yield "export of one plate", export
    yield "status", lambda _, r: lambda: snapshot(r, now)
    yield "claim: ready", claiming("ready")
    yield "claim: segmented, of one plate", claiming("segmented", suspects=False, limit=24)
    yield "pending plates", lambda db, _: Ledger(db).pending_plates
    yield "due for retry", lambda db, _: lambda: Ledger(db).retry_due(now)
    yield "counts by state", lambda db, _: Ledger(db).counts
    yield "heartbeat", lambda db, _: lambda: Health(db).update(now, phase="running")
    yield "next well to judge", lambda db, _: Histories(db).next_well
    yield "a well's frames", lambda db, _: lambda: Histories(db).frames(plate, "A1")
    yield "limits of one plate", lambda db, _: lambda: Histories(db).numbers(plate, FLAGS)
    yield "limits of the large plate", lambda db, _: lambda: Histories(db).numbers(large, FLAGS)
    yield "monitor, first look", monitor
    yield "alerts: failures", sights(lambda eyes: eyes.failures(now))
    yield "alerts: plates", sights(lambda eyes: eyes.plates(now))
    yield "alerts: wells of one plate", sights(lambda eyes: eyes.well_ends(plate, 3))
    yield "alerts: wells of the large plate", sights(lambda eyes: eyes.well_ends(large, 3))
    yield "intake: what waits", lambda db, _: lambda: Ledger(db).waiting(root)
    yield "intake: how many wait", lambda db, _: lambda: Ledger(db).awaited(root)
    yield "intake: one path", lambda db, _: lambda: Ledger(db).known_path(f"{root}/P/A1/1.jpg")
    for kind in KINDS:
        yield f"keep: old {kind}", keep(kind)
    yield "review: plates", lambda _, r: lambda: reviewing.plates(r)
    yield (
        "review: what is flagged",
        (lambda _, r: lambda: reviewing.flagged(r, reviewing.Selection())),
    )
    yield "web: the large plate's view", curves
    yield (
        "web: the large plate's view, first",
        lambda _, r: lambda: Curves(lambda: contextlib.nullcontext(r)).view_json(large),
    )
    yield "web: curves of one well", lambda _, r: lambda: list(viewing.points(r, large, ["H12"]))
    yield "web: frames of one well", lambda _, r: lambda: viewing.well_frames(r, large, "H12")
    yield "web: what changed", lambda _, r: lambda: changes_since(r, newest(r))
    yield "web: which plates run", lambda _, r: lambda: viewing.paces(r, now)
    yield "web: a page of images", lambda _, r: lambda: listing.images(r, large)
    yield "web: an image", lambda _, r: lambda: picture.image(r, 5000)
    yield "web: an image's story", lambda _, r: lambda: picture.story(r, 5000)
    yield "web: what people settled", lambda _, r: lambda: listing.review_events(r, plate)


def at_start(db: Database) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a daemon asks once, when it begins; they change the ledger."""
    ledger, results, histories, now = Ledger(db), Results(db), Histories(db), time.time()

    def segmentations() -> None:
        for image in ledger.in_state("segmented"):
            results.segmentation(image.id)

    yield "what a killed daemon held", lambda: ledger.recover(after_a_kill=True)
    yield "what was set aside, tried again", lambda: ledger.look_again(now)
    yield "folders not watched any more", lambda: ledger.leave(["/data/export"], now)
    yield "what is segmented", segmentations
    yield "what is handed over", ledger.handed_over
    yield "open batches", results.unrecorded_batches
    yield "open batches closed", lambda: results.abandon_batches(now)
    yield "plates to be settled", histories.unsettle_all
    yield "wells to be judged anew", lambda: histories.unjudge_others(several=False)


# -- processes of their own ---------------------------------------------------------------------


def command(folder: Path, archive: Archive) -> dict[str, float]:
    """The whole of `spheroidd status`, in CPU and wall seconds."""
    config = folder / "config.yaml"
    watch = [{"path": str(archive.watched)}]
    config.write_text(yaml.safe_dump({"watch": watch, "state_dir": str(folder / "state")}))
    taken = []
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "spheroidd", "status", "-c", str(config)],
            check=True,
            capture_output=True,
        )
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken.append((cpu, wall))
    cpu, wall = (statistics.median(values) for values in zip(*taken, strict=True))
    return {"cpu_seconds": cpu, "wall_seconds": wall}


def scanned(folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--scan", str(folder)], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def scan(folder: Path) -> dict[str, float]:
    """A real intake on the tree, all of it known: the first scan watches it too."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    log = structlog.get_logger()
    wanted = Folder(
        folder / "watched", NamePattern(DEFAULT_PATTERN), ("jpg",), "native", 0, 1, 1e9, None,
        None, None,
    )  # fmt: skip
    with Database(folder / "state" / "spheroidd.db") as db:
        intake = Intake(wanted, Ledger(db), Health(db), log)
        at_rest = memory("VmRSS")
        with contextlib.ExitStack() as ends:
            ends.callback(intake.stop)
            first = timed(lambda: intake.start(time.time()))
            watching = memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
            later = [timed(lambda: rescan(intake)) for _ in range(3)]
            peak = memory("VmHWM")
    return {
        "files": sum(len(names) for _, _, names in os.walk(wanted.root)),
        "first_seconds": first,
        "seconds": statistics.median(later),
        "at_rest_mb": at_rest,
        "watching_mb": watching,
        "peak_mb": peak,
        "taken_mb": peak - at_rest,
    }


def rescan(intake: Intake) -> None:
    number = intake.rescan()
    while not intake.scanned(number):
        intake.step(time.time())


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def memory(name: str) -> float:
    """MB of this process, as the kernel has it."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


# -- telling ------------------------------------------------------------------------------------


def report(found: dict[str, Any]) -> None:
    table = Table("question", "cold ms", "ms", "worst ms", "ms of CPU", "target ms")
    for name, taken in found["milliseconds"].items():
        keys = ("cold", "median", "worst", "cpu") if "cold" in taken else ("once",)
        cells = [f"{taken[key]:.2f}" for key in keys] + [""] * (4 - len(keys))
        table.add_row(name, *cells, str(TARGETS.get(name, "")))
    console.print(table)
    status, scan = found["status_command"], found["scan"]
    console.print(f"`spheroidd status`: {status['cpu_seconds']:.2f} s CPU")
    console.print(
        f"scan of {scan['files']} known files: {scan['seconds']:.2f} s (first, which begins to"
        f" watch: {scan['first_seconds']:.2f} s), {scan['taken_mb']:.0f} MB; target"
        f" {SCAN_TARGET[0]:g} s, {SCAN_TARGET[1]:g} MB"
    )
    out = Path(__file__).parent / "out" / "archive.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written to {out}; {found['machine']}")


if __name__ == "__main__":
    main()
