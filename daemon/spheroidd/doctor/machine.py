"""The machine: Python, who we are, the clock, the kernel's limits, systemd."""

import os
import platform
import pwd
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from spheroidd.doctor.finding import Finding, Installation

_OLDEST = (3, 11)
_YEARS = range(2024, 2100)
_DRIFT_SECONDS = 2.0
_ASK_SECONDS = 10.0
_LIMITS = Path("/proc/sys/fs/inotify")
_SYSCTL = "`sysctl fs.inotify.{}=…`, for good in /etc/sysctl.d; until then it is polled."
_UNIT = "spheroidd.service"
_OUR_START = (time.time(), time.monotonic())


def python() -> Finding:
    """Which Python runs this."""
    version, where = platform.python_version(), f"{platform.machine()}, {sys.executable}"
    if sys.version_info < _OLDEST:
        return Finding(
            "Python", "wrong", f"{version} ({where})", "Install with Python 3.11 or newer."
        )
    return Finding("Python", "ok", f"{version} ({where})")


def user(here: Installation) -> Finding:
    """Whether we are who the service is: what may be read and written depends on it."""
    us = _name(os.geteuid())
    theirs = unit_properties().get("User") or _owner(here.config.state_dir)
    if not theirs or theirs == us:
        return Finding("user", "ok", us)
    return Finding(
        "user",
        "warning",
        f"{us}, but the service is {theirs}: what may be read and written is not the same",
        f"Look as {theirs} does: `sudo -u {theirs} spheroidd doctor -c FILE`.",
    )


def _owner(folder: Path) -> str:
    try:
        return _name(folder.stat().st_uid)
    except OSError:
        return ""


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def clock(now: float | None = None, began: tuple[float, float] = _OUR_START) -> Finding:
    """Whether the clock can be believed.

    Args:
        now: seconds since the epoch.
        began: the wall clock and the monotonic one at some moment before.
    """
    wall = time.time() if now is None else now
    drift = (wall - began[0]) - (time.monotonic() - began[1])
    shown = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if datetime.fromtimestamp(wall, UTC).year not in _YEARS:
        return Finding("clock", "wrong", f"it says {shown}", "Set it, and let NTP keep it right.")
    if abs(drift) > _DRIFT_SECONDS:
        return Finding(
            "clock",
            "warning",
            f"it was set by {drift:+.0f} s while we looked",
            "Let NTP keep it right: times of images and curves depend on it.",
        )
    if _ask("timedatectl", "show", "-p", "NTPSynchronized", "--value") == "no":
        return Finding(
            "clock",
            "warning",
            f"{shown}; no time server keeps it right",
            "`timedatectl set-ntp true`, or ask who runs the network for its time server.",
        )
    return Finding("clock", "ok", shown)


def inotify(here: Installation, limits: Path = _LIMITS) -> Finding:
    """Whether the kernel can watch all folders; after the folders were looked into."""
    native = [survey for survey in here.surveys.values() if survey.native]
    if not native:
        return Finding("inotify", "ok", "not needed: every folder is polled")
    needed = sum(survey.folders for survey in native)
    try:
        watches, instances = (
            int((limits / f"max_user_{name}").read_text()) for name in ("watches", "instances")
        )
    except (OSError, ValueError):
        return Finding("inotify", "ok", "this kernel tells no limits")
    found = f"{needed} folders to watch; {watches} watches, {instances} instances a user"
    # every user's programs share them: editors and desktops take many
    for name, have, need in (("watches", watches, needed), ("instances", instances, len(native))):
        advice = f"Raise it: {_SYSCTL.format(f'max_user_{name}')}"
        if need >= have:
            return Finding("inotify", "wrong", found, advice)
        if need > have / 2:
            return Finding("inotify", "warning", found, advice)
    return Finding("inotify", "ok", found)


def unit(here: Installation) -> Finding:
    """What systemd says of the service."""
    if not Path("/run/systemd/system").is_dir():
        return Finding("unit", "ok", "systemd does not run here")
    said = unit_properties()
    if said.get("LoadState") != "loaded":
        return Finding(
            "unit",
            "warning",
            f"{_UNIT} is {said.get('LoadState') or 'not known'}",
            "`make install`, then `systemctl daemon-reload`; or start the daemon by hand.",
        )
    active, enabled = said.get("ActiveState", ""), said.get("UnitFileState", "")
    found = f"{active}, {enabled}, restarted {said.get('NRestarts') or 0} times"
    if here.config.monitor.port and said.get("PrivateNetwork") == "yes":
        advice = "Use the drop-in for the network, or nobody can ask the monitor."
        return Finding("unit", "wrong", f"{found}; monitor.port, but no network", advice)
    if active == "failed":
        return Finding("unit", "wrong", found, "`journalctl -u spheroidd -n 50` says why.")
    if active not in ("active", "reloading") or enabled != "enabled":
        return Finding("unit", "warning", found, "`systemctl enable --now spheroidd` starts it.")
    return Finding("unit", "ok", found)


def unit_properties() -> dict[str, str]:
    """Of the service's unit; empty where there is no systemd."""
    names = "LoadState,ActiveState,UnitFileState,User,PrivateNetwork,NRestarts"
    said = _ask("systemctl", "show", _UNIT, "-p", names)
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _ask(*command: str) -> str:
    """What a command prints; empty where it is not there, fails, or takes too long."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
