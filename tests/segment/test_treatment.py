"""What is learned of rembg's sessions: their input, to the last bit, without them."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from rembg.sessions import sessions_class
from rembg.sessions.u2netp import U2netpSession

from spheroidd.errors import ModelError
from spheroidd.segment.catalogue import CATALOGUE, ISNET, U2NET
from spheroidd.segment.specimen import specimen
from spheroidd.segment.treatment import learn

KINDS = {kind.name(): kind for kind in sessions_class}
NAMES = sorted({entry.session for entry in CATALOGUE.values()} | {ISNET, U2NET})
NOISE = np.random.default_rng(1).integers(3, 250, (61, 97, 3)).astype(np.uint8)
PICTURES = {
    "grey": specimen(),
    "colour": NOISE,
    "grey in colour": np.repeat(specimen()[:, :, np.newaxis], 3, axis=2),
    "black": np.zeros((5, 9), np.uint8),
    "one pixel": np.full((1, 1, 3), 255, np.uint8),
}


def without_model(kind: type) -> Any:
    return kind.__new__(kind)


def rembgs_own(kind: type, image: np.ndarray) -> np.ndarray:
    """What its session gives onnxruntime."""
    session, seen = without_model(kind), []

    class Spy:
        def get_inputs(self) -> list[Any]:
            return [type("Input", (), {"name": "x"})]

        def run(self, _outputs: Any, feeds: dict[str, np.ndarray]) -> Any:
            seen.append(feeds["x"])
            raise StopIteration

    session.inner_session = Spy()
    with pytest.raises(StopIteration):
        session.predict(Image.fromarray(image))
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_models_input_is_made_without_rembg_and_the_same(name: str) -> None:
    treatment = learn(without_model(KINDS[name]))
    assert treatment.lean
    assert treatment.sigmoid == name.startswith("birefnet")
    shown = PICTURES if name in ("u2netp", ISNET) else {"colour": NOISE}
    for image in shown.values():
        made = treatment.feed(image)
        assert made.dtype == np.float32
        assert np.array_equal(made, rembgs_own(KINDS[name], image))


class Otherwise(U2netpSession):
    """What a later rembg might do: the same call, another arithmetic."""

    def normalize(self, img: Any, mean: Any, std: Any, size: Any, *_: Any, **__: Any) -> Any:
        made = super().normalize(img, mean, std, size)
        return {name: array[:, ::-1] for name, array in made.items()}


class Elsewhere(U2netpSession):
    """One that never calls `normalize`."""

    def predict(self, img: Any, *_: Any, **__: Any) -> Any:
        return self.inner_session.run(None, {"x": np.ones((1, 3, 4, 4), np.float32)})


@pytest.mark.parametrize("kind", [Otherwise, Elsewhere])
def test_a_session_with_another_way_keeps_it(kind: type) -> None:
    treatment = learn(without_model(kind))
    assert not treatment.lean
    assert np.array_equal(treatment.feed(NOISE), rembgs_own(kind, NOISE))


class Never(U2netpSession):
    def predict(self, img: Any, *_: Any, **__: Any) -> Any:
        return [img]


def test_a_session_that_runs_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="Never did not run the model"):
        learn(without_model(Never))
