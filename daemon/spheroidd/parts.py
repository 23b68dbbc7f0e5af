"""The daemon's parts, by name, and how each of them is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from spheroidd.alerts.stage import AlertStage
from spheroidd.intake.patience import Patience
from spheroidd.intake.stage import Intake
from spheroidd.measure.judge import JudgeStage
from spheroidd.measure.stage import MeasureStage
from spheroidd.monitor.server import Monitor
from spheroidd.segment.finding import Finder
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.health import Health
from spheroidd.store.histories import Histories
from spheroidd.store.ledger import Ledger
from spheroidd.system.disk import Reserve
from spheroidd.system.loop import Loop, Part

Finished = Callable[[], bool]


class Keeper(Part, Protocol):
    """A part that no image goes through."""

    @property
    def trouble(self) -> str:
        """In words; empty: all is well."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything that was built.

    `work` are the loops that images go through, and without which nothing is measured;
    `around` those of the folders, backups, alerts…, whose trouble is theirs alone.
    """

    ledger: Ledger
    histories: Histories
    health: Health
    told: Conditions
    finished: Finished | None
    patience: Patience
    finder: Finder | None
    intakes: list[Intake]
    segment: SegmentStage
    measures: list[MeasureStage]  # one for each of CellProfiler's workers
    judge: JudgeStage
    reserve: Reserve
    work: list[Loop]
    around: list[Loop]
    keepers: Mapping[str, Keeper]  # by what they keep well
    monitor: Monitor | None

    @property
    def provider(self) -> str | None:
        """What the first model runs on at the moment; None without a model."""
        return self.finder.first.provider if self.finder else None

    @property
    def loops(self) -> list[Loop]:
        """All of them, in the order of the images' life."""
        return [*self.around, *self.work]

    def look_at_folders(self, now: float) -> None:
        """See whether they answer; a thread that hangs in one can't say so itself."""
        for intake in self.intakes:
            intake.look(now)

    def stuck(self) -> str:
        """In words, that nothing is measured any more because a part does not come back."""
        return "; ".join(filter(None, (loop.stuck for loop in self.work)))

    def conditions(self) -> Iterator[Condition]:
        """How everything is, well or ill; folders have a table of their own."""
        yield Condition(
            "disk",
            self.reserve.short(),
            "Make room, or lower disk.reserve_gb; it goes on by itself.",
            urgent=True,
        )
        down = [stage.trouble for stage in self.measures if stage.trouble]
        none_left = len(down) == len(self.measures)
        yield Condition(
            "engine",
            (down[0] if none_left else f"{len(down)} of {len(self.measures)} workers: {down[0]}")
            if down
            else "",
            "See `spheroidd doctor`; images are segmented and wait, and it is tried again.",
            urgent=none_left,
        )
        yield Condition(
            "accelerator",
            self.finder.trouble if self.finder else "",
            "See the log, and `nvidia-smi`; it is tried again every ten minutes.",
        )
        yield Condition("judge", self.judge.trouble, "See the log for the wells.")
        for name, keeper in self.keepers.items():
            yield Condition(name, keeper.trouble, "See the log; it is tried again.")
        for loop in self.loops:
            yield Condition(
                f"part {loop.name}",
                loop.trouble or loop.stuck,
                "See the log; it is tried again.",
                urgent=loop in self.work and loop.name != "judge",
            )

    def last_words(self, reason: str, now: float) -> None:
        """Tell those who are told of trouble that the service ends by itself, and why."""
        alerts = self.keepers.get("alerts")
        if isinstance(alerts, AlertStage):
            alerts.last_words(reason, now)
