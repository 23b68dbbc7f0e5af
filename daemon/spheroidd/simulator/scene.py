"""One picture of one well, and the exact truth about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spheroidd.simulator import backdrop as wells
from spheroidd.simulator import body as spheroids
from spheroidd.simulator import precipitate as crystals
from spheroidd.simulator.backdrop import Backdrop
from spheroidd.simulator.body import Body
from spheroidd.simulator.noise import Field, Mask, soft, stream

SIZE = (540, 960)
"""Height and width of a Cell-IQ export."""


@dataclass(frozen=True)
class Scene:
    """All that is needed to draw a well at one moment; the same scene gives the same picture.

    Args:
        backdrop: the well, the same in all its frames.
        body: the spheroid now; None in an empty well.
        precipitate: 0 none, 1 much.
        shot: number of the frame; gives each frame sensor noise of its own.
        stage: where the stage stopped, down and right of its place, in 1/540 of the height
            (at most `MARGIN` of the backdrop).
        blur: of the focus, in 1/540 of the height.
    """

    backdrop: Backdrop
    body: Body | None = None
    precipitate: float = 0.0
    shot: int = 0
    stage: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.6


def render(scene: Scene, size: tuple[int, int] = SIZE) -> tuple[NDArray[np.uint8], Mask]:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: height and width in pixels; everything scales with the height.

    Returns:
        The picture, uint8, and the truth, bool, both height × width. The truth is one
        4-connected piece without holes, or all False for an empty well; its sum is the
        spheroid's exact area in pixels. Precipitate, debris and fragments are no part of it.
    """
    unit = size[0] / 540
    edge = wells.margin(size)
    down, right = (int(np.clip(round(way * unit), -edge, edge)) for way in scene.stage)
    whole = wells.draw(scene.backdrop, size)
    light = whole[edge - down :, edge - right :][: size[0], : size[1]].copy()
    if scene.precipitate > 0:
        radius, centre = (
            (scene.body.radius, scene.body.centre) if scene.body else (60.0, (0.0, 0.0))
        )
        smoke = crystals.depth(scene.backdrop.seed, scene.precipitate, radius, centre, size)
        light *= np.exp(-np.roll(smoke, (down, right), (0, 1)))
    truth = np.zeros(size, bool)
    if scene.body is not None:
        _place(scene, scene.body, light, truth, (down, right))
    return _expose(scene, light), truth


def _place(scene: Scene, body: Body, light: Field, truth: Mask, moved: tuple[int, int]) -> None:
    """Draw the spheroid into `light` and `truth`, as far as it lies within the picture."""
    height, width = light.shape
    unit = height / 540
    side = 2 * round(body.reach * body.radius * unit)
    top = round(height / 2 + body.centre[0] * unit) + moved[0] - side // 2
    left = round(width / 2 + body.centre[1] * unit) + moved[1] - side // 2
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    seen_rows, seen_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    # Beyond the picture's border the light goes on as at the border; it is cut off again below.
    around = light[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]

    shape = spheroids.outline(body, seen_rows[:, None] & seen_columns[None, :], unit)
    drawn = soft(spheroids.paint(body, shape, around, unit), scene.blur * unit)
    there = np.ix_(rows[seen_rows], columns[seen_columns])
    here = np.ix_(seen_rows, seen_columns)
    light[there], truth[there] = drawn[here], shape.mask[here]


def _expose(scene: Scene, light: Field) -> NDArray[np.uint8]:
    """Sensor: shot noise that grows with the light, and eight bits."""
    rng = stream(scene.backdrop.seed, "sensor", scene.shot)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * np.sqrt(np.clip(light, 1, None)) * np.float32(0.17)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
