"""The configuration: frozen, validated sections; `config_file.py` reads them from YAML.

It is passed as an argument, never kept as a global.  Unknown keys are errors: a misspelt
setting must not turn into a silent default.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from spheroidd.config_types import (
    FilePath,
    Positive,
    Section,
    absolute,
    auto_or_up_to,
    resolved,
)
from spheroidd.config_upkeep import Alerts, Backup, Disk, Keep, Monitor, Worker
from spheroidd.config_web import Web

# The pipelines that ship; the first two need a model's mask.
PIPELINES = ("mask", "white-background", "threshold")
DEFAULT_PATTERN = r"(?P<plate>[^/]+)/(?:.+/)?(?P<well>[^/]+)/(?P<name>[^/]+)$"


def _absolute_file(suffix: str) -> BeforeValidator:
    """A name (of a model, of a shipped pipeline) stays a name; a file becomes absolute."""

    def resolve(value: Any, info: ValidationInfo) -> Any:
        is_file = isinstance(value, str) and ("/" in value or value.lower().endswith(suffix))
        return str(absolute(value, info)) if is_file else value

    return BeforeValidator(resolve)


def _checked_pattern(value: str, info: ValidationInfo) -> str:
    check: Callable[[str], None] | None = (info.context or {}).get("check_pattern")
    if check is not None:
        check(value)
    return value


def _existing_pipeline(value: str) -> str:
    try:
        exists = value in PIPELINES or (Path(value).is_absolute() and Path(value).is_file())
    except OSError:
        exists = False
    if not exists:
        raise ValueError(
            f"no such pipeline; choose {', '.join(PIPELINES)}, or a .cppipe file that can be read"
        )
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("not a time zone; take a name such as Europe/Berlin") from error
    return value


def _bare_extension(value: Any) -> Any:
    return value.lower().removeprefix(".") if isinstance(value, str) else value


Extension = Annotated[
    Literal["jpg", "jpeg", "tif", "tiff", "png"], BeforeValidator(_bare_extension)
]


def _both_bounds(value: Any) -> Any:
    """One number is a limit that nothing moves."""
    one = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (one or isinstance(value, (list, tuple))):
        raise ValueError("give one number, or two: [low, high]")
    return (value, value) if one else value


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the lower bound comes first")
    return value


Share = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
_Both, _Order = BeforeValidator(_both_bounds), AfterValidator(_in_order)
Limits = Annotated[tuple[Positive, Positive], _Both, _Order]
Shares = Annotated[tuple[Share, Share], _Both, _Order]
Factors = Annotated[tuple[Factor, Factor], _Both, _Order]


class Watch(Section):
    """One folder that an instrument exports to; spheroidd only ever reads it."""

    path: FilePath
    pattern: Annotated[str, AfterValidator(_checked_pattern)] = DEFAULT_PATTERN
    extensions: tuple[Extension, ...] = Field(
        default=("jpg", "jpeg", "tif", "tiff", "png"), min_length=1
    )
    observer: Literal["auto", "native", "polling"] = "auto"
    settle_seconds: float = Field(default=5.0, ge=0, le=3600)
    poll_seconds: float = Field(default=5.0, ge=0.2, le=3600)
    scan_seconds: float = Field(default=300.0, ge=1, le=300)
    interval_minutes: Positive | None = None
    timezone: Annotated[str, AfterValidator(_known_zone)] | None = None
    pixel_size_um: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None


class Segmentation(Section):
    """Which model finds the spheroid, where it runs, and where the mask begins."""

    model: Annotated[str, _absolute_file(".onnx")] = Field(
        default="isnet-general-use", min_length=1
    )
    device: Literal["auto", "cuda", "openvino", "cpu"] = "auto"
    require: bool = False
    # Of the CPU, within one run of a model; `auto`: one for each core.
    threads: Annotated[int | Literal["auto"], auto_or_up_to(1024)] = "auto"
    # On a GPU: TensorRT where it is installed and draws the same map.  Minutes at the first start.
    tensorrt: bool = False
    # What each model may take of a GPU's memory; None: as much as it needs.
    gpu_memory_gb: Positive | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)
    # Look again where the evidence asks for it, and draw boundaries anew on the image itself.
    refine: bool = True
    # The small model of the second look; `none`: the model looks again by itself.
    second_model: Annotated[str, _absolute_file(".onnx")] = Field(default="u2netp", min_length=1)
    # `dense` cuts off loose cells, debris and filaments.
    spheroid: Literal["whole", "dense"] = "whole"
    # Live images go first; of what was written long before it was seen, which?
    backlog: Literal["oldest", "newest"] = "oldest"

    @property
    def enabled(self) -> bool:
        """False with `model: none`: CellProfiler then works on the original alone."""
        return self.model != "none"

    @property
    def cpu_threads(self) -> int | None:
        """Within one run of a model; None: as many as the machine has for it."""
        return None if self.threads == "auto" else self.threads

    @property
    def models(self) -> tuple[str, ...]:
        """The models that masks are made with: the first, and the second if there is one."""
        if not self.enabled:
            return ()
        second = self.refine and self.second_model not in ("none", self.model)
        return (self.model, self.second_model) if second else (self.model,)


class Batch(Section):
    """When a plate's images go to CellProfiler: this many, or after this long."""

    max_images: int = Field(default=24, ge=1, le=1000)
    max_wait_seconds: float = Field(default=20.0, ge=0, le=3600)


