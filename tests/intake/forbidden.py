"""`forbidden.py ROOT`: one intake on a folder whose permissions come and go.

Root may read everything; so it gives up that right before.  Prints what it sees as JSON.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

import structlog
from living import Living, wait_for, write_picture

_DROP, _OVERRIDE, _SEARCH = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def as_anybody() -> None:
    """Go on in this program without the rights that make root root."""
    if os.geteuid() == 0 and "--again" not in sys.argv:
        libc = ctypes.CDLL(None, use_errno=True)
        for right in (_OVERRIDE, _SEARCH):
            assert libc.prctl(_DROP, right, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
        os.execv(sys.executable, [sys.executable, *sys.argv, "--again"])


def main(root: Path) -> None:
    first, second = root / "P" / "A1" / "1.png", root / "P" / "A2" / "2.png"
    root.chmod(0)
    one = Living(root, structlog.wrap_logger(structlog.PrintLogger(sys.stderr)))
    wait_for(one.is_degraded)
    reasons = {"root": one.health()["reason"]}
    root.chmod(0o755)
    second.parent.chmod(0)
    wait_for(lambda: "places" in one.health()["reason"])
    reasons["well"] = one.health()["reason"]
    wait_for(lambda: one.state_of(first) == "ready")
    meanwhile = [one.state_of(first), one.state_of(second)]
    second.parent.chmod(0o755)
    wait_for(one.is_well)
    wait_for(lambda: one.state_of(second) == "ready")
    late = write_picture(second.with_name("3.png"), seed=1)
    wait_for(lambda: one.state_of(late) == "ready", 8)
    states = [one.state_of(first), one.state_of(second)]
    found = {**reasons, "meanwhile": meanwhile, "states": states, "late": one.state_of(late)}
    one.stop()
    sys.stdout.write(json.dumps(found))


as_anybody()
main(Path(sys.argv[1]))
