"""Runs lines over wells, here or in several processes."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from cases import Case
from methods import Line, RememberingSession, lines
from pictures import tile
from scores import Score, score


@dataclass(frozen=True)
class Setting:
    """How to measure: the model, where its maps are kept, where tiles go, threads of the model."""

    model: str
    cache: Path
    tiles: Path
    threads: int | None = None

    def open(self) -> dict[str, Line]:
        return lines(RememberingSession(self.model, self.cache, self.threads))


Result = list[tuple[Score, Path]]
"""Scores of a well's frames under every line, each with the file of its picture."""

_open: dict[str, Line] = {}


def measure(case: Case, number: int, setting: Setting, compared: dict[str, Line]) -> Result:
    """One well: every line on all its frames.

    Args:
        case: the well.
        number: its own among all, for the tiles' names.
        setting: where tiles go.
        compared: the lines.
    """
    frames = case.frames()
    result: Result = []
    for name, line in compared.items():
        found, verdicts = line.judged([frame.image for frame in frames])
        for at, (frame, one, said) in enumerate(zip(frames, found, verdicts, strict=True)):
            path = setting.tiles / f"{setting.model}-{number:05d}-{at:03d}-{name}.png"
            tile(frame.image, frame.truth, frame.others, said.mask).save(path)
            result.append((score((case.set, case.kind, case.name), name, frame, one, said), path))
    return result


def measure_all(cases: Sequence[Case], setting: Setting, workers: int) -> Iterator[Result]:
    """All wells, each as soon as it is done; with more than one worker in no fixed order."""
    if workers == 1:
        compared = setting.open()
        for number, case in enumerate(cases):
            yield measure(case, number, setting, compared)
        return
    # Spawned, not forked: a model's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (setting,)) as pool:
        try:
            waiting = [
                pool.submit(_measure, case, number, setting) for number, case in enumerate(cases)
            ]
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def threads_each(workers: int) -> int | None:
    """Threads of each worker's model; None leaves a single one all cores."""
    return None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


def _start(setting: Setting) -> None:
    _open.update(setting.open())


def _measure(case: Case, number: int, setting: Setting) -> Result:
    return measure(case, number, setting, _open)
