"""Where wells lie: the usual formats, and names of any form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.web.geometry import FORMATS, geometry_of, place_of

LETTERS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD", "AE", "AF"]


def names_of(wells: int) -> list[str]:
    rows, columns = FORMATS[wells]
    return [f"{LETTERS[row]}{column + 1}" for row in range(rows) for column in range(columns)]


@pytest.mark.parametrize("wells", FORMATS)
def test_a_whole_plate_has_its_own_format_and_each_well_its_place(wells: int) -> None:
    names = names_of(wells)
    found = geometry_of(names)
    assert len(names) == wells == FORMATS[wells][0] * FORMATS[wells][1]
    assert (found.kind, found.wells, (found.rows, found.columns)) == (
        "plate", wells, FORMATS[wells],
    )  # fmt: skip
    assert [found.places[name] for name in names] == [
        (row, column) for row in range(found.rows) for column in range(found.columns)
    ]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("A1", (0, 0)),
        ("a01", (0, 0)),
        ("H12", (7, 11)),
        ("P24", (15, 23)),
        ("Z48", (25, 47)),
        ("AA1", (26, 0)),
        ("aB024", (27, 23)),
        ("AF48", (31, 47)),
        ("AG1", None),
        ("A0", None),
        ("A", None),
        ("1", None),
        ("A100", None),
        ("A1 ", None),
        ("A1\n", None),
        ("A١", None),
        ("Ä1", None),
        ("BA1", None),
        ("well A1", None),
    ],
)
def test_names_of_wells(name: str, place: tuple[int, int] | None) -> None:
    assert place_of(name) == place


@pytest.mark.parametrize(
    ("names", "kind", "wells"),
    [
        (["A1"], "plate", 6),
        (["A1", "C1"], "plate", 12),
        (["B2", "H12"], "plate", 96),
        (["A13"], "plate", 384),
        (["I1"], "plate", 384),
        (["AF48"], "plate", 1536),
        (["A49"], "grid", 1),
        (["A1", "A01"], "grid", 2),
        (["A1", "left"], "grid", 2),
        ([], "grid", 0),
    ],
)
def test_the_smallest_plate_that_holds_all(names: list[str], kind: str, wells: int) -> None:
    found = geometry_of(names)
    assert (found.kind, found.wells) == (kind, wells)
    assert list(found.places) == names


@given(st.lists(st.text(min_size=1), unique=True, max_size=80))
def test_every_name_has_a_place_of_its_own(names: list[str]) -> None:
    found = geometry_of(names)
    assert found.places.keys() == set(names)
    assert len(set(found.places.values())) == len(names)
    for row, column in found.places.values():
        assert 0 <= row < found.rows
        assert 0 <= column < found.columns
    if found.kind == "grid" and names:
        assert found.columns - 1 <= found.rows <= found.columns  # as square as can be
        assert list(found.places.values()) == sorted(found.places.values())
