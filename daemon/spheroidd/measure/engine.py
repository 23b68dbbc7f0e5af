"""CellProfiler as seen from the daemon: one warm worker, asked one batch at a time."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.process import LADDER, Child, Log, Message, WorkerFailedError

PROTOCOL = 1
WORKER = Path(__file__).parent / "worker" / "worker.py"
LONGEST_BACK_OFF = 60.0


@dataclass(frozen=True)
class ImageInput:
    """One image to measure.

    `key` is unique within a batch and becomes part of the names of files that pipelines save.
    `files` maps Original, Spheroid (on white) and Mask, as far as the pipeline uses them,
    to 8-bit PNG or .npy files of equal height and width.
    """

    key: str
    plate: str
    well: str
    timepoint: int | None
    files: Mapping[str, Path]


@dataclass(frozen=True)
class ImageOutcome:
    """What CellProfiler found on one image: an error, or all objects with all features.

    `objects` maps each kind of object to one dict per object; lengths are in pixels, a
    value CellProfiler could not compute is None.  No objects is a result, not an error.
    `image` has what the pipeline measures on the image as a whole, thresholds and counts too.
    `labels`: a picture of the objects' numbers, see `outline.read_labels`; the caller's to remove.
    """

    key: str
    error: str | None
    objects: Mapping[str, list[dict[str, float | None]]]
    image: Mapping[str, float | None] = field(default_factory=dict)
    labels: Path | None = None


@dataclass(frozen=True)
class PipelineInfo:
    """A pipeline that can run: its file's sha256, what it gets for each image it asks for
    (its own name → Original, Spheroid or Mask), the objects it makes, those of them that get
    an `AreaShape_Area` (at least one), its modules after the input modules.  Images, objects
    and modules are in the pipeline's order."""

    sha256: str
    images: Mapping[str, str]
    objects: tuple[str, ...]
    measured: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class _Checked:
    """What `validate` was told and found of one pipeline."""

    sha256: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def worker_command(python: Path, scratch: Path) -> list[str]:
    """The command of the real worker; each worker needs a scratch folder of its own."""
    # -I: nothing of the daemon's environment gets in; UTF-8 whatever the locale says.
    return [str(python), "-I", "-X", "utf8", str(WORKER), "--scratch", str(scratch.absolute())]


def default_deadline(images: int) -> float:
    """Seconds a request over so many images may take: a hundred times the usual."""
    return 60.0 + 30.0 * images


