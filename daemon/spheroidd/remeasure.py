"""Measuring a plate again, in a process of its own beside the daemon's.

Everything made lands under a run of its own, image by image, so that an end at any moment
loses no more than the batch in hand; the same command goes on where it ended.  The daemon's
claims, its scratch folder and its originals on their way are never touched.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd.again import Again, Progress, Tell, Tools
from spheroidd.assembly import judge_of
from spheroidd.config import Config
from spheroidd.errors import StoreError
from spheroidd.intake.original import read_original
from spheroidd.store import reading
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.histories import Histories
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable
from spheroidd.store.reader import Reader
from spheroidd.store.runs import Runs, Shown
from spheroidd.system.lock import only_one
from spheroidd.system.signals import stop_signals
from spheroidd.warming import begin_engine, keeping_white, warm_engine, warm_recipe

_NICE = 10


@dataclass(frozen=True)
class Ended:
    """How it ended: `finished` unless it was interrupted; `shown` if the run was chosen."""

    progress: Progress
    finished: bool
    shown: Shown | None


def remeasure(
    config: Config,
    home: Path,
    plate: str,
    log: FilteringBoundLogger,
    *,
    use: bool = False,
    tell: Tell = lambda _: None,
) -> Ended:
    """Measure all of a plate's measured images again, as the configuration says.

    Blocks until all is done, or until SIGINT or SIGTERM; lowers the process's priority.

    Args:
        home: where model weights and CellProfiler's environment lie.
        use: have `growth` show the run once it is finished.
        tell: called with the progress, after each image and while it waits.

    Raises:
        SpheroiddError: there is no such plate, another process measures it, a part can't be
            started, or CellProfiler fails on everything.
    """
    folder = StateFolder(config.state_dir)
    with Reader(folder.database) as reader, stop_signals() as stopping:
        _require(reader, plate)
        folder.create()
        with _alone(folder.again(plate), plate), Database(folder.database) as database:
            os.nice(_NICE)
            engine = begin_engine(config, home, folder.again(plate) / "worker", log)
            try:
                masks = warm_recipe(config, home, log)
                protocol = warm_engine(engine, config, home, log)
                ledger = Ledger(database)
                tools = Tools(
                    folder=folder,
                    read=lambda image: read_original(ledger, image),
                    masks=keeping_white(config, masks, protocol),
                    engine=engine,
                    protocol=protocol,
                    log=log,
                    tell=tell,
                    stopping=stopping,
                )
                again = Again(plate, database, reader, tools)
                finished = again.work()
            finally:
                engine.stop()
            shown = show(config, database, plate, again.run_id, log) if finished and use else None
    return Ended(again.progress, finished, shown)


def show(
    config: Config, database: Database, plate: str, run_id: int | None, log: FilteringBoundLogger
) -> Shown:
    """Have `growth` show a run of a plate, judged: no daemon may be there to do it.

    Where one is, both judge, and from the same frames make the same.

    Args:
        run_id: None: everything as it was measured live.
    """
    shown = Runs(database).use(plate, run_id)
    judge_of(config, Histories(database, plate), log).work()
    return shown


def _require(reader: Reader, plate: str) -> None:
    plates = {row["plate"]: row["measured"] for row in reading.plate_counts(reader)}
    if not plates.get(plate):
        there = ", ".join(f"'{printable(name)}'" for name, there in plates.items() if there)
        raise StoreError(
            f"No image of a plate '{printable(plate)}' has been measured.",
            f"There is {there or 'no plate with measured images yet'}.",
        )


@contextlib.contextmanager
def _alone(folder: Path, plate: str) -> Iterator[None]:
    """At most one process measures a plate again."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_one(folder / "lock"))
        except StoreError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            holder = (folder / "lock").read_text(errors="replace").strip()
            raise StoreError(
                f"Plate '{printable(plate)}' is being measured again already (process {holder}).",
                "Wait for it, or stop it with Ctrl-C; nothing of it is lost.",
            ) from error
        yield
