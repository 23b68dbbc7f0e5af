"""How a well changes over time: how large its spheroid is, and how it looks.

The formulas give the area that is asked of the drawing; the truth is counted from what was drawn.
"""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log, sqrt

import numpy as np

from spheroidd.simulator import conditions
from spheroidd.simulator.body import Body
from spheroidd.simulator.noise import stream
from spheroidd.simulator.scene import Scene
from spheroidd.simulator.well import EMPTY_KINDS, Kind, Well, own

LARGEST_RADIUS = 150.0
"""In 1/540 of the picture's height: a spheroid must stay within the picture."""


def scene_at(well: Well, hours: float, shot: int = 0) -> Scene:
    """What the camera finds in a well, some hours after seeding.

    Args:
        well: the well.
        hours: since the first picture; any non-negative number.
        shot: number of the frame; decides sensor noise and where stage and focus stopped.
    """
    rng = stream(well.seed, "stage", shot)
    scene = Scene(
        backdrop=conditions.backdrop(well),
        shot=shot,
        stage=(float(rng.normal(0, 1.2)), float(rng.normal(0, 1.2))),
        blur=float(np.clip(rng.normal(0.6, 0.12), 0.4, 1.1)),
        defocus=conditions.defocus(well),
        noise=conditions.noise(well),
    )
    if well.kind in EMPTY_KINDS:
        return scene
    body = _HISTORIES[well.kind](well, hours)
    if well.kind == "border":
        # The place follows from the first frame's size: spheroids don't move as they grow.
        side, place = conditions.at_border(well, _HISTORIES[well.kind](well, 0.0).radius)
        return replace(scene, body=replace(body, anchor=side, centre=place, cut=True))
    body = replace(body, centre=conditions.centre(well, hours))
    if well.kind == "precipitate":
        return replace(scene, body=body, precipitate=_rising(hours, start=18, rate=0.03))
    if well.kind == "several":
        return replace(scene, body=body, others=_others(well, body))
    return replace(scene, body=body)


def _others(well: Well, main: Body) -> tuple[Body, ...]:
    """The main spheroid's neighbours: of its kind and age, each an individual."""
    seeds = stream(well.seed, "others").integers(2**31, size=3)
    found = conditions.neighbours(well, conditions.centre(well, 0.0))
    return tuple(
        replace(main, seed=int(seed), radius=share * main.radius, centre=place, cut=True)
        for seed, (share, place) in zip(seeds, found, strict=False)
    )


def gompertz(hours: float, rate: float, slowing: float) -> float:
    """Volume relative to the first one: exp(rate / slowing · (1 − exp(−slowing · t))).

    Gompertz's law as used for tumours by Laird (1964), Br J Cancer 18:490-502, and found good
    for spheroids and tumours by Benzekry et al. (2014), PLoS Comput Biol 10:e1003800.

    Args:
        hours: time t.
        rate: growth at the start, per hour.
        slowing: decay of that rate, per hour; the volume ends at exp(rate / slowing).
    """
    return exp(rate / slowing * (1 - exp(-slowing * hours)))


def survival(hours: float, dose_at: float, kill: float, resistant: float) -> float:
    """Share of the volume a drug leaves: a resistant part, and a part killed at first order.

    The log-kill law of Skipper, Schabel and Wilcox (1964), Cancer Chemother Rep 35:1-111.

    Args:
        hours: time.
        dose_at: hour of the dose.
        kill: rate per hour at which sensitive cells are lost.
        resistant: share that the drug does not touch.
    """
    return resistant + (1 - resistant) * exp(-kill * max(0.0, hours - dose_at))


def _radius(first: float, volume: float, spread: float = 1.0) -> float:
    """Radius of the outline for a volume relative to the first, in 1/540 of the height.

    Args:
        first: radius at the start.
        volume: relative volume; the outline's area goes with its power of 2/3.
        spread: outline of a loose flake relative to that of a ball of the same volume.
    """
    return min(LARGEST_RADIUS, first * sqrt(volume ** (2 / 3) * spread))


def _rising(hours: float, start: float, rate: float) -> float:
    """From 0 at `start` towards 1, at first order."""
    return 1 - exp(-rate * max(0.0, hours - start))


