"""The overview says in one sentence how things are, and shows how each plate grows."""

import time
from typing import Any

import numpy as np
import pytest
from filled import AT, ODD, PLATE
from starlette.testclient import TestClient

from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.web import overview as overview_module
from spheroidd.web.band import Bands, band_of
from spheroidd.web.curves import Curves
from spheroidd.web.overview import Glances, overview, sentence
from spheroidd.web.site import Readers


def found_with(**said: Any) -> dict[str, Any]:
    plates = [{"plate": name, "running": True} for name in "AB"]
    totals = {"failed": 0, "to_review": 0}
    return {"last_image_at": "1970-01-01T00:00:00+00:00", "plates": plates, "totals": totals} | said


@pytest.mark.parametrize(
    ("found", "after", "told"),
    [
        ({}, 180, "Both plates are being imaged; last image 3 minutes ago; nothing needs review."),
        (
            {"totals": {"failed": 1, "to_review": 4}},
            3600,
            "Both plates are being imaged; last image 1 hour ago; 1 image failed; 4 images need"
            " review.",
        ),
        (
            {"plates": [{"plate": "A", "running": False}], "totals": {"failed": 0, "to_review": 1}},
            5,
            "No experiment is running; 1 finished plate; last image just now; 1 image needs"
            " review.",
        ),
        (
            {"plates": [{"plate": name, "running": name == "A"} for name in "ABC"]},
            86400 * 3,
            "1 plate of 3 is being imaged; last image 3 days ago; nothing needs review.",
        ),
    ],
)
def test_one_plain_sentence(found: dict[str, Any], after: float, told: str) -> None:
    assert sentence(found_with(**found), "ok", "", after) == told


def test_what_is_wrong_comes_first() -> None:
    assert sentence(found_with(), "wrong", "The disk is full.", 0) == "The disk is full."


def test_running_and_finished_plates(state: StateFolder) -> None:
    with Reader(state.database) as reader:
        now = overview(reader, state, AT)
        later = overview(reader, state, AT + 90 * 86400)
    assert {row["plate"]: row["running"] for row in now["plates"] if row["plate"]}[PLATE]
    assert not any(row["running"] for row in later["plates"])
    assert [alert["title"] for alert in now["alerts"]] == ["Two images want a look"]
    assert now["disk"]["free_bytes"] > 0


def test_what_takes_long_is_shared_for_a_moment(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown by counting: who asks at the same time gets the same, and others a newer one."""
    work = 0.0
    made: list[float] = []

    def slow(*_: Any) -> dict[str, Any]:
        made.append(time.monotonic())
        end = time.thread_time() + work
        while time.thread_time() < end:
            pass
        return {"number": len(made)}

    monkeypatch.setattr(overview_module, "overview", slow)
    glances = Glances(state)
    with Reader(state.database) as reader:
        assert [glances.lately(reader)["number"] for _ in range(3)] == [1, 2, 3]
        work = 0.06
        assert [glances.lately(reader)["number"] for _ in range(3)] == [4, 4, 4]
        assert glances.new(reader)["number"] == 5
        while glances.lately(reader)["number"] == 5:
            time.sleep(0.01)
    assert 0.6 <= made[5] - made[4] < 5


def test_the_page_shows_it_all_and_escapes_names(client: TestClient) -> None:
    text = client.get("/").text
    assert "20230915 - CQ22 3D" in text
    assert "<b>" not in text.partition("<main")[2]
    assert "Failed images, by reason" in text
    assert "It is cut short" in text


def series(hours: list[float], relative: list[float | None], excluded: list[int]) -> dict[str, Any]:
    return {"hours": hours, "relative": relative, "excluded": excluded}


def test_a_band_is_the_wells_percentiles() -> None:
    wells = [
        {"series": [series([0, 10, 24], [100, 100 + 10 * n, 100 + 24 * n], [])]} for n in range(11)
    ]
    band = band_of({"wells": wells})
    assert band is not None
    np.testing.assert_allclose([band.hours[0], band.hours[-1]], [0, 24])
    np.testing.assert_allclose(band.median, 100 + 5 * band.hours)
    np.testing.assert_allclose(band.low, 100 + band.hours)
    np.testing.assert_allclose(band.high, 100 + 9 * band.hours)
    assert "220 %" in band.words
    assert band.line.count("L") == 23
    assert band.area.endswith("Z")


def test_a_round_that_has_just_begun_is_no_median() -> None:
    """One well of five has its next image already, five times as large."""
    hours, grown = [0.0, 12.0, 24.0], [100.0, 150.0, 200.0]
    early = {"hours": [*hours, 36.0], "relative": [*grown, 1000.0], "excluded": []}
    others = [{"hours": hours, "relative": grown, "excluded": []} for _ in range(4)]
    band = band_of({"wells": [{"series": [one]} for one in (early, *others)]})
    assert band is not None
    assert (band.hours[-1], band.median[-1]) == (24, 200)


def test_what_is_excluded_or_alone_makes_no_band() -> None:
    wild = series([0, 10, 24], [100, 9999, 150], [1])
    assert band_of({"wells": [{"series": [wild]}]}).high.max() == 150  # type: ignore[union-attr]
    assert band_of({"wells": [{"series": [series([0], [100], [])]}]}) is None
    assert band_of({"wells": [{"series": [series([0, 1], [None, None], [])]}]}) is None
    assert band_of({"wells": []}) is None


def test_bands_are_not_made_more_often_than_anybody_sees(state: StateFolder) -> None:
    readers, at = Readers(state.database), [0.0]
    asked: list[str] = []

    class Counted(Curves):
        def view(self, plate: str, points: int | None = None) -> dict[str, Any]:
            asked.append(plate)
            return super().view(plate, points)

    bands = Bands(Counted(readers.get), lambda: at[0])
    first = bands.of([PLATE, ODD])
    assert set(first) == {PLATE, ODD}
    assert bands.of([PLATE, ODD]) == first
    assert asked == [PLATE, ODD]
    at[0] = 11.0
    bands.of([PLATE])
    assert asked == [PLATE, ODD, PLATE]
    readers.close()
