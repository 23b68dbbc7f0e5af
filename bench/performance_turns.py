"""Ways to get from a file to a mask, taking turns on every image."""

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spheroidd.intake.imagefile import read_image
from spheroidd.segment.openvino_session import quiet_openvino
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.rembg_home import rembg_home
from spheroidd.segment.stock import Model
from spheroidd.store.files import whole

Way = Callable[[Path], object]
Feeds = dict[Path, dict[str, Any]]
Samples = dict[str, list[tuple[float, float]]]

PUBLISHED = "published script's steps"
BARE = "bare model, onnxruntime"
BARE_OPENVINO = "bare model, OpenVINO"


def take_turns(ways: dict[str, Way], files: list[Path], tell: Callable[[str], None]) -> Samples:
    """(seconds, CPU seconds of all threads) of every way on every file, by way.

    Whatever disturbs the machine hits all ways alike, and none always comes first.
    """
    names = list(ways)
    for name in names:
        tell(f"warming up: {name}")
        ways[name](files[0])
    taken: Samples = {name: [] for name in names}
    for number, path in enumerate(files):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            tell(f"image {number + 1} of {len(files)}: {name}")
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name](path)
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return taken


def rembg_session(model: Model, home: Path) -> Any:
    """rembg's own session on the CPU, as the published script makes it."""
    inside = model.path.is_relative_to(home.absolute())
    with rembg_home(home if inside else model.path.parent):
        import rembg

        return rembg.new_session(
            model.session, providers=["CPUExecutionProvider"], model_path=str(model.path)
        )


def published(session: Any, target: Path, path: Path) -> None:
    """rembg's cut-out of the file's bytes, laid on white, saved as JPEG."""
    import rembg

    cut = Image.open(io.BytesIO(rembg.remove(path.read_bytes(), session=session)))
    white = Image.new("RGB", cut.size, "white")
    white.paste(cut, mask=cut.getchannel("A"))
    white.save(target)


def bare(session: Any, feeds: Feeds) -> Way:
    """The model alone, as rembg runs it."""
    inner = session.inner_session
    output = inner.get_outputs()[0].name
    return lambda path: inner.run([output], feeds[path])


def precision_of(provider: str) -> str:
    """What a session computes with in OpenVINO; 32 bits where it does not run there."""
    return provider.removeprefix("OpenVINO").strip() if provider.startswith("OpenVINO ") else "f32"


def bare_openvino(model: Model, feeds: Feeds, precision: str) -> Way:
    """The same in OpenVINO, cut to the one output that is used.

    Args:
        precision: that of the session which it is compared with, see `precision_of`.

    Raises:
        ImportError: it is not installed.
    """
    openvino = quiet_openvino()
    core = openvino.Core()
    graph = core.read_model(model.path)
    first = openvino.Model([graph.outputs[0]], graph.get_parameters(), "first output")
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": os.cpu_count(),
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(first, "CPU", hints).create_infer_request()
    return lambda path: request.infer(list(feeds[path].values()))


def model_input(session: Any, path: Path) -> dict[str, Any]:
    """What rembg feeds the model for one image."""
    inner, seen = session.inner_session, []

    class Spy:
        get_inputs = staticmethod(inner.get_inputs)

        def run(self, outputs: Any, feeds: dict[str, Any]) -> Any:
            seen.append(feeds)
            return inner.run(outputs, feeds)

    session.inner_session = Spy()
    try:
        with Image.open(path) as picture:
            session.predict(picture)
    finally:
        session.inner_session = inner
    return seen[0]


def stage(recipe: Recipe, scratch: Path) -> Way:
    """Everything the daemon does from the file to the mask, but for the ledger's rows."""
    lean = replace(recipe, white=False)  # the default pipeline does not ask for it

    def run(path: Path) -> None:
        began = time.perf_counter()
        pixels = read_image(str(path)).pixels.astype(np.uint8, copy=False)
        with whole(scratch / "original.npy") as temporary, temporary.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
        lean.apply(pixels, scratch, Path("mask.png"), Path("white.png"), began)

    return run


def unrefined(recipe: Recipe) -> Recipe:
    """The same with one look at every image."""
    assert recipe.finder is not None
    return replace(recipe, finder=replace(recipe.finder, refine=False))
