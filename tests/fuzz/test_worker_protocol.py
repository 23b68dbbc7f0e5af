"""A worker that says anything at all: an EngineError or an answer, and in time."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardness import examples
from hypothesis import given
from hypothesis import strategies as st

from made_up import admission
from spheroidd.errors import EngineError
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import Engine, ImageInput
from spheroidd.measure.outcome import Protocol, Work, result_of
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import Image
from spheroidd.store.results import MeasurementRecord, SegmentationRecord

DEADLINE = 1.0
PLENTY = 40.0
# Says what it finds in a file: the first line at once, then one part for each request.  `$ID`
# becomes the request's number, so that an answer can be right in that.
TALKER = """
import json, sys, time
said = open(sys.argv[1], "rb").read().split(b"\\n--\\n")
out = sys.stdout.buffer
out.write(said[0] + b"\\n"); out.flush()
for line in sys.stdin.buffer:
    out.write(said[1].replace(b"$ID", str(json.loads(line)["id"]).encode())); out.flush()
"""
READY = {"ready": True, "cellprofiler": "4.2", "protocol": 1, "pid": 1}
INFO = {
    "id": "$ID", "ok": True, "sha256": "f00", "images": {"Mask": "Mask"},
    "objects": ["Spheroids"], "measured": ["Spheroids"], "modules": ["IdentifyPrimaryObjects"],
}  # fmt: skip
FOUND = {
    "id": "$ID", "ok": True, "sha256": "f00",
    "images": {
        "k": {
            "error": None, "image": {"Threshold": 0.5},
            "objects": {
                "Spheroids": {"count": 2, "features": {"AreaShape_Area": [9.0, 4.0], "X": [1, 2]}}
            },
            "labels": None,
        }
    },
}  # fmt: skip

ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=4),
        st.sampled_from([10**400, -1, 1e308, "NaN", "/etc/passwd", "../..", "labels-x.png"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


@st.composite
def nearly(draw: st.DrawFn, message: dict[str, Any]) -> dict[str, Any]:
    """A right answer with something in it replaced, left out or added, at any depth."""
    copy = json.loads(json.dumps(message))
    for _ in range(draw(st.integers(1, 2))):
        places: list[tuple[Any, Any]] = []

        def note(node: Any, places: list[tuple[Any, Any]] = places) -> None:
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                if isinstance(node[key], dict | list):
                    note(node[key])

        note(copy)
        if not places:
            break
        node, key = draw(st.sampled_from(places))
        if isinstance(node, dict) and draw(st.integers(0, 3)) == 0:
            del node[key]
        else:
            node[key] = draw(ANYTHING)
    return dict(copy)


def line(message: Any) -> bytes:
    return json.dumps(message).replace('"$ID"', "$ID").encode() + b"\n"


NESTED = b'{"id": $ID, "ok": true, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
RUBBISH = st.one_of(
    st.binary(max_size=30).map(lambda raw: raw + b"\n"),
    ANYTHING.map(line),
    st.sampled_from(
        [
            NESTED,
            b"\n" * 500,
            b'{"id": $ID, "ok": true, "id": 7}\n',
            b"\xff\xfe\n",
            b"9" * 5000 + b"\n",
        ]
    ),
    st.just(line({"id": "$ID", "ok": False})),
    ANYTHING.map(lambda any_: line({"id": "$ID", "ok": False, "kind": "pipeline", "error": any_})),
    st.just(line({"id": "$ID", "ok": True, "more": True, "images": {}}) * 100),
)
ANSWERS = st.one_of(nearly(FOUND).map(line), nearly(INFO).map(line), RUBBISH)


class Talking:
    """Engines on workers that say what they are told to; one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "talker.py").write_text(TALKER)

    def engine(self, greeting: bytes, answer: bytes) -> Engine:
        (self.folder / "said").write_bytes(greeting.strip(b"\n") + b"\n--\n" + answer)
        command = [sys.executable, "-I", "-S", str(self.folder / "talker.py")]
        return Engine(
            [*command, str(self.folder / "said")],
            log=lambda *_, **__: None,
            deadline=lambda _: DEADLINE,
            start_timeout=PLENTY,
            ladder=(0.2, 0.2, PLENTY),
        )


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Talking]:
    yield Talking(tmp_path)


def image_input(folder: Path) -> ImageInput:
    return ImageInput("k", "P", "A1", 1, {"Original": folder / "k.npy"})


def work_on(folder: Path) -> Work:
    facts = vars(admission())
    image = Image(
        id=1, root="/e", path="/e/P/A1/1.jpg", version=1, state="segmented", reason=None,
        attempts=0, **{key: facts[key] for key in Image.__dataclass_fields__ if key in facts},
    )  # fmt: skip
    record = SegmentationRecord("none", "", 0.5, "CPU", None, 7, None, None, 0.1, "0")
    original = folder / "k.npy"
    np.save(original, np.full((30, 40), 90, np.uint8))
    return Work(image, record, original)


PROTOCOL = Protocol(Path("/p.cppipe"), "mask", "f00", "Spheroids", Rule(8, 1.0), "0")


@given(answer=ANSWERS, measure=st.booleans())
@examples(60)
def test_whatever_it_answers(talking: Talking, answer: bytes, measure: bool) -> None:
    engine = talking.engine(line(READY), answer)
    try:
        engine.start()
        began = time.monotonic()
        try:
            if not measure:
                info = engine.validate(talking.folder / "x.cppipe")
                assert isinstance(info.sha256, str)
                assert all(isinstance(name, str) for name in (*info.objects, *info.measured))
                return
            outcomes = engine.measure(
                talking.folder / "x.cppipe", [image_input(talking.folder)], talking.folder / "b"
            )
        except EngineError as error:
            str(error).encode("utf-8", "backslashreplace")
            return
        finally:
            assert time.monotonic() - began < DEADLINE + PLENTY / 2
    finally:
        engine.stop()
    outcome = outcomes["k"]
    if outcome.labels is not None:
        assert outcome.labels.name.startswith("labels-"), "nobody else's file is read or removed"
    record = result_of(
        work_on(talking.folder), outcome, PROTOCOL, 1, StateFolder(talking.folder / "state")
    )
    if isinstance(record, MeasurementRecord):
        numbers = [
            record.area_px,
            *(v for found in record.objects for v in found.features.values()),
        ]
        assert all(number is None or math.isfinite(number) for number in numbers)
        assert record.area_px >= 0
    else:
        assert record.startswith("CellProfiler")


@given(greeting=st.one_of(nearly(READY).map(line), RUBBISH.filter(lambda said: said.strip(b"\n"))))
@examples(25)
def test_however_it_greets(talking: Talking, greeting: bytes) -> None:
    engine = talking.engine(greeting.split(b"\n")[0] or b"x", line(INFO))
    try:
        engine.start()
        assert isinstance(engine.version, str)
    except EngineError:
        assert engine.pid is None
    finally:
        engine.stop()


def test_the_right_answers_are_taken(talking: Talking) -> None:
    engine = talking.engine(line(READY), line(FOUND))
    try:
        [outcome] = engine.measure(
            talking.folder / "x.cppipe", [image_input(talking.folder)], talking.folder / "b"
        ).values()
    finally:
        engine.stop()
    record = result_of(
        work_on(talking.folder), outcome, PROTOCOL, 1, StateFolder(talking.folder / "state")
    )
    assert isinstance(record, MeasurementRecord)
    assert (record.area_px, record.n_objects) == (9.0, 2)
