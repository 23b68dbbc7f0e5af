"""What all parts of the benchmark measure with, and how a row is written down."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from peers.make import PeerError, make
from performance_daemon import Setup
from performance_process import Cost
from performance_turns import (
    Feeds,
    Way,
    bare,
    bare_openvino,
    model_input,
    precision_of,
    published,
    rembg_session,
)
from spheroidd.config import Config
from spheroidd.segment.models import Model
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import Session
from spheroidd.warming import warm_recipe

PEERS = {"rembg": "b", "cellprofiler": "c"}

Result = dict[str, Any]
# Seconds per image, and CPU seconds where they are known.
Taken = tuple[float, float | None]


def _silent(*_: object) -> Any:
    raise structlog.DropEvent


@dataclass(frozen=True)
class Bench:
    """What all parts measure with."""

    model: Model
    home: Path
    device: str
    export: Path
    plate: list[Path]
    count: int
    scratch: Path
    tell: Callable[..., None]

    @property
    def files(self) -> list[Path]:
        """Early and late frames of the plate, easy and hard ones."""
        return self.plate[:: len(self.plate) // self.count][: self.count]

    @property
    def setup(self) -> Setup:
        return Setup(self.model.name, self.device)

    @cached_property
    def session(self) -> Any:
        return rembg_session(self.model, self.home)

    @cached_property
    def recipe(self) -> Recipe:
        return self.recipe_on(self.device)

    @property
    def first(self) -> Session:
        assert self.recipe.finder is not None
        return self.recipe.finder.first

    @cached_property
    def feeds(self) -> Feeds:
        return {path: model_input(self.session, path) for path in self.files}

    @cached_property
    def limit(self) -> Way:
        """The bare model on what the daemon runs it on."""
        return limit_of(self.first, self.session, self.feeds)

    def white(self, path: Path) -> Path:
        return self.scratch / "published" / path.name

    def publish(self, files: Iterable[Path]) -> Cost:
        """The published script's loop over a folder, its session warm."""
        (self.scratch / "published").mkdir(exist_ok=True)
        wall, cpu = time.perf_counter(), time.process_time()
        for path in files:
            published(self.session, self.white(path), path)
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    def recipe_on(self, device: str) -> Recipe:
        """As the daemon makes it from its configuration."""
        settings = {
            "watch": [{"path": self.export}],
            "state_dir": self.scratch / "state",
            "segmentation": {"model": self.model.name, "device": device},
        }
        quiet = structlog.wrap_logger(structlog.ReturnLogger(), processors=[_silent])
        return warm_recipe(Config.model_validate(settings), self.home, quiet)


def limit_of(ours: Session, plain: Any, feeds: Feeds) -> Way:
    """The bare model of a session, on what that one runs it on."""
    on_openvino = ours.provider.startswith("OpenVINO")
    if not on_openvino:
        return bare(plain, feeds)
    return bare_openvino(ours.model, feeds, precision_of(ours.provider))


def loop(way: Way, files: Sequence[Path]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for path in files:
        way(path)
    return Cost(time.perf_counter() - wall, time.process_time() - cpu).per(len(files))


def peer(name: str, row: str, wanted: set[str], result: Result, bench: Bench) -> Path | None:
    """The folder with a peer's commands; None where the row is not wanted, or can't be had."""
    if row not in wanted:
        return None
    bench.tell(f"an environment for {name} (minutes, the first time)")
    try:
        return make(name)
    except PeerError as error:
        result["skipped"][PEERS[name]] = str(error)
        bench.tell(f"({PEERS[name]}) is skipped: {error}", done=True)
        return None


def add(
    result: Result,
    bench: Bench,
    key: str,
    row: str,
    name: str,
    costs: Sequence[Taken],
    base: Sequence[float] | None,
) -> None:
    """One row: samples per image, and its rate over (a)'s in the same turn."""
    walls = [wall for wall, _ in costs]
    ratios = [one / wall for one, wall in zip(base, walls, strict=True)] if base else []
    cpu = [spent for _, spent in costs if spent is not None]
    result["rows"][key] = {
        "row": row,
        "name": name,
        "seconds": walls,
        "cpu": cpu,
        "against_a": ratios,
    }
    shown = f", {statistics.median(ratios):.2f} × (a)" if ratios else ""
    bench.tell(f"{row:>5}  {name}: {statistics.median(walls):.3f} s{shown}", done=True)