class Engine:
    """Owns the worker: starts it when needed, replaces it with back-off when it fails.

    One request at a time; a second thread waits for its turn.  `stop` works from any thread.

    Args:
        command: what to run; `worker_command` gives the real one.
        log: called with an event's name, `level=` and fields.
        deadline: seconds that a request over so many images may take.
        start_timeout: seconds from start to the ready line.
        ladder: see `process.LADDER`.
        clock: monotonic seconds, for the back-off.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Log,
        deadline: Callable[[int], float] = default_deadline,
        start_timeout: float = 120.0,
        ladder: Sequence[float] = LADDER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._log = log
        self._deadline = deadline
        self._start_timeout = start_timeout
        self._ladder = ladder
        self._clock = clock
        self._turn = threading.RLock()
        self._state = threading.Lock()  # guards _child and _stopped, held for moments only
        self._child: Child | None = None
        self._stopped = False
        self._failures = 0
        self._due = clock()
        self._version: str | None = None
        self._requests = 0
        self._checked: dict[Path, _Checked] = {}

    @property
    def version(self) -> str | None:
        """CellProfiler's version, None before the first start."""
        return self._version

    @property
    def pid(self) -> int | None:
        """The running worker's process id, None if there is none."""
        child = self._child
        return child.pid if child and child.alive else None

    @property
    def retry_in(self) -> float:
        """Seconds until a failed worker may be started again; 0 if it may now."""
        return max(0.0, self._due - self._clock())

    def start(self) -> None:
        """See that a worker is running and ready; at once if one is.  Raises EngineError."""
        with self._turn:
            self._ready_child()

    def stop(self) -> None:
        """End the worker for good, in bounded time; a request under way fails with EngineError."""
        with self._state:
            self._stopped = True
            child, self._child = self._child, None
        if child:
            child.stop()

    def validate(self, pipeline: Path, names: Mapping[str, str] | None = None) -> PipelineInfo:
        """Have CellProfiler load a pipeline and test every setting.

        Args:
            pipeline: a .cppipe file.
            names: which of Original, Spheroid and Mask an image of the pipeline gets, by the
                pipeline's name for it; those that are called so need no entry.  `measure`
                goes by it too.  None: as told the last time.

        Raises PipelineError if it can't run, asks for an image that it gets nothing for,
        measures no area, needs a person or writes anywhere but to a batch's folder;
        EngineError if the worker failed.
        """
        known = self._checked.get(pipeline, _Checked())
        names = known.names if names is None else dict(names)
        [reply] = self._request("validate", pipeline, 1, names=names)
        info = PipelineInfo(
            reply["sha256"],
            dict(reply["images"]),
            tuple(reply["objects"]),
            tuple(reply["measured"]),
            tuple(reply["modules"]),
        )
        self._checked[pipeline] = _Checked(info.sha256, names)
        return info

    def measure(
        self,
        pipeline: Path,
        images: Sequence[ImageInput],
        folder: Path,
        labels_of: str | None = None,
    ) -> dict[str, ImageOutcome]:
        """Run a pipeline over a batch.

        Args:
            pipeline: a .cppipe file; if it has changed since `validate`, it is refused.
            images: the batch, keys all different.
            folder: a folder for this batch alone, created if missing.  All that the
                pipeline saves lands there, whatever folder it names, and overwrites
                what an earlier try left.
            labels_of: the objects whose numbers are wanted as `labels`, where possible.

        Returns an outcome for every key: a bad image fails alone.
        Raises PipelineError, or EngineError if the batch as a whole failed.
        """
        for image in images:
            if not image.key or "/" in image.key or "\0" in image.key:
                raise ValueError(f"'{image.key}' can't be part of a file name")
        if len({image.key for image in images}) != len(images):
            raise ValueError("the keys of a batch must differ")
        folder.mkdir(parents=True, exist_ok=True)
        checked = self._checked.get(pipeline, _Checked())
        replies = self._request(
            "run",
            pipeline,
            len(images),
            sha256=checked.sha256,
            names=checked.names,
            output=str(folder.absolute()),
            labels_of=labels_of,
            images=[_as_message(image) for image in images],
        )
        said = {key: found for reply in replies for key, found in reply["images"].items()}
        return {image.key: _outcome(image.key, said[image.key]) for image in images}

    def _request(
        self, op: str, pipeline: Path, count: int, **fields: object
    ) -> list[dict[str, Any]]:
        """Ask the worker; returns its reply, which may be in several parts."""
        with self._turn:
            child = self._ready_child()
            self._requests += 1
            request = {"id": self._requests, "op": op, "pipeline": str(pipeline.absolute())}
            until = time.monotonic() + self._deadline(count)
            try:
                child.send({**request, **fields}, until)
                replies: list[dict[str, Any]] = []
                while not replies or replies[-1].get("more"):
                    replies.append(child.receive(until))
                    if replies[-1].get("id") != self._requests or "ok" not in replies[-1]:
                        raise WorkerFailedError(
                            f"CellProfiler's worker answered out of turn: {str(replies[-1])[:80]}"
                        )
            except WorkerFailedError as error:
                self._failed(child, error)
                raise
            self._failures = 0
        if not replies[-1]["ok"]:
            raise _error_of(replies[-1], pipeline)
        return replies

    def _ready_child(self) -> Child:
        """The running worker, or a new one.  Raises EngineError while it isn't due."""
        if (child := self._child) and child.alive:
            return child
        if child:
            self._log("worker.died_idle", level="warning", pid=child.pid)
            child.stop()
        if self.retry_in > 0:
            raise EngineError(
                "CellProfiler's worker failed and is not started again yet.",
                f"Next try in {self.retry_in:.0f} s.",
            )
        child = self._spawn()
        try:
            self._greet(child.receive(time.monotonic() + self._start_timeout))
        except WorkerFailedError as error:
            self._failed(child, error)
            raise
        self._log("worker.ready", pid=child.pid, cellprofiler=self._version)
        return child

    def _spawn(self) -> Child:
        with self._state:
            if self._stopped:
                raise EngineError("CellProfiler's worker has been stopped.")
            try:
                self._child = Child(self._command, self._log, ladder=self._ladder)
            except WorkerFailedError as error:
                self._back_off(error)
                raise
            return self._child

    def _greet(self, message: Message) -> None:
        if message.get("ready") is not True or message.get("protocol") != PROTOCOL:
            raise WorkerFailedError(f"CellProfiler's worker started with {str(message)[:80]}.")
        self._version = str(message.get("cellprofiler"))

    def _failed(self, child: Child, error: WorkerFailedError) -> None:
        child.stop()
        with self._state:
            stopped = self._stopped
            self._child = None
        if not stopped:
            self._back_off(error)

    def _back_off(self, error: WorkerFailedError) -> None:
        wait = min(2.0**self._failures, LONGEST_BACK_OFF)
        self._failures += 1
        self._due = self._clock() + wait
        self._log("worker.failed", level="error", error=str(error), next_try_in=wait)


def _as_message(image: ImageInput) -> Message:
    return {
        "key": image.key,
        "plate": image.plate,
        "well": image.well,
        "timepoint": image.timepoint,
        "files": {name: str(path.absolute()) for name, path in image.files.items()},
    }


def _outcome(key: str, said: Mapping[str, Any]) -> ImageOutcome:
    """From columns, as the worker sends them, to one dict per object."""
    objects = {
        name: [
            {feature: values[row] for feature, values in found["features"].items()
             if row < len(values)}
            for row in range(found["count"])
        ]
        for name, found in said["objects"].items()
    }  # fmt: skip
    labels = Path(said["labels"]) if said.get("labels") else None
    return ImageOutcome(key, said["error"], objects, said["image"], labels)


def _error_of(reply: Mapping[str, object], pipeline: Path) -> EngineError:
    error = reply.get("error")
    if reply.get("kind") == "pipeline":
        return PipelineError(
            f"Pipeline '{pipeline}' can't be used: {error}.",
            str(reply.get("hint") or "")
            or "Open it in CellProfiler 4.2 to change it, or choose another one.",
        )
    return EngineError(f"CellProfiler could not run the batch with '{pipeline.name}': {error}.")
