"""The stage that judges: wells with new evidence, all their frames at once.

It runs beside the line and moves no image: it says which object is the spheroid, and which
flags are raised.  What people settled, it leaves alone.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from structlog.typing import FilteringBoundLogger

from spheroidd.measure import quality
from spheroidd.measure.quality import FLAGS, Bounds
from spheroidd.measure.track import pick
from spheroidd.measure.values import values
from spheroidd.store.frames import Checked, Frame, Verdict
from spheroidd.store.histories import Histories

Objects = Literal["one", "all"]

_RESTS = 20.0  # times as long as it took: computing a plate's limits stays a small share


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
        self._rests_until: dict[str, float] = {}

    def start(self, now: float) -> None:  # noqa: ARG002 (every part starts so)
        """The bounds may be others than before: all plates are settled anew."""
        self._histories.unsettle_all()

    def step(self, now: float) -> bool:
        """Judge one well, or settle one plate; returns whether there was one."""
        well = self._histories.next_well()
        if well is not None:
            self._judge(*well)
            return True
        for plate in self._histories.unsettled():
            if now >= self._rests_until.get(plate, now):
                self._settle(plate, now)
                return True
        return False

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
                    path=frame.path,
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
        self._rests_until[plate] = now + _RESTS * (time.perf_counter() - started)


def _changed(stored: Sequence[Checked], limits: Mapping[str, float]) -> list[Checked]:
    found = []
    for one in stored:
        flags, checks = quality.as_stored(quality.rechecked(one.checks, limits))
        if (flags, checks) != (one.flags, one.checks):
            found.append(Checked(one.measurement_id, flags, checks))
    return found
