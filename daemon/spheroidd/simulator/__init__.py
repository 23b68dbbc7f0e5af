"""Simulated wells whose areas are known exactly, and an instrument that writes them."""

from spheroidd.simulator.growth import scene_at
from spheroidd.simulator.instrument import Exposure, Instrument, shoot
from spheroidd.simulator.plan import Plate, Shot, demo_plan, demo_plates, mixed_plates, plan
from spheroidd.simulator.scene import SIZE, Scene, render, survey
from spheroidd.simulator.truth import TRUTH_NAME, Truth, read_truth
from spheroidd.simulator.well import EMPTY_KINDS, KINDS, Kind, Well

__all__ = [
    "EMPTY_KINDS",
    "KINDS",
    "SIZE",
    "TRUTH_NAME",
    "Exposure",
    "Instrument",
    "Kind",
    "Plate",
    "Scene",
    "Shot",
    "Truth",
    "Well",
    "demo_plan",
    "demo_plates",
    "mixed_plates",
    "plan",
    "read_truth",
    "render",
    "scene_at",
    "shoot",
    "survey",
]
