"""Where the installation keeps what is not code."""

import os
import sys
from pathlib import Path


def installation_home() -> Path:
    """Where model weights and CellProfiler's environment lie.

    They belong to the installation, not to a user.  The environment variable
    SPHEROIDD_HOME names the folder; else it is `share/spheroidd` beside the venv,
    where `make install` puts it so that upgrades keep it; else the same inside the venv.
    """
    configured = os.environ.get("SPHEROIDD_HOME")
    if configured:
        return Path(configured).expanduser()
    beside = Path(sys.prefix).parent / "share" / "spheroidd"
    return beside if beside.is_dir() else Path(sys.prefix, "share", "spheroidd")
