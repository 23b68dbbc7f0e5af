"""`limited.py ROOT`: one intake where the kernel gives few inotify watches, or none.

Prints what it does there as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import structlog
from living import Living, wait_for, write_picture


def main(root: Path) -> None:
    told: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: Any) -> Any:
        told.append({"level": level, **event})
        raise structlog.DropEvent

    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[keep])
    one = Living(root, log)
    wait_for(one.is_well)
    path = write_picture(root / "P" / "A8" / "1.png")
    wait_for(lambda: one.state_of(path) == "ready", 10)
    found = {
        "kind": one.intake._watcher.kind,
        "state": one.state_of(path),
        "health": one.health()["health"],
        "warnings": [line["reason"] for line in told if line["event"] == "polling"],
    }
    one.stop()
    sys.stdout.write(json.dumps(found))


main(Path(sys.argv[1]))
