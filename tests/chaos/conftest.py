from collections.abc import Iterator
from pathlib import Path

import pytest
from comparing import Undisturbed, differences, outcome_of
from killing import Place, draw_pictures, tempo_of


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    draw_pictures(folder / "pictures")
    place = Place(folder, folder / "pictures")
    try:
        tempo, outcome = tempo_of(place), outcome_of(place)
    finally:
        place.end()
    assert differences(place, outcome) == []
    return Undisturbed(place, folder / "pictures", tempo, outcome)


@pytest.fixture
def place(tmp_path: Path, undisturbed: Undisturbed) -> Iterator[Place]:
    one = Place(tmp_path, undisturbed.pictures)
    yield one
    one.end()
