"""The real CellProfiler in its real environment, and images to measure."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import spheroidd.measure
from spheroidd.measure import environment
from spheroidd.measure.engine import Engine, ImageInput, worker_command

Write = Callable[..., ImageInput]


@pytest.fixture(scope="session")
def cellprofiler(home: Path) -> Path:
    """The engine's Python; installed here if `make setup` has not done it."""
    return environment.install(home, report=print)


@pytest.fixture(scope="session")
def pipelines() -> Path:
    return Path(spheroidd.measure.__file__).parent / "pipelines"


@pytest.fixture(scope="session")
def saving() -> Path:
    """`mask.cppipe` with OverlayOutlines and SaveImages: it saves <key>_outline.png."""
    return Path(__file__).parent / "pipelines" / "saving.cppipe"


@pytest.fixture(scope="session")
def warm(cellprofiler: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One worker for all tests that do it no harm."""
    scratch = tmp_path_factory.mktemp("scratch")
    engine = Engine(worker_command(cellprofiler, scratch), log=lambda *_, **__: None)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def write_image(tmp_path: Path) -> Write:
    """Writes the files of one image: a mask, and an original and a white one made from it."""

    def write(key: str, mask: np.ndarray, **fields: Any) -> ImageInput:
        gray = np.where(mask, 60, 150).astype(np.uint8)
        white = np.where(mask, gray, 255).astype(np.uint8)
        files = {}
        for name, pixels in (("Original", gray), ("Spheroid", white), ("Mask", mask)):
            files[name] = tmp_path / f"{key}_{name}.png"
            Image.fromarray(pixels).save(files[name])
        known = {"plate": "P1", "well": "A1", "timepoint": 0, **fields}
        return ImageInput(key=key, files=files, **known)

    return write


@pytest.fixture(scope="session")
def disc() -> Callable[..., np.ndarray]:
    """A mask of 120 x 160 with one disc; its centre and radius can be given."""

    def draw(y: float = 60, x: float = 80, radius: float = 30) -> np.ndarray:
        rows, columns = np.mgrid[:120, :160]
        return np.hypot(rows - y, columns - x) <= radius

    return draw


@pytest.fixture(scope="session")
def count_areas() -> Callable[[np.ndarray], list[int]]:
    """An independent count: holes filled, corners connect, specks below 10 px across gone."""

    def count(mask: np.ndarray) -> list[int]:
        labels, _ = ndimage.label(ndimage.binary_fill_holes(mask), np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        return sorted(int(area) for area in areas if area >= np.pi * 10**2 / 4)

    return count
