"""What takes a while to come up: the models, tried, and CellProfiler, with its pipeline."""

import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from spheroidd import __version__
from spheroidd.config import Config
from spheroidd.errors import EngineError, ModelError, PipelineError
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import Engine, PipelineInfo, worker_command
from spheroidd.measure.environment import check as check_environment
from spheroidd.measure.environment import engine_python
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.measure.stage import Unchecked
from spheroidd.measure.supervision import Limits
from spheroidd.segment.finding import Finder
from spheroidd.segment.models import Model, resolve
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import Session, open_session
from spheroidd.store.folder import StateFolder


def warm_recipe(config: Config, home: Path, log: FilteringBoundLogger) -> Recipe:
    """How the configuration says that masks are made; its models loaded and tried."""
    wanted = config.segmentation
    if not wanted.enabled:
        log.warning("no model: CellProfiler finds the spheroids on the original images")
        return Recipe(None, __version__)
    # The one that may be missing after an upgrade is looked for before the slow one is loaded.
    second = _second_model(config, home)
    first = _warm_session(resolve(wanted.model, home), config, home, log)
    finder = Finder(
        first,
        _warm_session(second, config, home, log) if second else None,
        wanted.threshold,
        refine=wanted.refine,
        dense=wanted.spheroid == "dense",
    )
    recipe = Recipe(finder, __version__)
    log.info("masks", threshold=wanted.threshold, refinement=recipe.refinement or "none")
    return recipe


def _second_model(config: Config, home: Path) -> Model | None:
    names = config.segmentation.models[1:]
    try:
        return resolve(names[0], home) if names else None
    except ModelError as error:
        raise ModelError(
            f"segmentation.second_model, which looks again where {config.segmentation.model} is "
            f"unsure: {error.message}",
            f"{error.hint} Or set `second_model: none`, or `refine: false`.",
        ) from error


def _warm_session(model: Model, config: Config, home: Path, log: FilteringBoundLogger) -> Session:
    wanted = config.segmentation
    session = open_session(
        model,
        home=home,
        device=wanted.device,
        require=wanted.require,
        tensorrt=wanted.tensorrt,
        threads=wanted.cpu_threads,
        gpu_memory=int(wanted.gpu_memory_gb * 1e9) if wanted.gpu_memory_gb else None,
        cache=StateFolder(config.state_dir).models,
        warn=lambda message: log.warning("accelerator", model=model.name, reason=message),
        alarm=lambda message: log.error("accelerator", model=model.name, reason=message),
        inform=lambda message: log.info("device chosen", model=model.name, reason=message),
    )
    log.info("model warm", model=model.name, md5=model.md5, provider=session.provider)
    return session


def begin_engine(config: Config, home: Path, scratch: Path, log: FilteringBoundLogger) -> Engine:
    """CellProfiler's worker, coming up while the models are loaded: each of the two takes seconds
    of one core.  Why it does not come up, `warm_engine` says.

    Args:
        scratch: a folder for this worker alone.
    """
    worn = config.measurement.worker
    limits = Limits(int(worn.max_memory_gb * 1e9), worn.max_images, worn.max_hours)
    command = worker_command(engine_python(home), scratch)
    engine = Engine(command, log=_worker_log(log), limits=limits)

    def start() -> None:
        with contextlib.suppress(EngineError):
            engine.start()

    if engine_python(home).exists():
        threading.Thread(target=start, name="engine start", daemon=True).start()
    return engine


def warm_engine(
    engine: Engine, config: Config, home: Path, log: FilteringBoundLogger, *, patient: bool = False
) -> Protocol:
    """Wait for CellProfiler's worker, and have it check the pipeline.

    Args:
        patient: a CellProfiler that is installed and does not work is waited for: no worker
            runs then, and the pipeline is `Unchecked`.

    Raises:
        PipelineError: the pipeline can't be used.
        EngineError: CellProfiler is not installed or, unless `patient`, does not work.
    """
    path = pipeline_path(config.measurement.pipeline)

    def check() -> Protocol:
        return _checked(engine, path, config, log)

    try:
        _look_at_environment(home, log)
        _start(engine)
        return check()
    except EngineError as error:
        # What was never installed no waiting brings.
        installed = engine_python(home).parent.is_dir()
        if not patient or not installed or isinstance(error, PipelineError):
            engine.stop()
            raise
        log.error(
            "CellProfiler does not work; images are segmented and wait for it",
            reason=error.message,
            next_step=error.hint,
        )
        return Unchecked(
            **vars(_protocol(config, path, "", "", _may_be_asked_for(config, path))),
            check=check,
            reason=error.message,
        )


