"""The spheroid: first its outline, which is the truth, then its look, drawn inside that outline."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spheroidd.simulator.noise import Field, Mask, cloud, fractal, soft, stream, turning

CELL = 4.6
"""Mean distance between cells in units of 1/540 of the picture's height."""
STRAY = 0.16
"""Share of the light that reaches the camera on ways other than through the spheroid."""


@dataclass(frozen=True)
class Body:
    """One spheroid at one moment; lengths in 1/540 of the picture's height.

    Args:
        seed: the spheroid's own; the same seed at a later hour is the same spheroid, older.
        hours: its age; outline and cells move slowly with it.
        radius: of a disc of the area wanted (the exact area is counted from the mask).
        ragged: 0 a ball, 1 a torn flake with arms and bays.
        rough: 0 a smooth skin, 1 single cells standing out of the edge.
        density: how much light the cells take where the body is thickest (optical depth).
        core: share of the radius that is a dark, necrotic core; 0 for none.
        grain: contrast of single cells, 0 to 1.
        fragments: 0 to 1, loose clumps that lie around it and are no part of it.
        centre: of the body, from the picture's middle: down, right.
        spikes: 0 to 1, length of the strands that stick out of it; they are part of it.
        anchor: where `centre` is counted from: (0, 0) the picture's middle, (-1, 0) the middle
            of its upper side, (0, 1) of its right side, and so on.
        cut: True lets the picture's border cut it; otherwise it is fitted in, whole.
    """

    seed: int
    hours: float
    radius: float
    ragged: float = 0.2
    rough: float = 0.3
    density: float = 1.0
    core: float = 0.0
    grain: float = 0.5
    fragments: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    spikes: float = 0.0
    anchor: tuple[int, int] = (0, 0)
    cut: bool = False

    @property
    def reach(self) -> float:
        """Half the side of the square that holds all of it, in radii."""
        return 1.35 + 0.45 * max(self.ragged, self.fragments) + 0.75 * self.spikes


@dataclass(frozen=True)
class Cells:
    """Cells scattered in the window: where each pixel's nearest cell is, and when it joins."""

    distance: Field
    """Distance to the nearest cell's middle, in cell radii (1 and more: outside)."""
    tint: Field
    """The nearest cell's own brightness, about -1 to 1."""
    joins: Field
    """Level at which a cell covering the pixel joins the body; inf where none does."""
    loose: Field
    """How readily a cell covering the pixel comes off, 0 to 1."""


@dataclass(frozen=True)
class Outline:
    """A body's pixels within its window."""

    mask: Mask
    loose: Mask
    cells: Cells


def outline(body: Body, visible: Mask, unit: float) -> Outline:
    """Where the spheroid is.

    Args:
        body: the spheroid.
        visible: the square window around its centre, True where that lies within the picture.
        unit: pixels per 1/540 of the picture's height.

    Returns:
        Boolean masks of the window's shape. `mask` is one 4-connected piece without holes.
    """
    field = _field(body, visible.shape[0])
    cells = _cells(body, field, unit)
    skin = np.float32(0.5 * CELL / body.radius * body.rough)
    level = np.where(visible, np.minimum(field + skin, cells.joins), np.float32(np.inf))

    wanted = np.pi * (body.radius * unit) ** 2
    rank = wanted
    mask = np.zeros(level.shape, bool)
    # The largest piece with its holes filled is not quite what was ranked: correct it twice.
    for _ in range(3):
        place = int(np.clip(rank, 1, level.size - 1))
        mask = _one_piece(level < np.partition(level, place, axis=None)[place])
        rank += wanted - mask.sum()
    return Outline(mask, _crumbs(body, mask, cells, unit), cells)


def paint(body: Body, shape: Outline, light: Field, unit: float) -> Field:
    """The spheroid in its light.

    Args:
        body: the spheroid.
        shape: its outline in the window.
        light: the backdrop in the window, float32 gray levels.
        unit: pixels per 1/540 of the picture's height.

    Returns:
        float32 gray levels of the window. The drawn edge is the mask's edge, one pixel wide.
    """
    solid = shape.mask.astype(np.float32)
    cover = soft((shape.mask | shape.loose).astype(np.float32), 0.6 * unit**0.5)
    # Light scattered in the objective keeps the darkest core off black.
    passed = STRAY + (1 - STRAY) * np.exp(-_depth(body, solid, unit))
    grain = _grain(body, shape.cells, unit) * np.clip(1.6 * passed, 0, 1)
    cells = light * passed * (1 + grain)
    cells += 26 * body.ragged * passed * np.clip(grain, 0, 1)
    near = soft(solid, 2.2 * unit)
    rim = np.clip(1 - 2.2 * np.abs(near - 0.7), 0, 1)
    cells *= 1 - (0.05 + 0.3 * (1 - body.ragged)) * min(body.density, 1.0) * rim
    # A spheroid is a lens: it throws a thin bright line around itself, and a wide faint shade.
    shade = soft(solid, 14 * unit, step=4)
    halo = body.density**0.5 * (14 * near - 7 * shade) * (1 - body.ragged / 2)
    return np.asarray((light + halo) * (1 - cover) + cells * cover, dtype=np.float32)


