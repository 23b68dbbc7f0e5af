"""The images that all rows are measured on."""

import threading
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from PIL import Image, ImageOps

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "cell-iq-timelapse" / "export"
FRAMES_PER_WELL = 24
QUALITY = 92
# Turned and mirrored: real images each, and no two files alike.
_VIEWS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
)

Size = tuple[int, int]


def plate_of(count: int, size: Size | None, folder: Path, data: Path = REAL) -> tuple[Path, str]:
    """An export folder with one plate of `count` JPEGs, and what they are.

    Args:
        size: width, height; None: as the instrument wrote them.
        folder: to be filled with `Bench/<well>/<frame>.jpg`, 24 frames to a well.
        data: real frames; where there are none the simulator draws some.
    """
    frames = sorted(data.rglob("*.jpg"))
    source = "Cell-IQ frames"
    if not frames:
        frames, source = simulated(folder.with_name("simulated")), "simulated frames"
    for number, picture in enumerate(islice(pictures(frames, size), count)):
        well, frame = divmod(number, FRAMES_PER_WELL)
        path = folder / "Bench" / f"A{well + 1}" / f"A{well + 1}_{frame:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=QUALITY)
    width, height = picture.size
    how = "enlarged" if size else "as they are"
    return folder, f"{source}, {how}, {width} × {height}"


def pictures(frames: list[Path], size: Size | None) -> Iterator[Image.Image]:
    """All frames in the first view, then in the next; a frame's shape is kept, its middle cut."""
    for view in cycle(_VIEWS):
        for path in frames:
            with Image.open(path) as opened:
                picture = opened if view is None else opened.transpose(view)
                if size:
                    picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
                picture.load()
                yield picture


def simulated(folder: Path) -> list[Path]:
    """Frames of one well, drawn into `folder`."""
    from spheroidd.simulator.instrument import Instrument
    from spheroidd.simulator.plan import mixed_plates, plan

    shots = plan(mixed_plates(1, 1), FRAMES_PER_WELL)
    Instrument(folder, shots, interval_seconds=0, pause_seconds=0).run(threading.Event())
    return sorted(folder.rglob("*.jpg"))
