"""The stage that judges: wells with new evidence, all their frames at once.

It runs beside the line and moves no image: it says which object is the spheroid, and which
flags are raised.  What people settled, it leaves alone.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.measure import quality
from spheroidd.measure.quality import FLAGS, Bounds
from spheroidd.measure.track import pick
from spheroidd.measure.values import values
from spheroidd.store.frames import Checked, Frame, Verdict
from spheroidd.store.histories import Histories
from spheroidd.store.paths import printable

Objects = Literal["one", "all"]

_RESTS = 20.0  # times as long as it took: computing a plate's limits stays a small share
_ASIDE_SECONDS = 3600.0  # until what could not be judged is tried again


def judge(frames: Sequence[Frame], limits: Mapping[str, float], objects: Objects) -> list[Verdict]:
    """Which object is the spheroid in each frame of a well, and which flags are raised.

    Args:
        frames: of one well, by field, channel and time.
        limits: flag → limit, of the plate.
        objects: `all`: the area is that of all objects but specks.

    Returns:
        one verdict for each frame; those of settled frames are not to be written.
    """
    verdicts: list[Verdict] = []
    for _, group in groupby(frames, key=lambda frame: (frame.field, frame.channel)):
        series = list(group)
        picks = pick(series, objects)
        numbers = values(series, picks, several=objects == "all")
        for found, of_frame in zip(picks, numbers, strict=True):
            flags, checks = quality.as_stored(quality.check(of_frame, limits))
            verdicts.append(
                Verdict(
                    spheroid=found.spheroid.number if found.spheroid else None,
                    counted=[one.number for one in found.counted],
                    area_px=found.area_px,
                    flags=flags,
                    checks=checks,
                )
            )
    return verdicts


class JudgeStage:
    """Judges wells as they get new frames, and settles their plates' limits afterwards."""

    def __init__(
        self,
        histories: Histories,
        bounds: Bounds,
        log: FilteringBoundLogger,
        objects: Objects = "one",
    ) -> None:
        """
        Args:
            bounds: flag → the least and the highest limit.
            objects: whether a well has `one` spheroid, or `all` objects are spheroids.
        """
        self._histories = histories
        self._bounds = bounds
        self._log = log
        self._objects: Objects = objects
        self._limits: dict[str, dict[str, float]] = {}
        self._rests: dict[str, tuple[float, float]] = {}  # plate → since when, how long
        self._aside_since: float | None = None

    @property
    def trouble(self) -> str:
        """In words, what could not be judged and was set aside."""
        aside = sorted(self._histories.aside)
        names = [printable(f"{plate}/{well}" if well else plate) for plate, well in aside]
        return f"can't be judged (see the log): {', '.join(names)}" if names else ""

    def start(self, now: float) -> None:  # noqa: ARG002 (every part starts so)
        """Where the configuration, or this program, is another than before, all plates are
        settled anew, and those judged anew whose areas mean something else."""
        rules = [__version__, dict(self._bounds), self._objects]
        self._histories.unsettle_all(json.dumps(rules, sort_keys=True))
        others = self._histories.unjudge_others(several=self._objects == "all")
        if others:
            self._log.warning(
                "areas that count objects otherwise are judged anew",
                wells=others,
                objects=self._objects,
            )

    def step(self, now: float) -> bool:
        """Judge one well, or settle one plate; returns whether there was one.

        One that can't be judged is set aside for a while before its error is raised again, so
        that it stops neither the others nor the wish to end when idle.
        """
        if self._aside_since is not None and abs(now - self._aside_since) > _ASIDE_SECONDS:
            self._histories.take_up_again()
            self._aside_since = None
        due = self._next(now)
        if due is None:
            return False
        plate, well = due
        try:
            if well is None:
                self._settle(plate, now)
            else:
                self._judge(plate, well)
        except (OSError, sqlite3.Error):
            raise  # the disk's trouble, not the well's
        except Exception as error:
            self._histories.set_aside(*filter(None, due))
            self._aside_since = now
            self._log.error(
                "can't be judged; areas and flags stay as they are",
                plate=plate,
                well=well,
                reason=repr(error),
            )
            raise
        return True

    def work(self) -> None:
        """Judge everything that is to be judged, where no daemon may be running to do it.

        Raises:
            OSError, sqlite3.Error: the database can't be read or written.
        """
        self.start(time.time())
        more = True
        while more:
            try:
                more = self.step(time.time())
            except (OSError, sqlite3.Error):
                raise
            except Exception:  # it was set aside, and the log says so
                more = True

    def _next(self, now: float) -> tuple[str, str | None] | None:
        """The well that is to be judged, or the plate (and None) that is to be settled."""
        well = self._histories.next_well()
        if well is not None:
            return well
        plates = self._histories.unsettled()
        return next(((plate, None) for plate in plates if self._rested(plate, now)), None)

    def _rested(self, plate: str, now: float) -> bool:
        """A clock that is set back must not make it rest for hours."""
        since, seconds = self._rests.get(plate, (now, 0.0))
        return abs(now - since) >= seconds

    def hand_back(self) -> None:
        """A step that raised has written nothing; the well is still to be judged."""

    def stop(self) -> None:
        """Nothing is held between steps."""

    def _judge(self, plate: str, well: str) -> None:
        frames = self._histories.frames(plate, well)
        if plate not in self._limits:
            known, _ = self._histories.numbers(plate, FLAGS)
            self._limits[plate] = quality.limits(known, self._bounds)
        verdicts = judge(frames, self._limits[plate], self._objects)
        if not self._histories.store(plate, well, frames, verdicts):
            return  # it changed meanwhile; the next step sees it as it is now
        for frame, verdict in zip(frames, verdicts, strict=True):
            if not frame.settled and frame.object_number != verdict.spheroid:
                self._log.info(
                    "another object is the spheroid",
                    plate=plate,
                    well=well,
                    path=printable(frame.path),
                    was=frame.object_number,
                    now=verdict.spheroid,
                )

    def _settle(self, plate: str, now: float) -> None:
        """Compute a plate's limits, and compare anew what other limits were compared with."""
        started = time.perf_counter()
        known, compared = self._histories.numbers(plate, FLAGS)
        limits = quality.limits(known, self._bounds)
        self._limits[plate] = limits
        if any(limit != limits[flag] for frame in compared for flag, limit in frame.items()):
            for well in self._histories.wells(plate):
                self._histories.recheck(_changed(self._histories.checked(plate, well), limits))
        self._histories.settled(plate)
        self._rests[plate] = (now, _RESTS * (time.perf_counter() - started))


def _changed(stored: Sequence[Checked], limits: Mapping[str, float]) -> list[Checked]:
    found = []
    for one in stored:
        flags, checks = quality.as_stored(quality.rechecked(one.checks, limits))
        if (flags, checks) != (one.flags, one.checks):
            found.append(Checked(one.measurement_id, flags, checks))
    return found
