"""OpenVINO with real models: the same masks as onnxruntime, or not used."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spheroidd.errors import AcceleratorLostError, ModelError
from spheroidd.segment import models, openvino_session, trial
from spheroidd.segment.openvino_session import PLAIN, OpenVinoSession, installed, load_openvino
from spheroidd.segment.rembg_session import RembgSession
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.specimen import specimen
from spheroidd.segment.trial import Likeness, Trial, hold

if installed() is None:
    pytest.skip("OpenVINO is not installed", allow_module_level=True)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def opened(u2netp: models.Model, home: Path) -> OpenVinoSession:
    return load_openvino(u2netp, home, 1, None, half=False)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Those that are held."""
    held: list[Trial] = []

    def noted(*ways: Any) -> tuple[Trial, OpenVinoSession]:
        made = hold(*ways)
        held.append(made[0])
        return made

    monkeypatch.setattr("spheroidd.segment.session.hold", noted)
    return held


def test_it_draws_the_masks_that_onnxruntime_draws(
    opened: OpenVinoSession, session: RembgSession, real_data: Path
) -> None:
    assert opened.provider == PLAIN
    frames = sorted((real_data / "cell-iq-timelapse" / "export").rglob("*.jpg"))
    for frame in frames[::8]:
        image = np.asarray(Image.open(frame))
        one, other = (one.probabilities(image) for one in (session, opened))
        assert other.dtype == np.float32
        assert iou(one > 0.5, other > 0.5) >= trial.SAME


def test_only_the_first_output_is_left_and_nobody_writes_to_what_it_gave(
    opened: OpenVinoSession,
) -> None:
    assert len(opened._request.get_compiled_model().outputs) == 1
    first = opened.raw(specimen())
    before = first.copy()
    opened.raw(255 - specimen())
    assert np.array_equal(first, before)


def test_half_precision_input_is_fed_half_precision(
    tmp_path: Path, onnx_file: Callable[..., Path], home: Path
) -> None:
    model = models.resolve(str(onnx_file("Sigmoid", 320, half=True)), tmp_path)
    found, expected = (
        one.probabilities(specimen())
        for one in (
            load_openvino(model, home, 1, None, half=False),
            open_session(model, home=home, device="cpu", warn=pytest.fail),
        )
    )
    assert np.allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("operator", ["Identity", "Log"], ids=["not squashed", "not finite"])
def test_output_that_is_no_probability_is_an_error(
    tmp_path: Path, onnx_file: Callable[..., Path], home: Path, operator: str
) -> None:
    model = models.resolve(str(onnx_file(operator, 320)), tmp_path)
    opened = load_openvino(model, home, 1, None, half=False)
    with pytest.raises(ModelError, match="no probabilities"):
        opened.probabilities(specimen())


# -- which one ------------------------------------------------------------------------------


def figures(overlap: float = 1.0, apart: float = 0.0, openvino: float = 0.5) -> Trial:
    now = "2026-11-23T00:00:00+00:00"
    return Trial(now, "OpenVINO bf16", True, 1.0, openvino, overlap, apart, "")


@pytest.mark.parametrize(
    ("measured", "by_itself", "asked_for"),
    [
        (figures(), True, True),
        (figures(openvino=0.91), False, True),
        (figures(openvino=2.0), False, True),
        (figures(overlap=0.9949), False, False),
        (figures(apart=0.06), False, False),
        (figures(overlap=0.0), False, False),
    ],
    ids=["quicker", "hardly quicker", "slower", "another mask", "another map", "nothing found"],
)
def test_it_is_used_where_it_is_right_and_quicker(
    measured: Trial, by_itself: bool, asked_for: bool
) -> None:
    for wanted, expected in ((False, by_itself), (True, asked_for)):
        used, why = measured.verdict(asked_for=wanted)
        assert used == expected
        assert f"{measured.seconds_openvino:.3f} s" in why
        assert f"{measured.overlap:.4f}" in why


def test_a_model_that_draws_another_mask_does_not_agree(
    session: RembgSession, tiny: models.Model, home: Path
) -> None:
    measured, _ = hold(lambda: session, lambda half: load_openvino(tiny, home, 1, None, half=half))
    assert measured.overlap < 0.5
    assert not measured.verdict(asked_for=True)[0]


def test_sixteen_bits_are_left_where_a_model_does_not_bear_them(
    session: RembgSession, u2netp: models.Model, home: Path
) -> None:
    """U²-Net-p's mask of the specimen agrees, its map does not; see `trial`."""
    asked: list[OpenVinoSession] = []

    def opened(half: bool) -> OpenVinoSession:
        asked.append(load_openvino(u2netp, home, 1, None, half=half))
        return asked[-1]

    measured, used = hold(lambda: session, opened)
    assert used.provider == measured.provider == PLAIN
    assert Likeness(measured.overlap, measured.apart).enough
    if asked[0].provider == PLAIN:
        pytest.skip("this CPU has no bf16")
    assert len(asked) == 2


