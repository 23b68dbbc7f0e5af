"""Draws docs/flags/<flag>.png: for each flag a simulated well that raises it.

Usage: python bench/flag_pictures.py [FOLDER]

Pictures come from the simulator, outlines and evidence are made up here to go wrong in one
frame, and the flags are raised by spheroidd itself: an example that does not raise its flag is
an error.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label, regionprops

from spheroidd.config import Flags
from spheroidd.measure import quality
from spheroidd.measure.track import pick
from spheroidd.measure.values import values
from spheroidd.simulator import Kind, Scene, Well, scene_at, survey
from spheroidd.store.frames import Candidate, Frame

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "flags"
SIZE = (270, 480)
FRAMES, HOURS, ODD = 13, 12.0, 6  # how many, how far apart, and the one that goes wrong
_FEW_COLOURS = Image.Quantize.MAXCOVERAGE  # keeps the red that marks a flag
Mask = NDArray[np.bool_]


@dataclass
class Shot:
    """One picture of the film, what was found in it, and what the segmentation says of it."""

    number: int
    picture: NDArray[np.uint8]
    mask: Mask
    evidence: dict[str, float] = field(default_factory=dict)


Film = list[Shot]


def film(kind: Kind, seed: int = 4, scene: Callable[[Scene], Scene] = lambda s: s) -> Film:
    """A well with its true outlines; `scene` changes the odd frame."""
    shots = []
    for number in range(FRAMES):
        drawn = scene_at(Well(kind, seed), HOURS * number, number)
        drawn = scene(drawn) if number == ODD else drawn
        picture, labels = survey(drawn, SIZE)
        sharp = float(ndimage.laplace(ndimage.gaussian_filter(picture * 1.0, 1)).var())
        evidence = {"focus": sharp, "background": float(np.median(picture[labels == 0]))}
        shots.append(Shot(number, picture, labels > 0, evidence))
    return shots


def spoiled(kind: Kind, spoil: Callable[[Shot], None]) -> Film:
    shots = film(kind)
    spoil(shots[ODD])
    return shots


def frame_of(shot: Shot) -> Frame:
    """As CellProfiler would measure it, holes filled."""
    found = regionprops(label(ndimage.binary_fill_holes(shot.mask), connectivity=2))
    candidates = [
        Candidate(
            number=one.label,
            area_px=float(one.area),
            x=one.centroid[1],
            y=one.centroid[0],
            solidity=one.solidity,
            eccentricity=one.eccentricity,
            form_factor=min(1.0, 4 * np.pi * one.area / one.perimeter**2),
            top=one.bbox[0],
            left=one.bbox[1],
            bottom=one.bbox[2],
            right=one.bbox[3],
        )
        for one in found
        if one.area > 20
    ]
    return Frame(
        measurement_id=shot.number,
        timepoint=shot.number,
        hours=HOURS * shot.number,
        width=SIZE[1],
        height=SIZE[0],
        peak_probability=0.98,
        foreground_px=int(shot.mask.sum()),
        evidence=shot.evidence,
        candidates=sorted(candidates, key=lambda one: -one.area_px),
        n_objects=len(candidates),
    )


# -- how each goes wrong -------------------------------------------------------------------


def _lost(shot: Shot) -> None:
    shot.mask[:] = False


def _half(shot: Shot) -> None:
    shot.mask[:, int(ndimage.center_of_mass(shot.mask)[1] + 12) :] = False


def _with_shadow(shot: Shot) -> None:
    row, column = (int(one) for one in ndimage.center_of_mass(shot.mask))
    shot.mask[row - 5 : row + 5, column : column + 100] = True


def _elsewhere(shot: Shot) -> None:
    shot.mask = np.roll(shot.mask, (-45, 120), (0, 1))
    shot.picture[shot.mask] = (shot.picture[shot.mask] * 0.8).astype(np.uint8)


def _full_of_bays(shot: Shot) -> None:
    rows, columns = np.indices(SIZE)
    row, column = ndimage.center_of_mass(shot.mask)
    angle = np.arctan2(rows - row, columns - column)
    far = np.hypot(rows - row, columns - column) > 14
    shot.mask &= ~((np.cos(7 * angle) > 0.1) & far)


def _unsure(shot: Shot) -> None:
    shot.mask = ndimage.binary_erosion(shot.mask, iterations=6)
    shot.evidence |= {"mean_probability": 0.62}


def _argued(shot: Shot) -> None:
    _half(shot)
    shot.evidence |= {"agreement": 0.63}


def _darker(shot: Shot) -> None:
    shot.picture = np.clip(shot.picture * 0.75, 0, 255).astype(np.uint8)
    shot.evidence["background"] *= 0.75


def _pair(scene: Scene) -> Scene:
    assert scene.body
    down, _ = scene.body.centre
    twin = replace(scene.body, seed=9, radius=0.99 * scene.body.radius, centre=(-down, 150.0))
    return replace(scene, body=replace(scene.body, centre=(down, -150.0)), others=(twin,))


def _neighbour(scene: Scene) -> Scene:
    assert scene.body
    small = replace(scene.body, seed=9, radius=0.5 * scene.body.radius, centre=(-110.0, 280.0))
    return replace(scene, others=(small,))


EXAMPLES: dict[str, Callable[[], Film]] = {
    "no_spheroid": lambda: film("growing", scene=lambda scene: replace(scene, body=None)),
    "low_confidence": lambda: spoiled("pale", _unsure),
    "several_objects": lambda: film("growing", scene=_neighbour),
    "ambiguous": lambda: film("control", scene=_pair),
    "touches_border": lambda: film("border"),
    "area_jump": lambda: spoiled("growing", _half),
    "position_jump": lambda: spoiled("growing", _elsewhere),
    "shape_jump": lambda: spoiled("growing", _with_shadow),
    "low_focus": lambda: film("growing", scene=lambda scene: replace(scene, defocus=12.0)),
    "exposure_shift": lambda: spoiled("growing", _darker),
    "low_solidity": lambda: spoiled("growing", _full_of_bays),
    "flip_flop": lambda: spoiled("control", _lost),
    "missing_frame": lambda: [s for s in film("growing") if s.number not in (ODD - 1, ODD - 2)],
    "duplicate_frame": lambda: [s for s in film("growing") for _ in range(1 + (s.number == ODD))],
    "disagreement": lambda: spoiled("growing", _argued),
}


# -- drawing -------------------------------------------------------------------------------


def draw(flag: str, shots: Film, folder: Path) -> None:
    """The frames before, at and after the odd one, the curve, and the check.

    Raises:
        SystemExit: the example does not raise its flag.
    """
    frames = [frame_of(shot) for shot in shots]
    picks = pick(frames)
    numbers = values(frames, picks)
    limits = quality.limits(numbers, Flags().bounds())
    checks = [quality.check(one, limits) for one in numbers]
    odd = next(i for i, shot in enumerate(shots) if shot.number == ODD)
    check = checks[odd].get(flag)
    if check is None or not check.raised:
        raise SystemExit(f"{flag}: the example gives {check}")
    raised = [i for i, one in enumerate(checks) if flag in one and one[flag].raised]
    figure = Figure(figsize=(10, 1.9), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1])
    for axis, index in zip(axes, range(odd - 1, odd + 2), strict=False):
        shot = shots[index]
        axis.imshow(shot.picture, cmap="gray", vmin=0, vmax=255)
        if shot.mask.any():
            axis.contour(shot.mask, [0.5], colors="yellow", linewidths=1)
        axis.set_title(f"{HOURS * shot.number:g} h", fontsize=8)
        axis.set_axis_off()
        if index in raised:
            axis.set_title(f"{HOURS * shot.number:g} h: {flag}", fontsize=8, color="crimson")
    hours = np.array([HOURS * shot.number for shot in shots])
    areas = np.array([one.area_px for one in picks])
    axes[3].plot(hours, areas, "o-", color="0.4", markersize=3, linewidth=1)
    axes[3].plot(hours[raised], areas[raised], "o", color="crimson", markersize=5)
    axes[3].set_ylim(0, 1.15 * areas.max())
    axes[3].tick_params(labelsize=6)
    axes[3].set_title(f"area (px) by hours; {check.value:.2g}, limit {check.limit:.2g}", fontsize=8)
    path = folder / f"{flag}.png"
    figure.savefig(path, dpi=90)
    Image.open(path).convert("RGB").quantize(200, method=_FEW_COLOURS).save(path, optimize=True)


def main() -> None:
    mpl.use("Agg")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if set(EXAMPLES) != set(quality.FLAGS):
        raise SystemExit("an example for each flag, no more and no less")
    for flag, example in EXAMPLES.items():
        draw(flag, example(), folder)
        print(folder / f"{flag}.png")


if __name__ == "__main__":
    main()
