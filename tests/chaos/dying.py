"""The real daemon, made to kill itself (or its worker) at a named point.

    python tests/chaos/dying.py --at POINT [--nth N] -- run -c config.yaml --until-idle

Patches one function in this process, so that the N-th pass through the point is SIGKILL, and
then runs the program itself. The program knows nothing of it.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image as Pillow

_WORKS_SECONDS = 0.02  # of processor time: the worker has begun
_AT_THE_LATEST = 0.3


class Point:
    """Counts the passes through one place; the N-th one is the end."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self._lock = threading.Lock()

    def reached(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # nothing of this process goes on, whichever thread is hit first

    def pass_through(self) -> None:
        if self.reached():
            self.die()


def _put(owner: Any, name: str, function: Any) -> None:
    """In place of a class's or a module's own, in this process."""
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, function)


# -- files ------------------------------------------------------------------------------


def half_a_picture(kind: str) -> Callable[[Point], None]:
    """Half of the picture's file is written."""

    def prepare(point: Point) -> None:
        real = Pillow.Image.save

        def save(picture: Pillow.Image, place: Any, *rest: Any, **options: Any) -> None:
            name = str(place if isinstance(place, str | Path) else place.name)  # or a file
            if f".{kind}." in Path(name).name and point.reached():
                content = io.BytesIO()
                real(picture, content, *rest, **options)
                Path(name).write_bytes(content.getvalue()[: content.tell() // 2])
                point.die()
            real(picture, place, *rest, **options)

        _put(Pillow.Image, "save", save)

    return prepare


def half_an_original(point: Point) -> None:
    """Half of the 8-bit original's file is written."""
    real = np.save

    def save(file: Any, array: Any, *rest: Any, **options: Any) -> None:
        if point.reached():
            content = io.BytesIO()
            real(content, array, *rest, **options)
            file.write(content.getvalue()[: content.tell() // 2])
            file.flush()
            point.die()
        real(file, array, *rest, **options)

    _put(np, "save", save)


def in_place(ending: str) -> Callable[[Point], None]:
    """A file has just got its name, and nothing says so yet."""

    def prepare(point: Point) -> None:
        real = Path.replace

        def replace(path: Path, target: Any) -> Path:
            done = real(path, target)
            if str(target).endswith(ending):
                point.pass_through()
            return done

        _put(Path, "replace", replace)

    return prepare


def probe(point: Point) -> None:
    """The state folder is being tried for writing."""
    real = Path.write_bytes

    def write(path: Path, data: Any) -> int:
        done = real(path, data)
        if ".write-test" in path.name:
            point.pass_through()
        return done

    _put(Path, "write_bytes", write)


# -- CellProfiler -----------------------------------------------------------------------


def batch(point: Point) -> None:
    """CellProfiler is at work on a batch."""
    _while_it_works(lambda _: point.pass_through())


def worker_in_batch(point: Point) -> None:
    """The worker alone is killed while it is at work on a batch."""
    _while_it_works(lambda pid: os.kill(pid, signal.SIGKILL) if point.reached() else None)


def _while_it_works(act: Callable[[int], None]) -> None:
    from spheroidd.measure.process import Child

    real = Child.send

    def send(child: Child, message: Mapping[str, object], until: float) -> None:
        before = _used(child.pid)
        real(child, message, until)
        if message["op"] != "run":
            return
        end = time.monotonic() + _AT_THE_LATEST
        while _used(child.pid) - before < _WORKS_SECONDS and time.monotonic() < end:
            time.sleep(0.001)
        act(child.pid)

    _put(Child, "send", send)


def _used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def spreadsheet(point: Point) -> None:
    """CellProfiler has begun to write a batch's spreadsheets."""
    from spheroidd.measure.engine import Engine

    real = Engine.measure

    def watch(folder: Path) -> None:
        while not (begun := list(folder.glob("*.csv"))):
            time.sleep(0.0002)
        if point.reached():
            sizes = {path.name: path.stat().st_size for path in begun}
            sys.stderr.write(f"killed while it writes {sizes}\n")
            sys.stderr.flush()
            point.die()

    def measure(engine: Engine, pipeline: Any, images: Any, folder: Path, **rest: Any) -> Any:
        watcher = threading.Thread(target=watch, args=(folder,), daemon=True)
        watcher.start()
        outcomes = real(engine, pipeline, images, folder, **rest)
        watcher.join()
        return outcomes

    _put(Engine, "measure", measure)


# -- the database -----------------------------------------------------------------------


def after(module: str, owner: str, name: str) -> Callable[[Point], None]:
    """A method has just done its work."""

    def prepare(point: Point) -> None:
        holder = getattr(import_module(module), owner)
        real = getattr(holder, name)

        def patched(*given: Any, **named: Any) -> Any:
            done = real(*given, **named)
            point.pass_through()
            return done

        _put(holder, name, patched)

    return prepare


def half_a_move(module: str, to_state: str) -> Callable[[Point], None]:
    """In a transaction that has stored an outcome and not yet moved the image."""

    def prepare(point: Point) -> None:
        room: Any = import_module(module)
        real = room.move

        def move(
            sql: Any, image_id: int, states: tuple[str, str], *rest: Any, **named: Any
        ) -> None:
            if states[1] == to_state:
                point.pass_through()
            real(sql, image_id, states, *rest, **named)

        _put(room, "move", move)

    return prepare


def transaction(point: Point) -> None:
    """Everything of a transaction is written but its commit, whichever it is."""
    from spheroidd.store.database import Database

    real = Database.write

    @contextlib.contextmanager
    def write(database: Database) -> Iterator[Any]:
        with real(database) as sql:
            yield sql
            point.pass_through()

    _put(Database, "write", write)


def verdict(point: Point) -> None:
    """Some frames of a well are judged, some not."""
    from spheroidd.store import histories

    real = histories._write

    def write(*given: Any) -> None:
        real(*given)
        point.pass_through()

    _put(histories, "_write", write)


def migration(point: Point) -> None:
    """Before the N-th statement of bringing the schema up to date."""
    from sqlite_utils import Migrations

    real = Migrations.apply

    def apply(migrations: Migrations, db: Any, **rest: Any) -> None:
        # A large database doesn't fit in the cache: uncommitted pages are in the file by then.
        db.conn.execute("PRAGMA cache_size = 1")
        db.conn.set_trace_callback(lambda _: point.pass_through())
        real(migrations, db, **rest)
        db.conn.set_trace_callback(None)

    _put(Migrations, "apply", apply)


POINTS: dict[str, Callable[[Point], None]] = {
    "probe": probe,
    "migration": migration,
    "opened": after("spheroidd.store.database", "Database", "__init__"),
    "arrival": half_a_move("spheroidd.store.arrivals", "ready"),
    "half-an-original": half_an_original,
    "original-in-place": in_place(".npy"),
    "half-a-mask": half_a_picture("mask"),
    "mask-in-place": in_place(".mask.png"),
    "segmentation": half_a_move("spheroidd.store.results", "segmented"),
    "segmented": after("spheroidd.store.results", "Results", "segmented"),
    "batch": batch,
    "spreadsheet": spreadsheet,
    "outcome": after("spheroidd.measure.engine", "Engine", "measure"),
    "half-an-outline": half_a_picture("outline"),
    "measurement": half_a_move("spheroidd.store.results", "measured"),
    "measured": after("spheroidd.store.results", "Results", "measured"),
    "verdict": verdict,
    "transaction": transaction,
    "worker-in-batch": worker_in_batch,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=POINTS, required=True)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("rest", nargs="+", help="after --: spheroidd's own arguments")
    options = parser.parse_args()
    POINTS[options.at](Point(options.nth))
    from spheroidd import cli

    sys.argv = ["spheroidd", *options.rest]
    cli.main()


if __name__ == "__main__":
    main()