def _field(body: Body, side: int) -> Field:
    """Distance from the middle in radii, bent and torn: the body is where it is smallest."""
    angle = body.hours * 0.006

    def waves(name: str, lumps: int) -> Field:
        return turning(
            lambda which: cloud(stream(body.seed, name, which), (side, side), lumps), angle
        )

    axis = np.linspace(-body.reach, body.reach, side, dtype=np.float32)
    y, x = axis[:, None], axis[None, :]
    rng = stream(body.seed, "pose")
    turn, stretch = (
        rng.uniform(0, np.pi) + angle / 6,
        1 + (0.05 + 0.25 * body.ragged) * rng.random(),
    )
    along, across = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
    bend = 0.04 + 0.18 * body.ragged
    along = along / stretch + bend * waves("bend-along", 4)
    across = across * stretch + bend * waves("bend-across", 4)
    field = np.hypot(along, across)
    field += body.ragged * (0.17 * waves("arms", 6) + 0.11 * waves("bays", 12))
    field += (0.008 + 0.06 * body.ragged) * waves("knobs", 26)
    if body.spikes > 0:
        field /= _star(body, np.arctan2(along, across))
    # Nothing may reach the window's border, or it would be cut off straight.
    field += 8 * np.clip(np.hypot(y, x) - 0.85 * body.reach, 0, None) ** 2
    return np.asarray(field, dtype=np.float32)


def _star(body: Body, direction: Field) -> Field:
    """How far the body reaches in each direction: 1, and more along its strands of cells."""
    rng = stream(body.seed, "spikes")
    count = int(rng.integers(11, 24))
    star = np.ones_like(direction)
    for number in range(count):
        toward = 2 * np.pi * (number + rng.uniform(-0.42, 0.42)) / count
        away = (direction - toward + np.pi) % (2 * np.pi) - np.pi
        long = np.clip(rng.lognormal(-0.75, 0.45), 0.15, 0.95) * body.spikes
        star += np.float32(long) * np.exp(-(np.abs(away / rng.uniform(0.06, 0.13)) ** 1.4))
    return np.asarray(star, dtype=np.float32)


def _cells(body: Body, field: Field, unit: float) -> Cells:
    """Scatter cells over the window and find, for every pixel, the cells that cover it."""
    side = field.shape[0]
    gap = CELL * unit
    half = int(side / 2 / gap)
    rng = stream(body.seed, "cells")
    table = rng.random((8, 160, 160), dtype=np.float32)
    index = np.arange(-half, half + 1)
    wobble, phase, tint, size, eager, clump = (
        table[layer][index[:, None] % 160, index[None, :] % 160].ravel()
        for layer in (0, 1, 2, 3, 4, 5)
    )
    sway = 2 * np.pi * phase + body.hours * 0.02 * (0.5 + wobble)
    row, column = (axis.ravel() for axis in np.meshgrid(index, index, indexing="ij"))
    # Every second row is shifted by half a cell, as balls pack.
    cy = side / 2 + gap * (row * 0.93 + 0.42 * np.sin(sway))
    cx = side / 2 + gap * (column + 0.5 * (row % 2) + 0.42 * np.cos(sway * 1.13 + 6 * wobble))
    inside = (cy >= 0) & (cx >= 0) & (cy < side) & (cx < side)
    at = (np.clip(cy, 0, side - 1).astype(int), np.clip(cx, 0, side - 1).astype(int))
    joins = field[at] + body.rough * (4.0 / body.radius) * _bell(eager)
    patch = cloud(stream(body.seed, "clumps"), field.shape, 22)[at]
    loose = np.clip(0.5 + 0.28 * patch + 0.25 * (clump - 0.5), 0, 1)
    keep = inside & (joins < 1.25 + 0.5 * max(body.ragged, body.fragments))
    radius = gap * (0.62 + 0.2 * size)
    each = [part[keep] for part in (cy, cx, radius, 2 * tint - 1, joins, loose)]
    return _stamp(each, side, int(np.ceil(0.85 * gap)) + 1)


