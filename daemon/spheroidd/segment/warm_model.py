"""What all warm sessions share: an image goes in, checked probabilities come out."""

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spheroidd.errors import ModelError
from spheroidd.segment.stock import Model
from spheroidd.segment.treatment import Pixels, Treatment

# Half precision leaves rounding errors around 0 and 1; anything beyond is no probability.
_ROUNDING = 0.01


class WarmModel(ABC):
    """A loaded model.  Threads may share it: only the run itself is one at a time.

    Attributes:
        most_at_once: how many images in hand keep it busy, see `Session`.
    """

    most_at_once = 1

    def __init__(self, model: Model, treatment: Treatment, provider: str, *, half: bool) -> None:
        """
        Args:
            half: whether the model takes its input in half precision.
        """
        self.model = model
        self.provider = provider
        self.trouble = ""
        self._treatment = treatment
        self._half = half
        # onnxruntime's and OpenVINO's runs use all their threads: side by side they only wait.
        self._turn = threading.Lock()

    def probabilities(self, image: Pixels) -> NDArray[np.float32]:
        """Foreground probability of each pixel.

        Args:
            image: uint8, H×W (grey) or H×W×3.

        Returns:
            float32, H×W, in [0, 1]: the model's own map, never stretched to the image's range,
            enlarged or reduced to the image's size.

        Raises:
            ValueError: not such an image. A mistake in the calling code.
            ModelError: the model failed, or gave something that is no probability.
            RunFailedError: of these, that it failed while it ran.
        """
        if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)):
            raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 H×W or H×W×3")
        height, width = image.shape[:2]
        raw = Image.fromarray(self.raw(image))
        return np.asarray(raw.resize((width, height), Image.Resampling.BILINEAR))

    def remarks(self) -> list[str]:
        """What makes it slower than it could be, a line each."""
        if self._treatment.lean:
            return []
        return [
            f"{self.model.name} gets its input from rembg, whose way to make it is not known here: "
            "the same, but slower"
        ]

    def raw(self, image: Pixels) -> NDArray[np.float32]:
        """As `probabilities`, at the model's own size."""
        return self._map(self._first_output(self._feed(image)))

    def _feed(self, image: Pixels) -> NDArray[Any]:
        """The model's input for one image, 1×3×S×S."""
        feed = self._treatment.feed(image)
        return feed.astype(np.float16) if self._half else feed

    def _map(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """The model's first output for one image as probabilities, H×W.

        Raises:
            ModelError: it is none.
        """
        if output.ndim != 4:
            raise ModelError(
                f"{self.model.name} gave an output of shape {output.shape}, not 1 × 1 × H × W.",
                "This is no segmentation model that spheroidd can use.",
            )
        map_: NDArray[np.float32] = output[0, 0].astype(np.float32, copy=False)
        if self._treatment.sigmoid:
            map_ = 0.5 * (1 + np.tanh(0.5 * map_))
        # NaN fails both comparisons, infinities one of them.
        if not (map_.min() >= -_ROUNDING and map_.max() <= 1 + _ROUNDING):
            raise ModelError(
                f"{self.model.name} gave values from {map_.min()} to {map_.max()} on "
                f"{self.provider}, which are no probabilities; the image was not segmented.",
                "Check the file with `spheroidd model verify`, or run on `device: cpu`.",
            )
        return map_.clip(0, 1)

    @abstractmethod
    def _first_output(self, feed: NDArray[Any]) -> NDArray[Any]:
        """The model's first output for one input, 1×3×S×S; an array that nobody else writes to.

        Raises:
            RunFailedError: the run failed, which on an accelerator need not be the image's fault.
            ModelError: the input does not fit.
        """