class Measurement(Section):
    """How CellProfiler measures: a shipped pipeline's name, or a .cppipe file."""

    pipeline: Annotated[str, _absolute_file(".cppipe"), AfterValidator(_existing_pipeline)] = "mask"
    # The pipeline's name of an image → what it gets; names that are offered need no entry.
    images: dict[str, Literal["Original", "Spheroid", "Mask"]] = Field(default_factory=dict)
    # Which of the pipeline's objects are spheroids; None: `Spheroids`, or the only ones measured.
    spheroid: Annotated[str, Field(min_length=1)] | None = None
    objects: Literal["one", "all"] = "one"
    batch: Batch = Batch()
    # CellProfiler's processes; `auto`: by cores and memory.
    workers: Annotated[int | Literal["auto"], auto_or_up_to(16)] = "auto"
    worker: Worker = Worker()


class Flags(Section):
    """Between which bounds each flag's limit may lie; the plate's own scatter decides where.

    One number is a fixed limit. docs/flags.md says what each of them measures.
    """

    low_confidence: Shares = (0.68, 0.75)
    several_objects: Shares = (0.1, 0.1)
    ambiguous: Shares = (0.4, 0.4)
    touches_border: Limits = (1, 1)
    area_jump: Limits = (0.09, 0.15)
    position_jump: Limits = (0.25, 1.0)
    shape_jump: Limits = (0.1, 0.3)
    low_focus: Factors = (3.0, 5.0)
    exposure_shift: Limits = (8.0, 30.0)
    low_solidity: Shares = (0.7, 0.85)
    flip_flop: Shares = (0.6, 0.6)
    missing_frame: Limits = (1, 1)
    duplicate_frame: Limits = (1, 1)
    disagreement: Shares = (0.8, 0.9)

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Flag → the least and the highest limit."""
        return self.model_dump()


class Logging(Section):
    """What the daemon tells: `auto` is readable on a terminal, JSON lines elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


class OverlapError(ValueError):
    """Several problems of one setting, each an argument."""


class Config(Section):
    """The whole configuration, validated, with every path absolute.

    A setting that depends on another one stands below it: each is checked by itself,
    so that trouble in one section hides none in the others.
    """

    state_dir: FilePath
    watch: tuple[Watch, ...] = Field(min_length=1)
    segmentation: Segmentation = Segmentation()
    measurement: Measurement = Field(default=Measurement(), validate_default=True)
    flags: Flags = Flags()
    disk: Disk = Disk()
    backup: Backup = Backup()
    keep: Keep = Keep()
    alerts: Alerts = Alerts()
    monitor: Monitor = Monitor()
    web: Web = Web()
    logging: Logging = Logging()

    @field_validator("watch")
    @classmethod
    def _folders_apart(cls, value: tuple[Watch, ...], info: ValidationInfo) -> tuple[Watch, ...]:
        """No two watched folders overlap, and nothing is ever written inside one."""
        paths = [resolved(watch.path) for watch in value]
        state = info.data["state_dir"].resolve() if "state_dir" in info.data else None
        overlaps = [
            f"{path} and {other} overlap, so images would count twice; "
            "name only the outer folder, or two separate ones"
            for index, path in enumerate(paths)
            for other in paths[:index]
            if _overlap(path, other)
        ] + [
            f"state_dir {state} and the watched folder {path} overlap; "
            "spheroidd never writes where the instrument does, choose another state_dir"
            for path in paths
            if state is not None and _overlap(path, state)
        ]
        if overlaps:
            raise OverlapError(*overlaps)
        return value

    @field_validator("backup")
    @classmethod
    def _backups_elsewhere(cls, value: Backup, info: ValidationInfo) -> Backup:
        for watch in info.data.get("watch", ()):
            if value.folder is not None and _overlap(value.folder.resolve(), resolved(watch.path)):
                raise OverlapError(
                    f"{value.folder} and the watched folder {watch.path} overlap; "
                    "spheroidd never writes where the instrument does, choose another folder"
                )
        return value

    @field_validator("measurement")
    @classmethod
    def _pipeline_has_its_images(cls, value: Measurement, info: ValidationInfo) -> Measurement:
        segmentation: Segmentation | None = info.data.get("segmentation")
        if segmentation and not segmentation.enabled and value.pipeline in PIPELINES[:2]:
            raise ValueError(
                f"the pipeline {value.pipeline!r} needs a model, but "
                "segmentation.model is none; take `pipeline: threshold`, or name a model"
            )
        return value

    def dump(self) -> str:
        """The effective configuration as YAML, defaults filled in; without secrets."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