def _growing(well: Well, hours: float) -> Body:
    """A ball that grows by the law of Gompertz, smooths its skin and gets a necrotic core."""
    volume = gompertz(hours, own(well, "rate", 0.013, 0.016), 0.008)
    radius = _radius(own(well, "radius", 64, 76), volume)
    return Body(
        seed=well.seed,
        hours=hours,
        radius=radius,
        ragged=0.05 + own(well, "ragged", 0.05, 0.25) * exp(-hours / 50),
        rough=0.3 + 0.3 * exp(-hours / 60),
        density=0.75 + 0.35 * _rising(hours, 0, 0.015),
        # Cells die where oxygen no longer reaches, a constant way below the skin.
        core=float(np.clip(1 - 58 / radius, 0, 0.75)),
        grain=0.34,
    )


def _control(well: Well, hours: float) -> Body:
    """As growing, but slower, and near its final size within the week."""
    volume = gompertz(hours, own(well, "rate", 0.012, 0.016), 0.014)
    body = _growing(well, hours)
    radius = _radius(own(well, "radius", 80, 96), volume)
    return replace(body, radius=radius, core=float(np.clip(1 - 52 / radius, 0, 0.7)))


def _treated(well: Well, hours: float) -> Body:
    """A loose flake of cells that draws together, shrinks, and darkens from its middle."""
    loose = exp(-hours / 110)
    volume = survival(hours, own(well, "dose", 20, 40), 0.011, 0.35) * gompertz(hours, 0.01, 0.03)
    dead = _rising(hours, start=30, rate=0.012)
    return Body(
        seed=well.seed,
        hours=hours,
        radius=_radius(own(well, "radius", 100, 112), volume, spread=1 + 0.25 * loose),
        ragged=0.42 + 0.43 * loose,
        rough=1.0,
        density=0.5 + 1.0 * dead,
        core=0.25 + 0.6 * dead,
        grain=0.54 - 0.06 * dead,
    )


def _dying(well: Well, hours: float) -> Body:
    """A ball that falls apart: paler, torn, with crumbs around it."""
    gone = _rising(hours, start=own(well, "dose", 20, 36), rate=0.016)
    volume = survival(hours, 24, 0.02, 0.12) * gompertz(hours, 0.01, 0.05)
    return Body(
        seed=well.seed,
        hours=hours,
        radius=_radius(own(well, "radius", 92, 106), volume, spread=1 + 0.35 * gone),
        ragged=0.15 + 0.75 * gone,
        rough=0.5 + 0.5 * gone,
        density=1.15 - 0.7 * gone,
        core=0.45 * (1 - gone),
        grain=0.4 + 0.2 * gone,
        fragments=gone,
    )


def _dosed(well: Well, hours: float) -> Body:
    """A dark ball that loses a little volume while the drug falls out beside it."""
    volume = survival(hours, 24, 0.008, 0.5)
    radius = _radius(own(well, "radius", 78, 92), volume)
    density = 1.3 + 0.5 * _rising(hours, 0, 0.01)
    return Body(
        well.seed, hours, radius, ragged=0.05, rough=0.6, density=density, core=0.6, grain=0.3
    )


def _pale(well: Well, hours: float) -> Body:
    """A thin, spiky layer of cells hardly darker than the medium."""
    volume = gompertz(hours, 0.006, 0.01)
    radius = _radius(own(well, "radius", 78, 94), volume)
    density = 0.16 + 0.1 * log(1 + hours / 100)
    return Body(well.seed, hours, radius, ragged=0.75, rough=1.0, density=density, grain=0.3)


def _spiky(well: Well, hours: float) -> Body:
    """A thin body from which strands of cells creep out on all sides, like a star."""
    volume = gompertz(hours, 0.008, 0.012)
    radius = _radius(own(well, "radius", 70, 88), volume)
    creep = 0.45 + 0.55 * _rising(hours, start=-20, rate=0.02)
    density = own(well, "density", 0.3, 0.55)
    return Body(
        well.seed,
        hours,
        radius,
        ragged=0.3,
        rough=0.9,
        density=density,
        grain=0.42,
        spikes=creep * own(well, "spikes", 0.6, 1.0),
    )


def _crowded(well: Well, hours: float) -> Body:
    """As growing, but small: several share what one would have."""
    volume = gompertz(hours, own(well, "rate", 0.006, 0.009), 0.012)
    radius = _radius(own(well, "radius", 46, 56), volume)
    return replace(_growing(well, hours), radius=radius, core=float(np.clip(1 - 50 / radius, 0, 1)))


_HISTORIES: dict[Kind, Callable[[Well, float], Body]] = {
    "growing": _growing,
    "control": _control,
    "treated": _treated,
    "dying": _dying,
    "precipitate": _dosed,
    "debris": _growing,
    "rings": _control,
    "gradient": _control,
    "defocus": _growing,
    "pale": _pale,
    "spiky": _spiky,
    "border": _control,
    "several": _crowded,
}
