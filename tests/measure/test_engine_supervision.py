"""Workers that die, hang or talk rubbish: a scripted one for each way, then the real one."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from spheroidd.errors import EngineError
from spheroidd.measure.engine import Engine, ImageInput, worker_command
from spheroidd.measure.process import Child, WorkerFailedError
from spheroidd.measure.supervision import Limits, Wear, worn_out

Write = Callable[..., ImageInput]
Draw = Callable[..., np.ndarray]
# Short times are for workers that are meant to miss them; all others get plenty, because a
# busy machine is no failure.
PLENTY = 40.0
PATIENT = (PLENTY, PLENTY, PLENTY)
IMPATIENT = (0.3, 0.3, PLENTY)
LATE: dict[str, dict[str, Any]] = {
    "never ready": {"start_timeout": 1.5, "ladder": IMPATIENT},
    **{
        behaviour: {"deadline": lambda _: 0.5, "ladder": IMPATIENT}
        for behaviour in ("hangs", "deaf", "half a line")
    },
}

FAKE = """
import json, os, signal, subprocess, sys, time
behaviour, counter = sys.argv[1:3]
starts = int(open(counter).read()) + 1 if os.path.exists(counter) else 1
open(counter, "w").write(str(starts))
def say(**message):
    sys.stdout.write(json.dumps(message) + chr(10)); sys.stdout.flush()
def ready():
    say(ready=True, cellprofiler="0.0", protocol=1, pid=os.getpid())
def serve():
    for line in sys.stdin:
        request = json.loads(line)
        say(id=request["id"], ok=True, sha256="f00", images=[], objects=[], measured=[], modules=[])
