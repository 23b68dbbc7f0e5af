"""How two runs agree: the numbers of Bland and Altman, and areas of zero."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from spheroidd.errors import SpheroiddError
from spheroidd.report.bland_altman import agreement, draw


def rows(areas: dict[int, float], excluded: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"image_id": number, "well": f"A{number}", "hours": 3.0 * number, "area_px": area,
         "area_um2": None, "image_path": f"/e/{number}.jpg", "excluded": int(number in excluded)}
        for number, area in areas.items()
    ]  # fmt: skip


def test_bias_and_limits_are_those_of_the_paper() -> None:
    one, other = {1: 100.0, 2: 200.0, 3: 400.0, 4: 50.0}, {1: 110.0, 2: 190.0, 3: 420.0, 4: 80.0}
    found = agreement(rows(one), rows(other))
    a, b = np.array(list(one.values())), np.array(list(other.values()))
    difference = 200 * (b - a) / (a + b)
    spread = 1.96 * difference.std(ddof=1)
    assert found.bias_pct == pytest.approx(difference.mean())
    assert found.limits_pct == pytest.approx(
        (difference.mean() - spread, difference.mean() + spread)
    )
    assert found.median_absolute_pct == pytest.approx(np.median(abs(difference)))
    assert [pair.well for pair in found.worst(2)] == ["A4", "A1"]


def test_swapping_the_runs_turns_the_sign() -> None:
    one, other = rows({1: 100.0, 2: 200.0}), rows({1: 120.0, 2: 210.0})
    there, back = agreement(one, other), agreement(other, one)
    assert there.bias_pct is not None
    assert there.bias_pct > 0
    assert back.bias_pct == pytest.approx(-there.bias_pct)


def test_empty_images_and_missing_ones_are_counted_apart() -> None:
    found = agreement(
        rows({1: 0.0, 2: 0.0, 3: 100.0, 4: 100.0, 5: 7.0, 6: 9.0}, excluded=(6,)),
        rows({1: 0.0, 2: 50.0, 3: 0.0, 4: 100.0, 8: 9.0}),
    )
    assert [pair.well for pair in found.pairs] == ["A4"]
    assert found.both_empty == 1
    assert [pair.well for pair in found.found_in_one] == ["A2", "A3"]
    assert [row["well"] for row in found.only_first] == ["A5"]
    assert [row["well"] for row in found.only_second] == ["A8"]
    assert (found.excluded, found.bias_pct, found.limits_pct) == (1, 0, None)
    assert found.worst() == []


def test_nothing_to_compare_gives_no_numbers_and_still_a_picture(tmp_path: Path) -> None:
    found = agreement(rows({1: 0.0}), rows({1: 0.0}))
    assert (found.bias_pct, found.limits_pct, found.median_absolute_pct) == (None, None, None)
    draw(found, ("live", "run 2"), "P", tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_the_picture_has_points_lines_and_no_shape_of_its_name(tmp_path: Path) -> None:
    areas = {number: 100.0 * number for number in range(1, 30)}
    other = {number: area * (1 + 0.1 * math.sin(number)) for number, area in areas.items()}
    found = agreement(rows(areas), rows(other))
    draw(found, ("live", "run 2"), r"P $\nonsense$", tmp_path / "picture")  # whatever it is called
    with Pillow.open(tmp_path / "picture") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = (abs(pixels - (0x00, 0x72, 0xB2)) < 30).all(-1).sum()
    orange = (abs(pixels - (0xD5, 0x5E, 0x00)) < 30).all(-1).sum()
    assert blue > 29 * 10
    assert orange > 500
    with pytest.raises(SpheroiddError, match="can't be written"):
        draw(found, ("live", "run 2"), "P", tmp_path / "nowhere" / "x.png")
