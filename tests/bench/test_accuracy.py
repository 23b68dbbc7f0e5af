"""Whether the accuracy benchmark counts right, on masks whose figures are known beforehand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import accuracy
from cases import CLASSES, Frame, simulated_wells
from measuring import Setting, measure
from methods import Found, Line, Verdict, largest, largest_object
from pictures import RESULT, TRUTH
from real_sets import real_wells
from scores import Score, score, summary

SHAPE = (100, 200)
WELL = ("set", "clean", "A1")


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def result(truth: np.ndarray, found: np.ndarray, *flags: str, others=None, kind="clean") -> Score:
    frame = Frame("f", np.zeros(SHAPE, np.uint8), int(truth.sum()), truth, others)
    return score(("set", kind, "A1"), "line", frame, Found(found), Verdict(largest(found), flags))


NOTHING, BALL, BESIDE = np.zeros(SHAPE, bool), box(30, 30, 40, 40), box(30, 120, 40, 30)


def test_a_box_of_known_overlap_has_known_figures():
    one = result(BALL, box(30, 30, 40, 35))
    assert one.iou == pytest.approx(35 / 40)
    assert one.error == pytest.approx(-0.125)
    assert one.wrong and one.off and not (one.miss or one.ghost or one.wrong_object)
    right = result(BALL, box(30, 30, 40, 37))
    assert not right.wrong and right.error == pytest.approx(-0.075)


def test_ghost_miss_and_wrong_object_are_told_apart():
    assert result(NOTHING, BALL).ghost and not result(NOTHING, NOTHING).ghost
    missed = result(BALL, NOTHING)
    assert missed.miss and missed.wrong and not missed.wrong_object and missed.error == -1
    elsewhere = result(BALL, BESIDE)
    assert elsewhere.wrong_object and elsewhere.wrong and not elsewhere.other_spheroid
    # A piece of it, and a mask that fills the field, are wrong areas of the right object.
    for mask in (box(40, 40, 5, 5), ~NOTHING):
        assert result(BALL, mask).wrong and not result(BALL, mask).wrong_object


def test_another_spheroid_is_a_wrong_object_of_its_own_kind():
    one = result(BALL, BESIDE, others=BESIDE, kind="several")
    assert one.wrong_object and one.other_spheroid
    both = result(BALL, BALL | BESIDE, others=BESIDE, kind="several")
    assert both.iou == both.iou_all == 1 and both.objects == 2 and not both.wrong


def test_flags_are_held_against_wrong_areas():
    """Four wrong, three of them flagged; four right, two flagged, one of these deservedly."""
    half = box(30, 30, 40, 20)
    scores = [
        result(BALL, half, "low_confidence"),
        result(BALL, half, "disagreement", "low_focus"),
        result(NOTHING, BALL, "low_confidence"),
        result(BALL, NOTHING, "no_spheroid"),  # an answer, and a wrong one; no doubt in it
        result(BALL, BALL),
        result(NOTHING, NOTHING, "no_spheroid"),
        result(BALL, BALL, "touches_border", kind="border"),
        result(BALL, BALL, "touches_border"),
    ]
    figures = summary(scores)
    assert figures["wrong"] == 4
    assert figures["flag_recall"] == pytest.approx(3 / 4)
    assert figures["flag_precision"] == pytest.approx(3 / 5)
    assert figures["right_ones_flagged"] == pytest.approx(2 / 4)
    assert figures["right_ones_flagged_falsely"] == pytest.approx(1 / 4)
    assert figures["ghost_rate"] == 1 / 2 and figures["miss_rate"] == pytest.approx(1 / 6)
    assert figures["off_by_more_than_10_percent"] == 3


def test_what_has_no_reference_counts_for_nothing_but_its_steps():
    def unknown(well: str, area: int) -> Score:
        return Score("set", "k", well, "f", "line", area, None)

    figures = summary([unknown("A1", 100), unknown("A1", 120), unknown("A2", 500)])
    assert figures["with_reference"] == 0 and figures["iou_median"] is None
    assert figures["miss_rate"] is figures["ghost_rate"] is figures["flag_recall"] is None
    assert figures["largest_step"] == pytest.approx(0.2)  # not from one well to the next


@dataclass(frozen=True)
class Known:
    """A well of three frames: a box on the left that grows, and debris on the right in the last."""

    set: str = "set"
    kind: str = "clean"
    name: str = "A1"

    def frames(self) -> Sequence[Frame]:
        found = []
        for number in range(3):
            truth = box(30, 30, 40, 40 + number)
            image = np.where(truth | (box(10, 100, 80, 80) & (number == 2)), 40, 200)
            found.append(Frame(f"f{number}", image.astype(np.uint8), int(truth.sum()), truth))
        return found


def test_a_line_is_measured_on_all_frames_of_a_well_and_drawn(tmp_path):
    line = Line(lambda image: Found(image < 100), largest_object)
    pairs = measure(Known(), 7, Setting("none", tmp_path, tmp_path), {"dark": line})
    assert [one.wrong_object for one, _ in pairs] == [False, False, True]
    assert [one.iou for one, _ in pairs] == [1, 1, 0]
    assert [one.error for one, _ in pairs][:2] == [0, 0]
    with Image.open(pairs[2][1]) as picture:
        colours = {colour for _, colour in picture.getcolors(maxcolors=1 << 16)}
    assert {TRUTH, RESULT} <= colours


def test_wells_are_dealt_out_evenly_and_again_the_same():
    wells = simulated_wells(2 * len(CLASSES), frames=1)
    assert sorted(well.kind for well in wells) == sorted([*CLASSES, *CLASSES])
    assert wells == simulated_wells(2 * len(CLASSES), frames=1)
    assert wells != simulated_wells(2 * len(CLASSES), frames=1, seed=2)


@pytest.mark.slow
def test_it_runs_from_simulated_wells_to_tables_and_pictures(tmp_path, capsys):
    ask = ["--model", "u2netp", "--wells", str(len(CLASSES)), "--out", str(tmp_path)]
    accuracy.main([*ask, "--data", str(tmp_path / "not-here")])
    assert "none in" in capsys.readouterr().out
    written = json.loads((tmp_path / "accuracy.json").read_text())
    plain = written["models"]["u2netp"]["summary"]["plain"]
    assert set(plain) == {"simulated", *(f"simulated: {name}" for name in CLASSES)}
    assert plain["simulated: clean"]["iou_median"] > 0.9
    assert plain["simulated: empty"]["empty"] == 1
    summary = written["models"]["u2netp"]["summary"]
    assert summary["refined"]["simulated: empty"]["ghost_rate"] == 0
    assert len(written["models"]["u2netp"]["frames"]) == len(CLASSES) * len(summary)
    assert written["versions"]["rembg"] and written["machine"] and written["command"]
    assert len(list((tmp_path / "accuracy").glob("simulated-*-u2netp-plain.png"))) == len(CLASSES)
    # Crops of the second look are remembered, too.
    assert len(list((tmp_path / "maps").rglob("*.npz"))) >= len(CLASSES)


def test_real_sets_are_read_as_their_page_describes_them(real_data: Path):
    wells = real_wells(real_data)
    by_set = {name: [w for w in wells if w.set == name] for name in {w.set for w in wells}}
    (cell_iq,) = by_set["cell-iq-timelapse"]
    first, *_, last = cell_iq.frames()
    assert (first.name, last.name, first.area) == ("A1_000", "A1_031", 46315)
    assert first.truth is not None and first.truth.sum() == pytest.approx(first.area, rel=0.001)
    droplet = by_set["droplet-a673"]
    assert [w.name for w in droplet[:3]] == ["image_1", "image_2", "image_3"]
    kinds = [w.kind for w in droplet]
    assert [kinds.count(k) for k in ("outlined", "with debris", "empty", "no reference")] == [
        17,
        5,
        1,
        2,
    ]
    assert droplet[18].frames()[0].area == 0 and droplet[20].frames()[0].area is None
    assert by_set["precipitate"][0].frames()[0].area == 4226
