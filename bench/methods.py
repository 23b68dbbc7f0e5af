"""What the accuracy benchmark compares: ways to make a mask, and ways to judge a well's masks.

A *method* turns one image into a mask and evidence. A *judge* sees all frames of one well, and
gives the chosen object and the flags of each. To compare another line, write the two and add it
to `lines`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, regionprops

from spheroidd.config import Flags
from spheroidd.home import installation_home
from spheroidd.measure.judge import judge
from spheroidd.measure.quality import limits
from spheroidd.segment.appearance import grey_of
from spheroidd.segment.finding import Finder
from spheroidd.segment.models import resolve
from spheroidd.segment.session import Session, open_session
from spheroidd.segment.stock import Model
from spheroidd.store.frames import Candidate, Frame

Image = NDArray[np.uint8]
"""H×W or H×W×3."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """What a method says of one image: a mask of all it found, and numbers by name."""

    mask: Mask
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one frame: the spheroid's pixels (none: no spheroid), and flags."""

    mask: Mask
    flags: tuple[str, ...] = ()


SECOND = "u2netp"
"""The model of the second look, as the configuration has it."""
Method = Callable[[Image], Found]
Judge = Callable[[Sequence[Image], Sequence[Found]], list[Verdict]]


@dataclass(frozen=True)
class Line:
    """A method, and the judge that goes with it."""

    method: Method
    judge: Judge

    def judged(self, images: Sequence[Image]) -> tuple[list[Found], list[Verdict]]:
        """All frames of a well, in order."""
        found = [self.method(image) for image in images]
        return found, self.judge(images, found)


def lines(session: "RememberingSession") -> dict[str, Line]:
    """What is compared, by name; the first is what all others are held against."""
    second = None if session.model.name == SECOND else session.beside(SECOND)
    return {
        "plain": Line(plain(session), largest_object),
        "refined": Line(refined(Finder(session, second, 0.5)), judged),
        "dense": Line(refined(Finder(session, second, 0.5, dense=True)), judged),
    }


def plain(session: Session, threshold: float = 0.5) -> Method:
    """One pass of the model, and its probabilities above the threshold."""

    def method(image: Image) -> Found:
        probabilities = session.probabilities(image)
        peak = float(probabilities.max())
        return Found(probabilities > threshold, {"peak_probability": peak})

    return method


def refined(finder: Finder) -> Method:
    """What the daemon does."""

    def method(image: Image) -> Found:
        found = finder.find(image)
        return Found(found.mask, {"peak_probability": found.peak, **found.evidence})

    return method


def judged(images: Sequence[Image], found: Sequence[Found]) -> list[Verdict]:
    """What the daemon's judge says; the well is taken for a plate of its own."""
    labelled = [label(one.mask) for one in found]
    frames = [
        _frame(number, image, one, labels)
        for number, (image, one, labels) in enumerate(zip(images, found, labelled, strict=True))
    ]
    bounds = Flags().bounds()
    first = judge(frames, limits([], bounds), "one")
    known = [
        {flag: check["value"] for flag, check in json.loads(verdict.checks).items()}
        for verdict in first
    ]
    return [
        Verdict(
            np.asarray(ndimage.binary_fill_holes(labels == verdict.spheroid), dtype=bool)
            if verdict.spheroid
            else np.zeros(labels.shape, bool),
            tuple(filter(None, verdict.flags.split(","))),
        )
        for labels, verdict in zip(
            labelled, judge(frames, limits(known, bounds), "one"), strict=True
        )
    ]


def _frame(number: int, image: Image, found: Found, labels: NDArray[np.intp]) -> Frame:
    """As the daemon has it from CellProfiler; scikit-image's numbers differ in the rounding."""
    height, width = labels.shape
    candidates = [
        Candidate(
            number=one.label,
            area_px=float(one.area),
            x=one.centroid[1],
            y=one.centroid[0],
            solidity=one.solidity,
            eccentricity=one.eccentricity,
            form_factor=4 * np.pi * one.area / max(one.perimeter, 1) ** 2,
            top=one.bbox[0],
            left=one.bbox[1],
            bottom=one.bbox[2],
            right=one.bbox[3],
            intensity=float(one.image_intensity[one.image].mean()) / 255,
        )
        for one in regionprops(labels, intensity_image=grey_of(image))
    ]
    candidates.sort(key=lambda one: -one.area_px)
    return Frame(
        measurement_id=number,
        timepoint=number,
        hours=float(number),
        width=width,
        height=height,
        peak_probability=found.evidence["peak_probability"],
        foreground_px=int(found.mask.sum()),
        evidence=found.evidence,
        candidates=candidates[:12],
        n_objects=len(candidates),
        area_px=candidates[0].area_px if candidates else 0.0,
        object_number=candidates[0].number if candidates else None,
    )


def largest_object(_images: Sequence[Image], found: Sequence[Found]) -> list[Verdict]:
    """Each frame for itself: the largest object with its holes filled; the only flag is none."""
    verdicts = []
    for one in found:
        mask = largest(one.mask)
        verdicts.append(Verdict(mask, () if mask.any() else ("no_spheroid",)))
    return verdicts


def largest(mask: Mask) -> Mask:
    """The largest 8-connected object, holes filled; all False where there is none."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()), dtype=bool)


class RememberingSession:
    """A model whose answers are kept on the disk: the same pixels are never segmented twice.

    Maps are kept in half precision, which moves a threshold of 0.5 by at most 0.0003. A method
    that segments crops is remembered too: what counts are the pixels it hands over.

    Args:
        name: of a model that has been fetched.
        folder: where maps are kept.
        threads: of the model.
    """

    def __init__(self, name: str, folder: Path, threads: int | None = None) -> None:
        self.model: Model = resolve(name, installation_home())
        self.provider = "CPU"
        self._folder = folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._threads = threads
        self._session: Session | None = None

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """As `Session.probabilities`; the model is loaded with the first unknown image."""
        key = hashlib.sha256(f"{self.model.md5} {image.shape}".encode() + image.tobytes())
        path = self._folder / f"{key.hexdigest()[:32]}.npz"
        if path.exists():
            with np.load(path) as kept:
                return np.asarray(kept["p"], dtype=np.float32)
        made = self._open().probabilities(image).astype(np.float16)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez_compressed(temporary, p=made)
        temporary.replace(path)
        return np.asarray(made, dtype=np.float32)

    def beside(self, name: str) -> "RememberingSession":
        """Another model, remembered in the same place."""
        return RememberingSession(name, self._folder.parent, self._threads)

    def _open(self) -> Session:
        if self._session is None:
            self._session = open_session(
                self.model,
                home=installation_home(),
                device="cpu",
                threads=self._threads,
                warn=lambda _line: None,
            )
        return self._session