def _stamp(each: list[Field], side: int, reach: int) -> Cells:
    """Put every cell's disc on the pixels around it, all cells at once.

    Args:
        each: per cell its row, column, radius (pixels), tint, joins, loose.
        side: of the square window in pixels.
        reach: pixels to look at on every side of a cell.
    """
    cy, cx, radius, tint, joins, loose = (part.astype(np.float32)[:, None] for part in each)
    span = np.arange(-reach, reach + 1, dtype=np.intp)
    oy, ox = (axis.ravel()[None, :] for axis in np.meshgrid(span, span, indexing="ij"))
    row, column = cy.astype(np.intp), cx.astype(np.intp)
    down = (cy - row.astype(np.float32)) - oy.astype(np.float32)
    right = (cx - column.astype(np.float32)) - ox.astype(np.float32)
    away = np.sqrt(down * down + right * right) / radius
    py, px = row + oy, column + ox
    who, offset = np.nonzero((away < 1.3) & (py >= 0) & (px >= 0) & (py < side) & (px < side))
    pixel, away = py[who, offset] * side + px[who, offset], away[who, offset]

    nearest = np.full(side * side, 1.3, np.float32)
    np.minimum.at(nearest, pixel, away)
    won = away == nearest[pixel]
    shade = np.zeros(side * side, np.float32)
    shade[pixel[won]] = tint[who[won], 0]
    covered = away < 1
    level = np.full(side * side, np.inf, np.float32)
    np.minimum.at(level, pixel[covered], joins[who[covered], 0])
    comes_off = np.zeros(side * side, np.float32)
    np.maximum.at(comes_off, pixel[covered], loose[who[covered], 0])
    square = (side, side)
    return Cells(*(part.reshape(square) for part in (nearest, shade, level, comes_off)))


def _one_piece(mask: Mask) -> Mask:
    """The largest 4-connected piece, its holes filled."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    outside, _ = ndimage.label(np.pad(labels != np.argmax(sizes), 1, constant_values=True))
    filled: Mask = outside[1:-1, 1:-1] != outside[0, 0]
    return filled


def _crumbs(body: Body, mask: Mask, cells: Cells, unit: float) -> Mask:
    """Clumps that came off: near the body, never touching it."""
    if body.fragments <= 0:
        return np.zeros_like(mask)
    free = ndimage.distance_transform_edt(~mask) > 3.5 * unit
    off = cells.loose > 0.97 - 0.3 * body.fragments
    return np.asarray(off & free & (cells.joins < 1.05 + 0.65 * body.fragments))


def _depth(body: Body, solid: Field, unit: float) -> Field:
    """Optical depth: thicker in the middle, patchy, with the dead core on top."""
    radius = body.radius * unit
    inner = soft(solid, 0.42 * radius, step=max(2, int(radius / 16)))
    # Strands are narrow, yet a cell or two thick.
    thick = np.clip((inner - 0.25) / 0.63, 0.03 + 0.35 * body.spikes, 1.0)
    lumps = fractal(stream(body.seed, "patches"), solid.shape, 8, 3)
    fine = fractal(stream(body.seed, "mottle"), solid.shape, 40, 3)
    patches = (0.1 + 0.25 * body.ragged) * lumps + (0.13 + 0.08 * body.ragged) * fine
    # A torn edge is one layer of cells in some places, and as thick as the rest in others.
    fringe = np.clip((soft(solid, 0.09 * radius, step=2) - 0.5) * 3.2 + 0.35 * lumps, 0.12, 1)
    depth = body.density * thick**0.7 * np.exp(patches) * (1 - body.ragged * (1 - fringe))
    if body.core > 0:
        # In a ball, `thick` falls off with the square of the way from the middle.
        border = 1 - 0.8 * body.core**2
        reach = thick + 0.3 * body.ragged * patches
        core = 1 / (1 + np.exp((border - reach) / (0.07 + 0.05 * body.ragged)))
        depth += 1.5 * min(1.0, 2 * body.core) * core * (0.4 + 0.6 * fringe)
    return np.asarray(depth, dtype=np.float32)


def _grain(body: Body, cells: Cells, unit: float) -> Field:
    """Single cells: bright hearts in dark rims, sharp in some patches and blurred in others."""
    heart = np.clip(1 - 2.6 * cells.distance**2, -0.75, 1.0)
    # Most cells are dull and a few shine: the eye sees beads on a dark net.
    beads = heart * (0.35 + 0.9 * np.clip(cells.tint, -0.2, 1)) + 0.15 * cells.tint - 0.2
    rng = stream(body.seed, "grain")
    fine = rng.standard_normal(beads.shape, dtype=np.float32)
    crisp = soft(beads + 0.7 * fine, 0.5 * unit)
    dull = soft(crisp, 1.5 * unit) * np.float32(1.2)
    where = np.clip(0.5 + 0.45 * fractal(rng, beads.shape, 14, 2) + 0.5 * body.ragged, 0, 1)
    return np.asarray(1.25 * body.grain * (crisp * where + dull * (1 - where)), dtype=np.float32)


def _bell(uniform: NDArray[np.float32]) -> Field:
    """Uniform numbers spread to a bell of unit width, with the left tail of cells standing out."""
    return np.asarray(-np.log(1 / np.clip(uniform, 1e-3, 1 - 1e-3) - 1) / 1.8, dtype=np.float32)