def test_the_choice_is_told_remembered_and_made_anew_where_it_can_not_be_read(
    tiny: models.Model, home: Path, tmp_path: Path, trials: list[Trial], told: list[str]
) -> None:
    cache = tmp_path / "cache"

    def again() -> Session:
        return open_session(tiny, home=home, cache=cache, warn=warned.append, inform=told.append)

    warned: list[str] = []
    first = again()
    assert len(trials) == 1
    used = trials[0].verdict(asked_for=False)[0]
    assert first.provider == (trials[0].provider if used else "CPU")
    assert trials[0].overlap >= trial.SAME
    second = again()
    assert len(trials) == 1, "remembered"
    assert second.provider == first.provider
    assert told[0] == told[1], "and told again, with the figures and since when"
    assert trials[0].since in told[0]
    [file] = cache.rglob("trial.json")
    no_number = file.read_text().replace('"apart": ', '"apart": "x')
    for broken in ("", "{}", "[1]", no_number):
        file.write_text(broken)
        held = len(trials)
        again()
        assert len(trials) == held + 1
    kept = json.loads(file.read_text())
    kept["key"]["openvino"] = "another"
    file.write_text(json.dumps(kept))
    held = len(trials)
    again()
    assert len(trials) == held + 1, "another version is another trial"
    assert not warned


def test_a_compiled_model_that_draws_another_mask_later_is_not_used(
    tiny: models.Model, home: Path, tmp_path: Path, trials: list[Trial], told: list[str]
) -> None:
    def again(**options: Any) -> Session:
        return open_session(
            tiny, home=home, cache=tmp_path / "cache", device="openvino", warn=told.append
        )

    assert again().provider.startswith("OpenVINO")
    [file] = tmp_path.rglob("trial.json")
    kept = json.loads(file.read_text())
    kept["trial"]["reference"] = ""
    file.write_text(json.dumps(kept))
    assert again().provider.startswith("OpenVINO")
    assert len(trials) == 2
    assert "another map than before" in told[0]
    for blob in (tmp_path / "cache").rglob("*.blob"):
        blob.write_bytes(blob.read_bytes()[:100])
    assert again().provider.startswith("OpenVINO"), "a damaged file is compiled anew"


def test_where_it_can_not_be_had_the_cpu_is_used_and_said_so(
    tiny: models.Model, home: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spheroidd.segment.session.installed", lambda: None)
    assert open_session(tiny, home=home, device="openvino", warn=told.append).provider == "CPU"
    assert "OpenVINO is not installed" in told[0]
    assert open_session(tiny, home=home, warn=pytest.fail).provider == "CPU"
    with pytest.raises(ModelError, match="OpenVINO is not installed"):
        open_session(tiny, home=home, device="openvino", require=True, warn=pytest.fail)


# -- in mid-run -----------------------------------------------------------------------------


class Broken:
    def infer(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("[CPU] out of memory")


@pytest.mark.parametrize("require", [False, True])
def test_what_fails_in_mid_run_costs_no_image(
    tiny: models.Model, home: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, require: bool
) -> None:
    opened: Any = open_session(
        tiny, home=home, device="openvino", require=require, warn=pytest.fail, alarm=told.append
    )
    expected = opened.probabilities(specimen())
    opened._session._request = Broken()
    assert np.array_equal(opened.probabilities(specimen()), expected), "loaded again"
    opened._session._request = Broken()
    if require:
        with pytest.raises(AcceleratorLostError, match="out of memory"):
            opened.probabilities(specimen())
        return
    assert np.allclose(opened.probabilities(specimen()), expected, atol=0.01)
    assert opened.provider == "CPU"
    assert opened.trouble.startswith("accelerator lost since 20")
    assert "out of memory" in told[-1]


def test_half_the_bits_only_where_the_cpu_has_them() -> None:
    class Core:
        def get_property(self, _device: str, _name: str) -> list[str]:
            return ["FP32", "INT8"]

    settings = openvino_session._settings(Core(), 2, None, half=True)
    assert settings["INFERENCE_PRECISION_HINT"] == "f32"


def test_nobody_is_told_that_it_is_used(u2netp: models.Model, home: Path, tmp_path: Path) -> None:
    """Its wheel brings a package that sends an event at every import and notes it in the home."""
    script = (
        "import sys; from pathlib import Path; from spheroidd.segment.models import resolve; "
        "from spheroidd.segment.openvino_session import load_openvino; "
        "home = Path(sys.argv[1]); model = resolve('u2netp', home); "
        "load_openvino(model, home, 1, None, half=False); "
        "print([name for name in sys.modules if 'telemetry.' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()
