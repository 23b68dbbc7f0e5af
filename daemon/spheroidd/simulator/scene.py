"""One picture of one well, and the exact truth about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spheroidd.simulator import backdrop as wells
from spheroidd.simulator import body as spheroids
from spheroidd.simulator import precipitate as crystals
from spheroidd.simulator.backdrop import Backdrop
from spheroidd.simulator.body import Body
from spheroidd.simulator.noise import Field, Mask, soft, spread, stream

SIZE = (540, 960)
"""Height and width of a Cell-IQ export."""
NOISE = 0.17
"""Spread of the sensor's noise at one gray level; it grows with the root of the light."""


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
        blur: of the focus, in 1/540 of the height; of the spheroid alone, as all else is drawn
            as soft as it should be.
        others: more spheroids beside `body`.
        defocus: radius of the disc into which every point of the whole picture is spread, in
            1/540 of the height.
        noise: of the sensor, as `NOISE`.
    """

    backdrop: Backdrop
    body: Body | None = None
    precipitate: float = 0.0
    shot: int = 0
    stage: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.6
    others: tuple[Body, ...] = ()
    defocus: float = 0.0
    noise: float = NOISE


def render(scene: Scene, size: tuple[int, int] = SIZE) -> tuple[NDArray[np.uint8], Mask]:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: height and width in pixels; everything scales with the height.

    Returns:
        The picture, uint8, and the truth about `scene.body`, bool, both height × width. The
        truth is one 4-connected piece without holes, or all False for an empty well; its sum is
        the spheroid's exact area in pixels, as far as the picture shows it. Precipitate, debris,
        fragments and other spheroids are no part of it.
    """
    picture, labels = survey(scene, size)
    return picture, labels == 1


def survey(
    scene: Scene, size: tuple[int, int] = SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a scene and say which pixels belong to which spheroid.

    Args:
        scene, size: as for `render`, which gives the same picture.

    Returns:
        The picture, and the labels: uint8, height × width, 0 for none, 1 for `scene.body`, and
        from 2 on `scene.others`.
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
    labels = np.zeros(size, np.uint8)
    bodies = (*((scene.body,) if scene.body is not None else ()), *scene.others)
    for number, body in enumerate(bodies, start=1):
        labels[_place(scene, body, light, (down, right))] = number
    if scene.defocus > 0:
        light = spread(light, scene.defocus * unit)
    return _expose(scene, light), labels


def _place(scene: Scene, body: Body, light: Field, moved: tuple[int, int]) -> Mask:
    """Draw a spheroid into `light`, as far as it lies within; the pixels that are its own."""
    height, width = light.shape
    unit = height / 540
    side = 2 * round(body.reach * body.radius * unit)
    middle = height / 2 * (1 + body.anchor[0]), width / 2 * (1 + body.anchor[1])
    top = round(middle[0] + body.centre[0] * unit) + moved[0] - side // 2
    left = round(middle[1] + body.centre[1] * unit) + moved[1] - side // 2
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    seen_rows, seen_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    # Beyond the picture's border the light goes on as at the border; it is cut off again below.
    around = light[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]

    seen = seen_rows[:, None] & seen_columns[None, :]
    shape = spheroids.outline(body, np.ones_like(seen) if body.cut else seen, unit)
    drawn = soft(spheroids.paint(body, shape, around, unit), scene.blur * unit)
    there = np.ix_(rows[seen_rows], columns[seen_columns])
    here = np.ix_(seen_rows, seen_columns)
    own = np.zeros(light.shape, bool)
    light[there], own[there] = drawn[here], shape.mask[here]
    return own


def _expose(scene: Scene, light: Field) -> NDArray[np.uint8]:
    """Sensor: shot noise that grows with the light, and eight bits."""
    rng = stream(scene.backdrop.seed, "sensor", scene.shot)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * np.sqrt(np.clip(light, 1, None)) * np.float32(scene.noise)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