"""
BEHAVIOURS = {
    "good": "ready(); serve()",
    "dies at start": "sys.stderr.write('no licence for today'); sys.exit(3)",
    "never ready": "time.sleep(300)",
    "wrong protocol": "say(ready=True, protocol=99); serve()",
    "rubbish at start": "print('Welcome to CellProfiler!', flush=True); serve()",
    "hangs": "ready(); time.sleep(300)",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(300)",
    "dies when asked": "ready(); sys.stdin.readline(); os.kill(os.getpid(), 9)",
    "rubbish": "ready(); sys.stdin.readline(); print('Segmentation fault', flush=True); serve()",
    "a list": "ready(); sys.stdin.readline(); print('[1]', flush=True); serve()",
    "another id": "ready(); sys.stdin.readline(); say(id=77, ok=True); serve()",
    "half a line": "ready(); sys.stdin.readline(); print('{', end='', flush=True); time.sleep(300)",
    "floods": "ready(); sys.stdin.readline()\nwhile True: say(id=0, ok=True)",
    "endless": (
        "ready(); number = json.loads(sys.stdin.readline())['id']\n"
        "while True: say(id=number, ok=True, more=True, images={})"
    ),
    "deep": "ready(); sys.stdin.readline(); print('[' * 100_000, flush=True); serve()",
    "talks without a full stop": (
        "ready()\nfor _ in range(64): sys.stderr.write('.' * 2**20)\n"
        "sys.stderr.flush(); serve()"
    ),
    "leaks": (
        "ready(); kept = []\n"
        "for line in sys.stdin:\n"
        "    kept.append(bytearray(os.urandom(2**20)) * 40)\n"
        "    say(id=json.loads(line)['id'], ok=True, sha256='', images=[], objects=[],"
        " measured=[], modules=[])"
    ),
    "answers": (
        "ready()\n"
        "for line in sys.stdin:\n"
        "    say(id=json.loads(line)['id'], ok=True, images=json.load(open(counter + '.answer')))"
    ),
    "second time good": "ready(); (serve() if starts > 1 else sys.exit(1))",
    "has children": (
        "child = subprocess.Popen(['sleep', '300'], stdin=subprocess.DEVNULL); ready()\n"
        "sys.stderr.write(f'child {child.pid}' + chr(10))\n"
        "serve()"
    ),
}  # fmt: skip


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Events(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None:
        self.append((event, {"level": level, **fields}))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self if event == name]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def fake(tmp_path: Path, clock: Clock, events: Events) -> Iterator[Callable[..., Engine]]:
    """Engines on a scripted worker; all are stopped and all their processes gone at the end."""
    before = children()
    engines: list[Engine] = []

    def make(behaviour: str, **options: Any) -> Engine:
        script = tmp_path / "fake.py"
        script.write_text(textwrap.dedent(FAKE) + BEHAVIOURS[behaviour])
        command = [sys.executable, str(script), behaviour, str(tmp_path / "starts")]
        settings: dict[str, Any] = {
            "deadline": lambda _: PLENTY,
            "start_timeout": PLENTY,
            "ladder": PATIENT,
            "clock": clock,
            **LATE.get(behaviour, {}),
        }
        engines.append(Engine(command, log=events, **(settings | options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()
    assert children() == before


def children() -> set[psutil.Process]:
    """All processes below this one; other tests' warm worker may be among them."""
    return set(psutil.Process().children(recursive=True))


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def test_a_good_worker(fake: Callable[..., Engine], events: Events, tmp_path: Path) -> None:
    engine = fake("good")
    assert (engine.version, engine.pid) == (None, None)
    assert engine.validate(tmp_path / "x.cppipe").sha256 == "f00"
    first = engine.pid
    assert engine.validate(tmp_path / "x.cppipe").sha256 == "f00"
    assert (engine.version, engine.pid) == ("0.0", first)
    engine.stop()
    engine.stop()
    assert engine.pid is None
    assert [fields["code"] for fields in events.named("worker.stopped")] == [0]
    with pytest.raises(EngineError, match="stopped"):
        engine.validate(tmp_path / "x.cppipe")


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("dies at start", "code 3.*\n.*no licence"),
        ("never ready", "in time"),
        ("wrong protocol", "99"),
        ("rubbish at start", "Welcome"),
        ("hangs", "in time"),
        ("deaf", "in time"),
        ("dies when asked", "code -9"),
        ("rubbish", "Segmentation fault"),
        ("a list", r"\[1\]"),
        ("another id", "out of turn"),
        ("half a line", "in time"),
        ("floods", "out of turn|code -9"),
        ("endless", "out of turn|code -9"),
        ("deep", "something else than JSON"),
    ],
)
def test_a_bad_worker_is_stopped_and_named(
    behaviour: str, said: str, fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    before = children()
    engine = fake(behaviour)
    begun = time.monotonic()
    with pytest.raises(WorkerFailedError, match=said):
        engine.validate(tmp_path / "x.cppipe")
    # Far from what it would sleep, and short of what the well-behaved are given.
    assert time.monotonic() - begun < PLENTY - 10
    assert engine.pid is None
    assert children() == before
    (failed,) = events.named("worker.failed")
    assert failed["next_try_in"] == 1


def test_the_ladder_is_climbed_and_logged(
    fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    with pytest.raises(WorkerFailedError):
        fake("deaf").validate(tmp_path / "x.cppipe")
    assert [fields["after"] for fields in events.named("worker.wont_end")] == ["stdin", "SIGTERM"]
    assert events.named("worker.stopped")[0]["code"] == -signal.SIGKILL


def test_after_five_failures_in_a_row_it_is_down_and_gets_one_try_a_minute(
    fake: Callable[..., Engine], clock: Clock, events: Events
) -> None:
    engine = fake("dies at start")
    before = time.time()
    states = []
    for _ in range(8):
        with pytest.raises(WorkerFailedError):
            engine.start()
        states.append(engine.state)
        clock.now += engine.retry_in - 0.01
        with pytest.raises(EngineError, match=r"not started again yet: .*code 3") as caught:
            engine.start()
        assert not isinstance(caught.value, WorkerFailedError)
        clock.now += 0.02
    waits = [fields["next_try_in"] for fields in events.named("worker.failed")]
    assert waits == [1, 2, 4, 8, 60, 60, 60, 60]
    assert states == ["ready"] * 4 + ["down"] * 4
    assert engine.failures == 8
    assert before <= (engine.down_since or 0) <= (engine.next_try_at or 0) - 60 <= time.time()
    assert "no licence" in engine.last_error
    assert len(events.named("engine.down")) == 1


def test_an_engine_that_is_down_heals_with_the_first_answer(
    fake: Callable[..., Engine], clock: Clock, events: Events, tmp_path: Path
) -> None:
    engine = fake("dies at start")
    for _ in range(6):
        with pytest.raises(WorkerFailedError):
            engine.start()
        clock.now += engine.retry_in
    fake("good")  # the same script, mended
    engine.start()
    assert engine.state == "down", "to start is not yet to work"
    engine.validate(tmp_path / "x.cppipe")
    assert (engine.state, engine.failures, engine.down_since) == ("ready", 0, None)
    assert (engine.next_try_at, engine.last_error) == (None, "")
    assert [fields["failures"] for fields in events.named("engine.up")] == [6]


def test_success_resets_the_back_off(
    fake: Callable[..., Engine], clock: Clock, events: Events, tmp_path: Path
) -> None:
    engine = fake("second time good", ladder=IMPATIENT)
    with pytest.raises(WorkerFailedError):
        engine.validate(tmp_path / "x.cppipe")
    clock.now += 1
    engine.validate(tmp_path / "x.cppipe")
    pid = engine.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    engine._deadline = lambda _: 0.5
    with pytest.raises(WorkerFailedError, match="in time"):
        engine.validate(tmp_path / "x.cppipe")
    assert [fields["next_try_in"] for fields in events.named("worker.failed")] == [1, 1]


def test_a_worker_that_died_between_requests_is_replaced_unnoticed(
    fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    engine = fake("good")
    engine.start()
    first = engine.pid
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: engine.pid is None)
    engine.validate(tmp_path / "x.cppipe")
    assert engine.pid not in (None, first)
    assert len(events.named("worker.died_idle")) == 1


# -- a worn worker -------------------------------------------------------------------------


def test_a_worker_that_leaks_is_recycled(
    fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    """It really takes 40 MiB for each request; above the limit there is a fresh one."""
    engine = fake("leaks", limits=Limits(memory_bytes=100 * 2**20))
    pids, sizes = [], []
    for _ in range(8):
        engine.validate(tmp_path / "x.cppipe")
        pids.append(engine.pid)
        sizes.append(engine.memory_bytes or 0)
    assert 3 <= len(set(pids)) <= 6
    assert 60 * 2**20 < max(sizes) < 200 * 2**20
    recycled = events.named("worker.recycled")
    assert len(recycled) == engine.recycled == len(set(pids)) - 1
    assert {fields["reason"] for fields in recycled} == {"memory"}
    assert all(fields["memory_mib"] >= 100 for fields in recycled)
    assert not events.named("worker.failed"), "it is no failure"
    assert engine.retry_in == 0


def test_a_worker_is_recycled_by_age(
    fake: Callable[..., Engine], clock: Clock, events: Events, tmp_path: Path
) -> None:
    engine = fake("good", limits=Limits(hours=24))
    engine.start()
    first = engine.pid
    clock.now += 24 * 3600 - 1
    engine.validate(tmp_path / "x.cppipe")
    assert engine.pid == first
    clock.now += 1
    engine.start()
    assert engine.pid not in (None, first)
    [recycled] = events.named("worker.recycled")
    assert (recycled["reason"], recycled["hours"], recycled["pid"]) == ("age", 24, first)
    assert [fields["code"] for fields in events.named("worker.stopped")] == [0], "asked, not killed"


def test_what_decides_that_a_worker_is_worn() -> None:
    limits = Limits(memory_bytes=1000, images=50, hours=2)
    assert worn_out(Wear(999, 49, 1.99), limits) == ""
    assert worn_out(Wear(1000, 0, 0), limits) == "memory"
    assert worn_out(Wear(None, 50, 0), limits) == "images"
    assert worn_out(Wear(0, 0, 2), limits) == "age"
    assert worn_out(Wear(10**12, 10**6, 10**4), Limits(None, None, None)) == ""


# -- rubbish in a good shape ---------------------------------------------------------------

GOOD = {"error": None, "image": {"Threshold": 0.5}, "labels": None,
        "objects": {"Spheroids": {"count": 1, "features": {"AreaShape_Area": [7.0]}}}}  # fmt: skip
RUBBISH: dict[str, Any] = {
    "another image": {"k2": GOOD},
    "a list": [GOOD],
    "no outcome": {"k1": None},
    "no objects": {"k1": {**GOOD, "objects": None}},
    "an error that is none": {"k1": {**GOOD, "error": 5}},
    "a negative count": {"k1": {**GOOD, "objects": {"S": {"count": -1, "features": {}}}}},
    "more objects than memory": {"k1": {**GOOD, "objects": {"S": {"count": 10**12,
                                                                  "features": {}}}}},
    "an area in words": {"k1": {**GOOD, "objects": {"S": {"count": 1, "features": {
        "AreaShape_Area": ["large"]}}}}},
    "an area that is true": {"k1": {**GOOD, "objects": {"S": {"count": 1, "features": {
        "AreaShape_Area": [True]}}}}},
    "an infinite area": {"k1": {**GOOD, "objects": {"S": {"count": 1, "features": {
        "AreaShape_Area": [10**400]}}}}},
    "NaN": {"k1": {**GOOD, "image": {"Threshold": float("nan")}}},
    "somebody's file": {"k1": {**GOOD, "labels": "/data/cell-iq/export/A1.jpg"}},
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
def test_an_answer_that_makes_no_sense_is_the_workers_failure(
    what: str, fake: Callable[..., Engine], clock: Clock, events: Events, tmp_path: Path
) -> None:
    """No area is made of it, nothing is removed, and the next worker is asked again."""
    answer = tmp_path / "starts.answer"
    answer.write_text(json.dumps(RUBBISH[what]))
    engine = fake("answers")
    images = [ImageInput("k1", "P", "A1", 0, {})]
    with pytest.raises(WorkerFailedError, match=r"makes no sense|something else than JSON"):
        engine.measure(tmp_path / "x.cppipe", images, tmp_path / "batch")
    assert engine.pid is None
    assert engine.failures == 1
    clock.now += 1
    answer.write_text(json.dumps({"k1": GOOD}))
    found = engine.measure(tmp_path / "x.cppipe", images, tmp_path / "batch")
    assert found["k1"].objects == {"Spheroids": [{"AreaShape_Area": 7.0}]}
    assert engine.failures == 0


def test_a_line_on_stderr_that_never_ends_is_cut(
    fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    engine = fake("talks without a full stop")
    engine.validate(tmp_path / "x.cppipe")
    lines = events.named("worker.stderr")
    assert len(lines) > 1000
    assert max(len(fields["line"]) for fields in lines) <= 4096


def test_what_nobody_reads_is_bounded(events: Events) -> None:
    """Lines of 64 MiB, on and on, while nothing was asked."""
    script = "import sys\nwhile True: sys.stdout.write('x' * (2**26 - 1) + chr(10))"
    child = Child([sys.executable, "-c", script], events, ladder=IMPATIENT)
    try:
        wait_until(lambda: not child.alive)
        assert child._unread <= 4 * 2**26
    finally:
        child.stop()


def test_no_file_can_be_opened_and_a_batch_goes_through_all_the_same(
    fake: Callable[..., Engine], tmp_path: Path
) -> None:
    """With a worker at hand a request needs no descriptor; without one it is tried again."""
    engine = fake("good")
    engine.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        engine.validate(tmp_path / "x.cppipe")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert engine.failures == 0


def test_stop_from_another_thread_ends_a_request(
    fake: Callable[..., Engine], events: Events, tmp_path: Path
) -> None:
    engine = fake("hangs", deadline=lambda _: 100)
    engine.start()
    threading.Timer(0.3, engine.stop).start()
    begun = time.monotonic()
    with pytest.raises(EngineError):
        engine.validate(tmp_path / "x.cppipe")
    assert time.monotonic() - begun < 50
    assert not events.named("worker.failed"), "being stopped is no failure"


def test_children_of_the_worker_end_too(fake: Callable[..., Engine], events: Events) -> None:
    engine = fake("has children")
    engine.start()
    wait_until(lambda: bool(events.named("worker.stderr")))
    child = psutil.Process(int(events.named("worker.stderr")[0]["line"].split()[1]))
    engine.stop()
    gone, _ = psutil.wait_procs([child], timeout=PLENTY)
    assert gone


def test_a_command_that_does_not_exist(tmp_path: Path, events: Events) -> None:
    engine = Engine([str(tmp_path / "python")], log=events)
    with pytest.raises(EngineError, match="can't be started"):
        engine.start()


def test_a_request_larger_than_a_pipe_to_a_worker_that_does_not_read(
    tmp_path: Path, events: Events
) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(300)"], events, ladder=IMPATIENT)
    try:
        with pytest.raises(WorkerFailedError, match="did not read"):
            child.send({"text": "x" * 1_000_000}, time.monotonic() + 0.5)
    finally:
        child.stop()


DAEMON = """
import sys
from pathlib import Path
from spheroidd.measure.engine import Engine, ImageInput, worker_command
given = {name: Path(path) for name, path in (text.split("=", 1) for text in sys.argv[1:])}
command = worker_command(given["python"], given["scratch"])
engine = Engine(command, log=lambda *_, **__: None)
engine.start()
print(engine.pid, flush=True)
images = [ImageInput(str(number), "P", "A1", number, given) for number in range(1000)]
engine.measure(given["pipeline"], images, given["folder"])
"""


# -- the real worker -----------------------------------------------------------------------


@pytest.fixture
def own(cellprofiler: Path, tmp_path: Path, clock: Clock, events: Events) -> Iterator[Engine]:
    """A real worker of the test's own, to be ill-treated."""
    command = worker_command(cellprofiler, tmp_path / "scratch")
    engine = Engine(command, log=events, clock=clock, ladder=(15, 15, 15))
    yield engine
    engine.stop()


@pytest.fixture
def many(write_image: Write, disc: Draw) -> list[ImageInput]:
    """A batch that takes longer than any time given in a test: it has to be cut short."""
    image = write_image("one", disc())
    return [replace(image, key=f"k{number}") for number in range(1000)]


def test_killed_in_the_middle_of_a_batch(
    own: Engine, clock: Clock, saving: Path, tmp_path: Path, many: list[ImageInput]
) -> None:
    own.start()
    outlines = (tmp_path / "batch").glob

    def kill() -> None:
        wait_until(lambda: any(outlines("*.png")))
        os.kill(own.pid or 0, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(WorkerFailedError, match="code -9"):
        own.measure(saving, many, tmp_path / "batch")
    thread.join()
    with pytest.raises(EngineError, match="not started again yet"):
        own.measure(saving, many[:1], tmp_path / "batch")
    clock.now += 1
    outcomes = own.measure(saving, many[:2], tmp_path / "batch")
    assert [outcome.error for outcome in outcomes.values()] == [None, None]


def test_stop_needs_only_the_first_step_even_while_it_measures(
    own: Engine,
    events: Events,
    saving: Path,
    tmp_path: Path,
    many: list[ImageInput],
) -> None:
    own.start()

    def stop() -> None:
        wait_until(lambda: any((tmp_path / "batch").glob("*.png")))
        own.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(EngineError):
        own.measure(saving, many, tmp_path / "batch")
    thread.join()
    assert not events.named("worker.wont_end")
    assert [fields["code"] for fields in events.named("worker.stopped")] == [0]


def test_a_late_batch_is_ended(
    own: Engine, pipelines: Path, tmp_path: Path, many: list[ImageInput]
) -> None:
    before = children()
    own.start()
    own._deadline = lambda _: 0.3
    begun = time.monotonic()
    with pytest.raises(WorkerFailedError, match="in time"):
        own.measure(pipelines / "mask.cppipe", many, tmp_path / "batch")
    assert time.monotonic() - begun < 15
    assert children() == before


def test_no_orphan_when_the_daemon_is_killed_while_it_measures(
    cellprofiler: Path, saving: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    given = {
        "python": cellprofiler,
        "pipeline": saving,
        "folder": tmp_path / "batch",
        "scratch": tmp_path / "scratch",
        **write_image("one", disc()).files,
    }
    arguments = [f"{name}={path}" for name, path in given.items()]
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        worker = psutil.Process(int(process.stdout.readline()))
        wait_until(lambda: any((tmp_path / "batch").glob("*.png")))
        process.kill()
    gone, _ = psutil.wait_procs([worker], timeout=15)
    assert gone


@pytest.mark.slow
def test_memory_stays_flat(
    own: Engine, pipelines: Path, tmp_path: Path, write_image: Write, disc: Draw
) -> None:
    large = np.kron(disc(), np.ones((4, 6), bool))
    images = [write_image(f"k{number}", large) for number in range(4)]
    sizes = []
    for batch in range(12):
        folder = tmp_path / f"batch{batch}"
        own.measure(pipelines / "mask.cppipe", images, folder, labels_of="Spheroids")
        sizes.append(psutil.Process(own.pid).memory_info().rss / 2**20)
    # Without gc.collect and malloc_trim it grows by 2 or 3 MiB a batch, with them in all.
    assert max(sizes) - sizes[2] < 12, sizes


def test_scratch_is_emptied_at_start(own: Engine, tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "tmp" / "Cpmeasurements0815.hdf5"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left by a killed worker")
    kept = tmp_path / "scratch" / "not mine"
    kept.write_text("stays")
    own.start()
    assert not left.exists()
    assert kept.exists()
    assert own.version == "4.2.8.1"
