"""The service, installed into a booted machine as `make install` and its last words say."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from machine import Machine
from PIL import Image as Pillow

from drawn import disc, picture

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = "spheroidd.service"
PREFIX = "/opt/spheroidd"
CONFIG = "/etc/spheroidd/config.yaml"
FIRST_CONFIG = "/etc/spheroidd/first.yaml"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
EXPORT = "/srv/export"
STATE = "/var/lib/spheroidd"


class Service:
    """The unit in a machine, its configuration, and the folder it watches."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def install(self, venv: Path, home: Path) -> None:
        """The installed files (the program is the checkout's), the user, a first configuration."""
        run = self.machine.run
        run("mkdir", "-p", PREFIX + "/share", EXPORT)
        run("ln", "-s", str(venv), f"{PREFIX}/venv")
        run("ln", "-s", str(home), f"{PREFIX}/share/spheroidd")
        run("sh", str(REPOSITORY / "systemd" / "place.sh"), PREFIX)
        run("useradd", "--system", "--home-dir", STATE, "--shell", "/usr/sbin/nologin", "spheroidd")
        # The permissions would let anybody write there: it is the unit that does not.
        run("chmod", "777", EXPORT)
        run("chmod", "755", "/srv")
        self.configure()
        run("cp", CONFIG, FIRST_CONFIG)

    def configure(self, *more: str, **sections: Any) -> None:
        """A quick model and short times; `more` folders are watched, too.  Sections replace."""
        watch = {"settle_seconds": 0.2, "scan_seconds": 2, "interval_minutes": 60}
        settings = {
            "watch": [{"path": path, **watch} for path in (EXPORT, *more)],
            "state_dir": STATE,
            "segmentation": {"model": "u2netp", "refine": False},
            "measurement": {"batch": {"max_images": 4, "max_wait_seconds": 0.2}},
            "disk": {"reserve_gb": 0},  # the test's machine is small
            **sections,
        }
        self.machine.path(CONFIG).write_text(yaml.safe_dump(settings))

    def drop_in(self, name: str, text: str) -> None:
        folder = self.machine.path(DROP_INS)
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        self.machine.run("systemctl", "daemon-reload")

    def feed(self, well: str, count: int, folder: str = EXPORT, plate: str = "P") -> None:
        """Images of a spheroid, each a little larger."""
        place = self.machine.path(f"{folder}/{plate}/{well}")
        place.mkdir(parents=True)
        for number in range(1, count + 1):
            mask = disc((200, 240), 40 + 2 * number)
            Pillow.fromarray(picture(mask)).save(place / f"{well}_{number:03}.png")

    def systemctl(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.machine.run("systemctl", *words, UNIT, check=check)

    def show(self, name: str) -> str:
        return self.machine.show(UNIT, name)[name]

    @property
    def active(self) -> bool:
        return self.show("ActiveState") == "active"

    @property
    def main(self) -> int:
        """The daemon's process id, as the machine sees it; 0: none."""
        return int(self.show("MainPID"))

    def program(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """One of the program's commands, by the service's user, with the first configuration."""
        return self.machine.run(
            "setpriv", "--reuid=spheroidd", "--regid=spheroidd", "--clear-groups",
            "env", f"SPHEROIDD_HOME={PREFIX}/share/spheroidd", f"HOME={STATE}",
            f"{PREFIX}/venv/bin/spheroidd", words[0], "-c", FIRST_CONFIG, *words[1:], check=check,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.program("status", "--json").stdout)
        return shown

    def await_measured(self, count: int) -> None:
        """Wait until so many images are measured; `status` must say so, and know of no others."""
        self.machine.wait_until(
            lambda: len({one["path"] for one in self.say(event="measured")}) >= count, 90
        )
        totals = self.status()["totals"]
        assert (totals["seen"], totals["measured"], totals["failed"]) == (count, count, 0)

    def areas(self) -> list[float]:
        lines = self.program("export").stdout.splitlines()
        column = lines[0].split(",").index("area_px")
        return [float(line.split(",")[column]) for line in lines[1:]]

    def say(self, **fields: Any) -> list[dict[str, Any]]:
        """What the daemon said to the journal, with these fields; `priority` is journald's."""
        said = []
        for entry in self.machine.journal(UNIT):
            message = entry["MESSAGE"]
            if isinstance(message, str) and message.startswith("{"):
                said.append({**json.loads(message), "priority": int(entry["PRIORITY"])})
        return [one for one in said if fields.items() <= one.items()]
