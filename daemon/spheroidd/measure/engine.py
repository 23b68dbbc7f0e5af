"""CellProfiler as seen from the daemon: one warm worker, asked one batch at a time."""

import errno
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.process import LADDER, Child, Log, Message, WorkerFailedError
from spheroidd.measure.supervision import Limits, Supervisor

# How the worker's Python words that a disk is full.
_NO_ROOM = (f"[Errno {errno.ENOSPC}]", f"[Errno {errno.EDQUOT}]")
WORKER = Path(__file__).parent / "worker" / "worker.py"
# How the worker names its pictures of labels; the daemon reads and removes nothing else.
_LABELS = re.compile(r"labels-[^/]*\.png")
_MOST_OBJECTS = 1_000_000  # of one kind on one image

Replies = list[dict[str, Any]]
Answer = TypeVar("Answer")


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
    and modules are in the pipeline's order.  `on_crop`: only the part of the images around the
    mask is looked at, for that gives the same numbers."""

    sha256: str
    images: Mapping[str, str]
    objects: tuple[str, ...]
    measured: tuple[str, ...]
    modules: tuple[str, ...]
    on_crop: bool = False


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


class Engine(Supervisor):
    """CellProfiler, asked through a worker that is replaced when it fails or is worn.

    One request at a time; a second thread waits for its turn.  `stop` works from any thread.

    Args:
        command: what to run; `worker_command` gives the real one.
        log: called with an event's name, `level=` and fields.
        deadline: seconds that a request over so many images may take.
        start_timeout: seconds from start to the ready line.
        ladder: see `process.LADDER`.
        limits: when a worker is replaced though it works.
        clock: monotonic seconds, for the back-off and a worker's age.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Log,
        deadline: Callable[[int], float] = default_deadline,
        start_timeout: float = 120.0,
        ladder: Sequence[float] = LADDER,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(command, log, limits, start_timeout, ladder, clock)
        self._deadline = deadline
        self._requests = 0
        self._checked: dict[Path, _Checked] = {}

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
        info = self._request("validate", pipeline, 1, _info, names=names)
        self._checked[pipeline] = _Checked(info.sha256, names)
        measured_on = "a crop around the mask" if info.on_crop else "whole images"
        self._log("pipeline.checked", sha256=info.sha256, measured_on=measured_on)
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
        outcomes = self._request(
            "run",
            pipeline,
            len(images),
            lambda replies: _outcomes(images, replies),
            sha256=checked.sha256,
            names=checked.names,
            output=str(folder.absolute()),
            labels_of=labels_of,
            images=[_as_message(image) for image in images],
        )
        self._images += len(images)
        return outcomes

    def _request(
        self,
        op: str,
        pipeline: Path,
        count: int,
        read: Callable[[Replies], Answer],
        **fields: object,
    ) -> Answer:
        """Ask the worker over so many images; its reply, which may be in parts, as `read` has it.

        A worker that gives what can't be read is as bad as one that gives nothing.
        """
        with self._turn:
            child = self._ready_child()
            self._requests += 1
            request = {"id": self._requests, "op": op, "pipeline": str(pipeline.absolute())}
            until = time.monotonic() + self._deadline(count)
            try:
                child.send({**request, **fields}, until)
                replies = self._replies(child, until, count)
                good = replies[-1]["ok"] is True
                answer = read(replies) if good else _error_of(replies[-1], pipeline)
            except (KeyError, TypeError, ValueError, AttributeError) as rubbish:
                failure = WorkerFailedError(
                    f"CellProfiler's worker gave an answer that makes no sense: {rubbish!r:.200}."
                )
                self._failed(child, failure)
                raise failure from rubbish
            except WorkerFailedError as failed:
                self._failed(child, failed)
                raise
            self._went_well()
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def _replies(self, child: Child, until: float, count: int) -> Replies:
        """All parts of one reply: each but the last brings an image or more."""
        replies: Replies = []
        while not replies or replies[-1].get("more"):
            replies.append(child.receive(until))
            wrong = replies[-1].get("id") != self._requests or "ok" not in replies[-1]
            if wrong or len(replies) > count + 1:
                raise WorkerFailedError(
                    f"CellProfiler's worker answered out of turn: {str(replies[-1])[:80]}"
                )
        return replies


def _as_message(image: ImageInput) -> Message:
    return {
        "key": image.key,
        "plate": image.plate,
        "well": image.well,
        "timepoint": image.timepoint,
        "files": {name: str(path.absolute()) for name, path in image.files.items()},
    }


def _info(replies: Replies) -> PipelineInfo:
    reply = replies[-1]
    images = dict(reply["images"])
    texts = [reply["sha256"], *reply["objects"], *reply["measured"], *reply["modules"]]
    texts += [*images, *images.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"a pipeline that is {reply!r:.80}")
    return PipelineInfo(
        reply["sha256"],
        images,
        tuple(reply["objects"]),
        tuple(reply["measured"]),
        tuple(reply["modules"]),
        reply.get("on_crop") is True,
    )


def _outcomes(images: Sequence[ImageInput], replies: Replies) -> dict[str, ImageOutcome]:
    said = {key: found for reply in replies for key, found in reply["images"].items()}
    return {image.key: _outcome(image.key, said[image.key]) for image in images}


def _outcome(key: str, said: Mapping[str, Any]) -> ImageOutcome:
    """From columns, as the worker sends them, to one dict per object; ValueError for rubbish."""
    error, labels = said["error"], said.get("labels")
    if not (error is None or isinstance(error, str)):
        raise ValueError(f"an error that is {error!r:.40}")
    _refuse_full_disk(error)
    if labels is not None and not _LABELS.fullmatch(Path(labels).name):
        raise ValueError(f"labels in {labels!r:.80}")
    objects = {}
    for name, found in said["objects"].items():
        count = found["count"]
        if not isinstance(count, int) or not 0 <= count <= _MOST_OBJECTS:
            raise ValueError(f"{count!r:.40} objects")
        columns = {feature: _numbers(values) for feature, values in found["features"].items()}
        objects[name] = [
            {feature: values[row] for feature, values in columns.items() if row < len(values)}
            for row in range(count)
        ]
    image = dict(zip(said["image"], _numbers(said["image"].values()), strict=True))
    return ImageOutcome(key, error, objects, image, Path(labels) if labels else None)


def _numbers(values: Iterable[object]) -> list[float | None]:
    """Finite numbers and None; ValueError for anything else."""
    numbers: list[float | None] = []
    for value in values:
        if value is None:
            numbers.append(None)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value):
            numbers.append(value)
        else:
            raise ValueError(f"{value!r:.40} where a number belongs")
    return numbers


def _is_finite(value: float) -> bool:
    return -sys.float_info.max <= value <= sys.float_info.max  # holds for long integers too


def _refuse_full_disk(error: object) -> None:
    """No image, no pipeline and no worker is to blame where there is no room to write.

    Raises:
        OSError: whoever waits for the disk goes on when there is.
    """
    if isinstance(error, str) and any(number in error for number in _NO_ROOM):
        raise OSError(errno.ENOSPC, f"CellProfiler: {error}")


def _error_of(reply: Mapping[str, object], pipeline: Path) -> EngineError:
    error = reply.get("error")
    _refuse_full_disk(error)
    if reply.get("kind") == "pipeline":
        return PipelineError(
            f"Pipeline '{pipeline}' can't be used: {error}.",
            str(reply.get("hint") or "")
            or "Open it in CellProfiler 4.2 to change it, or choose another one.",
        )
    return EngineError(f"CellProfiler could not run the batch with '{pipeline.name}': {error}.")
