"""How rembg treats an image before its model sees it, learned from rembg itself.

rembg's `predict` runs once on made-up pictures and tells which size, mean and deviation it uses.
From then on the same input is made without it, to the last bit: of an 8-bit image reduced by the
same filter only 256 different values can come, and a grey one needs one channel, not three.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spheroidd.errors import ModelError
from spheroidd.segment.specimen import specimen

Pixels = NDArray[np.uint8]
Feed = Callable[[Pixels], NDArray[np.float32]]
# float32 is rounded once, at the end; rembg may come to do that elsewhere.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Treatment:
    """What happens to an image before the model, and to the map after it.

    Attributes:
        feed: uint8 H×W[×3] → float32 1×3×S×S, the model's input.
        sigmoid: whether the model's output is passed through one; rembg's BiRefNet sessions, and
            they alone, do so.
        lean: whether `feed` does without rembg.
    """

    feed: Feed
    sigmoid: bool
    lean: bool


@dataclass(frozen=True)
class Lean:
    """rembg's `normalize` for 8-bit images, by a table of all values that can come."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        small = np.asarray(Image.fromarray(image).resize(self.size, Image.Resampling.LANCZOS))
        share = np.arange(256) / max(int(small.max()), 1e-6)
        feed = np.empty((1, 3, *small.shape[:2]), np.float32)
        for number, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            table = ((share - mean) / std).astype(np.float32)
            values = small if small.ndim == 2 else small[:, :, number]
            # No value is clipped; any mode but `raise` writes straight to `out`.
            np.take(table, values, out=feed[0, number], mode="clip")
        return feed


class _Prepared(Exception):  # noqa: N818 - not an error: it carries the input out of rembg
    def __init__(self, feeds: dict[str, NDArray[np.float32]]) -> None:
        self.feeds = feeds


class _NoModel:
    """Stands where rembg keeps its onnxruntime session; `run` hands back what it was given."""

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image")]

    def run(self, _outputs: object, feeds: dict[str, NDArray[np.float32]]) -> None:
        raise _Prepared(feeds)


def learn(rembg_session: Any) -> Treatment:
    """See what a rembg session does to an image.

    Args:
        rembg_session: whose inner session is taken out; it is never run.

    Raises:
        ModelError: rembg works in a way that is not known here.
    """
    rembg_session.inner_session = _NoModel()
    own = _rembgs_own(rembg_session)
    sigmoid = hasattr(rembg_session, "sigmoid")
    grey = specimen()
    colour = np.stack([grey, grey // 2, 255 - grey], axis=2)
    lean = _parameters(rembg_session, own, grey)
    if lean and all(
        np.allclose(lean(image), own(image), rtol=0, atol=_ROUNDING) for image in (grey, colour)
    ):
        return Treatment(lean, sigmoid, lean=True)
    return Treatment(own, sigmoid, lean=False)


def _rembgs_own(rembg_session: Any) -> Feed:
    def feed(image: Pixels) -> NDArray[np.float32]:
        try:
            rembg_session.predict(Image.fromarray(image))
        except _Prepared as prepared:
            if len(prepared.feeds) == 1:
                return next(iter(prepared.feeds.values()))
        raise ModelError(
            f"rembg's {type(rembg_session).__name__} did not run the model as others do.",
            "This version of rembg works in another way; install the one spheroidd asks for.",
        )

    return feed


def _parameters(rembg_session: Any, own: Feed, image: Pixels) -> Lean | None:
    """What its `predict` hands to its `normalize`; None where it has another way."""
    said: list[dict[str, Any]] = []
    normalize = rembg_session.normalize

    def noted(picture: Image.Image, *given: Any, **named: Any) -> Any:
        said.append(dict(zip(("mean", "std", "size"), given, strict=False)) | named)
        return normalize(picture, *given, **named)

    rembg_session.normalize = noted
    try:
        own(image)
    finally:
        del rembg_session.normalize
    if len(said) != 1 or said[0].keys() != {"mean", "std", "size"}:
        return None
    return Lean(**said[0])