def _look_at_environment(home: Path, log: FilteringBoundLogger) -> None:
    if not check_environment(home).current:
        log.warning(
            "CellProfiler's environment is of another version of spheroidd",
            next_step="spheroidd engine install",
        )


def _start(engine: Engine) -> None:
    """A worker that did not come up has a second try: it may have been killed, or the disk cold."""
    try:
        engine.start()
    except EngineError:
        time.sleep(engine.retry_in)
        engine.start()


def _checked(engine: Engine, path: Path, config: Config, log: FilteringBoundLogger) -> Protocol:
    """What every area is measured with, once CellProfiler has looked at the pipeline."""
    wanted = config.measurement
    info = engine.validate(path, wanted.images)
    if not config.segmentation.enabled:
        _without_model(info, path)
    name = _spheroids_of(info, path, wanted.spheroid)
    log.info(
        "CellProfiler warm",
        cellprofiler=engine.version,
        pipeline=wanted.pipeline,
        sha256=info.sha256,
        images=dict(info.images),
        objects=list(info.objects),
        spheroid=name,
    )
    return _protocol(config, path, info.sha256, name, frozenset(info.images.values()))


def _protocol(
    config: Config, path: Path, sha256: str, spheroid: str, images: frozenset[str]
) -> Protocol:
    wanted = config.measurement
    rule = Rule(wanted.batch.max_images, wanted.batch.max_wait_seconds)
    return Protocol(path, wanted.pipeline, sha256, spheroid, rule, __version__, images)


def _may_be_asked_for(config: Config, path: Path) -> frozenset[str]:
    """The images that a pipeline can have, but not the one on white if no setting names it.

    By its text alone, so it may be more than CellProfiler finds, never less.  Asked for in
    vain it would do harm: images that lack it are segmented again, from the instrument's files.
    """
    if not config.segmentation.enabled:
        return frozenset({"Original"})
    # Only settings are indented; CellProfiler 2 writes text as `\x00`, two bytes a letter.
    setting = re.compile(r"^[ \t].*(\bSpheroid\b|\\x00)", re.MULTILINE)
    white = "Spheroid" in config.measurement.images.values()
    try:
        white = white or bool(setting.search(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:  # why, CellProfiler says when it works
        white = True
    return frozenset({"Original", "Mask", *(["Spheroid"] if white else [])})


def keeping_white(config: Config, recipe: Recipe, protocol: Protocol) -> Recipe:
    """The recipe that makes the image on white only where it is asked for, or kept."""
    return replace(recipe, white="Spheroid" in protocol.images or config.keep.white_days != 0)


def _without_model(info: PipelineInfo, path: Path) -> None:
    """With `model: none` there is the original alone."""
    missing = [
        given if name == given else f"{given} (as '{name}')"
        for name, given in info.images.items()
        if given != "Original"
    ]
    if missing:
        raise PipelineError(
            f"The pipeline {path} asks for {', '.join(missing)}, which "
            "segmentation.model: none does not provide.",
            "It can have Original; name a model, or change the pipeline or measurement.images.",
        )


def _spheroids_of(info: PipelineInfo, path: Path, wanted: str | None) -> str:
    """Which kind of object is the spheroid: the configured one, `Spheroids`, or the only one."""
    found = ", ".join(info.measured)
    if wanted is not None:
        if wanted in info.measured:
            return wanted
        makes = "makes but does not measure" if wanted in info.objects else "does not make"
        raise PipelineError(
            f"measurement.spheroid is {wanted!r}, which the pipeline {path} {makes}.",
            f"It measures the area of {found}; name one of these, or measure another one "
            "with MeasureObjectSizeShape.",
        )
    if "Spheroids" in info.measured:
        return "Spheroids"
    if len(info.measured) == 1:
        return info.measured[0]
    raise PipelineError(
        f"The pipeline {path} measures the area of {found}, and which is the spheroid is not said.",
        f"Say in the configuration, under `measurement:`, for example "
        f"`spheroid: {info.measured[0]}`.",
    )


def _worker_log(log: FilteringBoundLogger) -> Callable[..., None]:
    def tell(event: str, *, level: str = "info", **fields: object) -> None:
        getattr(log, level)(event, part="cellprofiler", **fields)

    return tell
