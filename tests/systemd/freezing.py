"""The real daemon, whose parts can be made to stand still.

    python tests/systemd/freezing.py FOLDER SECONDS -- run -c config.yaml

While FOLDER/NAME exists (segment, measure, judge or intake), that part's next step does not come
back; while FOLDER/database exists, the database answers nobody.  SECONDS are the deadline of
every step.  The program knows nothing of it: it runs in this process, patched.
"""

import sys
import time
from pathlib import Path
from typing import Any

from spheroidd import service
from spheroidd.cli import main
from spheroidd.intake.stage import Intake
from spheroidd.measure.judge import JudgeStage
from spheroidd.measure.stage import MeasureStage
from spheroidd.segment.stage import SegmentStage
from spheroidd.store.ledger import Ledger
from spheroidd.system.loop import Loop

PLACES = {
    "segment": (SegmentStage, "step"),
    "measure": (MeasureStage, "step"),
    "judge": (JudgeStage, "step"),
    "intake": (Intake, "step"),
    "database": (Ledger, "counts"),
}
HEARTBEAT_SECONDS = 0.25


def freeze(place: tuple[type, str], sign: Path) -> None:
    """Stand still at this place for as long as the sign is there."""
    kind, name = place
    real = getattr(kind, name)

    def patched(self: Any, *rest: Any, **named: Any) -> Any:
        while sign.exists():
            time.sleep(0.05)
        return real(self, *rest, **named)

    setattr(kind, name, patched)


def hurry(seconds: float) -> None:
    """Every step has to come back within this time, and the service pings with every tick."""
    service.BEAT_SECONDS = HEARTBEAT_SECONDS  # type: ignore[attr-defined]
    real = Loop.__init__

    def patched(self: Loop, *rest: Any, **named: Any) -> None:
        real(self, *rest, **{**named, "deadline": seconds})

    Loop.__init__ = patched  # type: ignore[method-assign]


if __name__ == "__main__":
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    for name, place in PLACES.items():
        freeze(place, folder / name)
    hurry(seconds)
    sys.argv[1:] = sys.argv[4:]
    main()
