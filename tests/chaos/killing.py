"""A place where the daemon lives and dies: images that arrive, kills, restarts."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import tifffile
import yaml
from PIL import Image as Pillow

from drawn import disc, picture

HERE = Path(__file__).parent
FRAMES = 4
WELLS = ("A1", "B2")
PICTURES = FRAMES * len(WELLS)
REPLACED = "P/A1/t03.jpg"  # gets other content where a plan says so
_LIMIT_SECONDS = 240.0
_GONE_SECONDS = 20.0  # a killed daemon's worker has ended by then, however busy the machine
_MARK = "SPHEROIDD_CHAOS"


@dataclass(frozen=True)
class Kill:
    """One life of the daemon and how it ends.

    Attributes:
        at: a point of dying.py; empty: after some seconds.
        nth: at which pass through the point.
        since: where the seconds begin: with the process, or when it says that it is ready.
        victim: the worker's death ends the life only when all is measured.
        arrivals: images that come before it.
        replaced: an image that is there already gets other content before it.
    """

    at: str = ""
    nth: int = 1
    since: Literal["start", "ready"] = "ready"
    seconds: float = 0.0
    victim: Literal["daemon", "worker"] = "daemon"
    arrivals: int = 0
    replaced: bool = False

    def __str__(self) -> str:
        where = f"{self.at} #{self.nth}" if self.at else f"{self.seconds:.2f} s after {self.since}"
        news = f", {self.arrivals} more images" if self.arrivals else ""
        return f"{self.victim} at {where}{news}{', one replaced' if self.replaced else ''}"


@dataclass(frozen=True)
class Tempo:
    """Seconds that an undisturbed run takes on this machine: to be ready, and from then on."""

    ready: float
    work: float


def draw_pictures(folder: Path) -> None:
    """Two wells of a growing spheroid: 8-bit JPEG and, for the plate's common scale, 16-bit TIFF.

    Beside them, as `<REPLACED>.new`, what one of them is replaced with.
    """
    for well, name in enumerate(WELLS):
        place = folder / "P" / name
        place.mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            pixels = picture(disc((200, 220), 30 + 6 * frame + 4 * well), grain=8)
            if well:
                tifffile.imwrite(place / f"t{frame:02d}.tif", pixels.astype(np.uint16) * 37 + 100)
            else:
                Pillow.fromarray(pixels).save(place / f"t{frame:02d}.jpg", quality=95)
    other = picture(disc((200, 220), 52), grain=8)
    Pillow.fromarray(other).save(folder / f"{REPLACED}.new", format="JPEG", quality=95)


class Place:
    """One state folder, one watched folder, and lives of the daemon one after another."""

    def __init__(self, folder: Path, pictures: Path) -> None:
        self.folder = folder
        self.pictures = pictures
        self.export, self.state = folder / "export", folder / "state"
        self.log_file = folder / "daemon.log"
        self.export.mkdir(parents=True)
        self.replaced = False
        # frame by frame, as an instrument goes round the wells
        drawn = (path for path in pictures.rglob("t*") if path.suffix != ".new")
        self._coming = sorted(drawn, key=lambda path: (path.stem, path.parent))
        self._log_begins = 0  # of the present life
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(self._settings()))

    def _settings(self) -> dict[str, Any]:
        watch = {"path": str(self.export), "settle_seconds": 0.3, "interval_minutes": 30}
        return {
            "watch": [watch],
            "state_dir": str(self.state),
            "segmentation": {"model": "u2netp", "refine": False, "device": "cpu"},
            "measurement": {"batch": {"max_images": 2, "max_wait_seconds": 1}},
            "logging": {"format": "json"},
        }

    # -- images ------------------------------------------------------------------------------

    def arrive(self, count: int) -> None:
        """The next images, with their dates, each under its name at once."""
        for source in self._coming[:count]:
            target = self.export / source.relative_to(self.pictures)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._bring(source, target)
        del self._coming[:count]

    def replace(self) -> None:
        """New content under the name of an image that may have been measured."""
        target = self.export / REPLACED
        if target.exists() and not self.replaced:
            self._bring(self.pictures / f"{REPLACED}.new", target)
            self.replaced = True

    def _bring(self, source: Path, target: Path) -> None:
        half = target.with_name(f".{target.name}.tmp")
        shutil.copy2(source, half)
        half.replace(target)

    # -- lives -------------------------------------------------------------------------------

    def run(self, *dying: str, until_idle: bool = True) -> subprocess.Popen[bytes]:
        """The daemon in the background.

        Args:
            dying: arguments of dying.py; none: the program as it is.
        """
        program = [str(HERE / "dying.py"), *dying, "--"] if dying else ["-m", "spheroidd"]
        idle = ["--until-idle"] if until_idle else []
        with self.log_file.open("ab") as log:
            self._log_begins = log.tell()
            return subprocess.Popen(
                [sys.executable, *program, "run", "-c", str(self._config), *idle],
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, _MARK: str(self.folder)},
            )  # fmt: skip

    def suffer(self, kill: Kill) -> str:
        """One life with its kill; returns in words how it came.

        Raises:
            AssertionError: the daemon ended otherwise, or left a process behind.
        """
        self.arrive(kill.arrivals)
        if kill.replaced:
            self.replace()
        if kill.at:
            said = self._to_the_point(kill)
        elif kill.victim == "worker":
            said = self._without_its_worker(kill)
        else:
            said = self._cut_short(kill)
        self.require_no_process(str(kill))
        return said

    def _to_the_point(self, kill: Kill) -> str:
        process = self.run("--at", kill.at, "--nth", str(kill.nth))
        code = self.end_of(process)
        if code == -signal.SIGKILL:
            return "killed"
        assert code in (0, 3), f"{kill}: ended with {code}; {self.log_file}"
        return "worker killed" if kill.victim == "worker" else "not reached"

    def _cut_short(self, kill: Kill) -> str:
        process = self.run(until_idle=False)
        self._await_moment(process, kill)
        assert process.poll() is None, f"{kill}: ended with {process.returncode}; {self.log_file}"
        os.kill(process.pid, signal.SIGKILL)  # not its group: the worker must end by itself
        process.wait()
        return "killed"

    def _without_its_worker(self, kill: Kill) -> str:
        process = self.run()
        self._await_moment(process, kill)
        killed = _kill_worker(process.pid)
        code = self.end_of(process)
        # One that dies while the daemon starts ends it, loudly; systemd starts it again.
        allowed = (0, 3) if kill.since == "ready" else (0, 1, 3)
        assert code in allowed, f"{kill}: ended with {code}; {self.log_file}"
        return "worker killed" if killed else "no worker there"

    def _await_moment(self, process: subprocess.Popen[bytes], kill: Kill) -> None:
        if kill.since == "ready":
            self.await_event(process, "ready")
        end = time.monotonic() + kill.seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(min(0.02, max(0.0, end - time.monotonic())))

    def await_event(self, process: subprocess.Popen[bytes], event: str) -> None:
        """Until this life's log says so."""
        start = time.monotonic()
        while event not in self._events():
            assert process.poll() is None, f"ended with {process.returncode}; {self.log_file}"
            assert time.monotonic() < start + _LIMIT_SECONDS, f"no {event!r}; {self.log_file}"
            time.sleep(0.01)

    def _events(self) -> list[str]:
        with self.log_file.open("rb") as log:
            log.seek(self._log_begins)
            lines = log.read().split(b"\n")[:-1]  # whole ones
        return [json.loads(line)["event"] for line in lines if line[:1] + line[-1:] == b"{}"]

    def end_of(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code, waited for in bounded time."""
        try:
            return process.wait(_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"it does not become idle; {self.log_file}") from None

    def finish(self) -> None:
        """Let all images arrive and everything be measured, undisturbed.

        An image that was alone in its batch when the worker was killed, twice, is blamed in
        good faith: it is tried again by hand, as `status` says.
        """
        self.arrive(len(self._coming))
        self.replace()
        code = self.end_of(self.run())
        if code == 3:
            subprocess.run(
                [sys.executable, "-m", "spheroidd", "retry", "-c", str(self._config)],
                check=True, capture_output=True, timeout=60,
            )  # fmt: skip
            code = self.end_of(self.run())
        assert code == 0, f"ended with {code}; {self.log_file}"
        self.require_no_process("the last, undisturbed run")

    # -- processes ---------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Whatever this place's daemons started and is still there, however deep."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                known = process.environ().get(_MARK) == str(self.folder)
                known |= any(str(self.state) in word for word in process.cmdline())
            except psutil.Error:
                continue
            if known:
                found.append(process)
        return found

    def require_no_process(self, when: str) -> None:
        end = time.monotonic() + _GONE_SECONDS
        while left := self.processes():
            assert time.monotonic() < end, f"{when}: still there {[one.cmdline() for one in left]}"
            time.sleep(0.02)

    def end(self) -> None:
        """Nothing of this place goes on, whatever happened."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _kill_worker(daemon: int) -> bool:
    """SIGKILL for CellProfiler's worker, if it is there."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(daemon).children(recursive=True):
            if any(word.endswith("worker.py") for word in child.cmdline()):
                child.kill()
                return True
    return False


def tempo_of(place: Place) -> Tempo:
    """Measure all images undisturbed, and say how long it took."""
    start = time.monotonic()
    place.arrive(PICTURES)
    place.replace()
    process = place.run()
    place.await_event(process, "ready")
    ready = time.monotonic()
    code = place.end_of(process)
    assert code == 0, f"ended with {code}; {place.log_file}"
    return Tempo(ready - start, time.monotonic() - ready)


def random_kills(seed: str, count: int, tempo: Tempo) -> list[Kill]:
    """Kills at random: at any moment, at any point, of the daemon or of its worker.

    Images go on arriving, and one gets other content on the way.
    """
    dice = random.Random(seed)
    replaced_at = dice.randrange(1, max(2, count))
    left = PICTURES
    kills: list[Kill] = []
    for number in range(count):
        arrivals = min(left, dice.choice((0, 1, 1, 2)) if number else 2)
        left -= arrivals
        kill = _random_kill(dice, tempo)
        kills.append(replace(kill, arrivals=arrivals, replaced=number == replaced_at))
    return kills


def _random_kill(dice: random.Random, tempo: Tempo) -> Kill:
    """Half of them while images are worked on; one in seven of the worker alone."""
    from dying import POINTS

    while_working = dice.uniform(0, tempo.work / 3)
    match dice.choices(("working", "starting", "point", "worker", "new worker"), (9, 3, 5, 2, 1)):
        case ["working"]:
            return Kill(seconds=while_working)
        case ["starting"]:
            return Kill(since="start", seconds=dice.uniform(0, tempo.ready))
        case ["worker"]:
            return Kill(seconds=while_working, victim="worker")
        case ["new worker"]:
            seconds = dice.uniform(tempo.ready / 2, tempo.ready)
            return Kill(since="start", seconds=seconds, victim="worker")
    at = dice.choice(sorted(POINTS))
    nth = dice.randint(1, {"transaction": 40, "migration": 12, "probe": 1}.get(at, 2))
    return Kill(at, nth, victim="worker" if at.startswith("worker") else "daemon")
