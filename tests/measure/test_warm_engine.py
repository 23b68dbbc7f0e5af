"""CellProfiler at the daemon's start: it is broken, was never installed, or dies once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spheroidd.config import Config
from spheroidd.errors import EngineError, PipelineError
from spheroidd.measure.engine import Engine
from spheroidd.measure.outcome import Protocol
from spheroidd.measure.pipelines import SHIPPED
from spheroidd.measure.stage import Unchecked
from spheroidd.warming import begin_engine, warm_engine

BROKEN = "exit 127"
# It answers what is asked before the worker is started, and then does not start it.
WORKERLESS = """case "$*" in *worker.py*) exit 127;; esac"""
ONCE = """case "$*" in *worker.py*) mkdir "$0.tried" 2>/dev/null && exit 9;; esac"""

Warm = Callable[..., Any]


@pytest.fixture
def engine_home(tmp_path: Path, cellprofiler: Path) -> Callable[[str], Path]:
    """A data home whose CellProfiler does something first; it may end with that."""

    def make(first: str) -> Path:
        python = tmp_path / "home" / "engine" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\n{first}\nexec "{cellprofiler}" "$@"\n')
        python.chmod(0o755)
        return tmp_path / "home"

    return make


@pytest.fixture
def warm(tmp_path: Path, captured_log: Any) -> Warm:
    @contextmanager
    def start(
        home: Path, *, patient: bool, pipeline: str = "mask", **measurement: Any
    ) -> Iterator[tuple[Engine, Protocol]]:
        config = Config.model_validate(
            {
                "watch": [{"path": str(tmp_path / "export")}],
                "state_dir": str(tmp_path / "state"),
                "measurement": {"pipeline": pipeline, **measurement},
            }
        )
        engine = begin_engine(config, home, tmp_path / "scratch", captured_log[0])
        try:
            yield engine, warm_engine(engine, config, home, captured_log[0], patient=patient)
        finally:
            engine.stop()

    return start


@pytest.mark.parametrize("broken", [BROKEN, WORKERLESS])
def test_only_the_service_waits_for_a_broken_one(
    broken: str, warm: Warm, engine_home: Callable[[str], Path], captured_log: Any
) -> None:
    home = engine_home(broken)
    with pytest.raises(EngineError), warm(home, patient=False):
        pass
    with warm(home, patient=True) as (engine, protocol):
        assert isinstance(protocol, Unchecked)
        assert protocol.reason
        [told] = [event for event in captured_log[1] if "images are segmented" in event["event"]]
        assert told["reason"] == protocol.reason
        with pytest.raises(EngineError):
            protocol.check()
        engine_home("")  # mended; the back-off is over in seconds
        while engine.retry_in:
            pass
        checked = protocol.check()
        assert not isinstance(checked, Unchecked)
        assert checked.object_name == "Spheroids"
        assert len(checked.pipeline_sha256) == 64


def test_one_that_was_never_installed_stops_the_service(warm: Warm, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="spheroidd engine install"),
        warm(tmp_path / "empty", patient=True),
    ):
        pass


def test_a_worker_that_dies_at_the_start_has_a_second_try(
    warm: Warm, engine_home: Callable[[str], Path]
) -> None:
    with warm(engine_home(ONCE), patient=False) as (engine, protocol):
        assert engine.pid
        assert protocol.pipeline_sha256


def test_a_wrong_pipeline_stops_the_service_at_once(
    warm: Warm, engine_home: Callable[[str], Path], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.cppipe"
    wrong.write_text("This is not a pipeline at all.\n")
    with (
        pytest.raises(PipelineError),
        warm(engine_home(""), patient=True, pipeline=str(wrong)),
    ):
        pass


@pytest.mark.parametrize("pipeline", SHIPPED)
def test_the_image_on_white_is_made_for_a_pipeline_that_may_ask_for_it(
    pipeline: str, warm: Warm, engine_home: Callable[[str], Path]
) -> None:
    with warm(engine_home(BROKEN), patient=True, pipeline=pipeline) as (_, protocol):
        assert ("Spheroid" in protocol.images) == (pipeline == "white-background")


def test_it_is_made_where_the_text_does_not_tell(
    warm: Warm, engine_home: Callable[[str], Path], tmp_path: Path
) -> None:
    home = engine_home(BROKEN)
    with warm(home, patient=True, images={"Mask": "Spheroid"}) as (_, protocol):
        assert "Spheroid" in protocol.images
    old = tmp_path / "old.cppipe"
    old.write_text("Version:1\nIdentify:[module_num:1]\n    Select:\\xff\\xfeS\\x00p\\x00\n")
    with warm(home, patient=True, pipeline=str(old)) as (_, protocol):
        assert "Spheroid" in protocol.images
