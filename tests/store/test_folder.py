"""No name of a plate or well leads out of the state folder, and none meets another's."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.errors import StoreError
from spheroidd.store.folder import StateFolder, safe_name
from spheroidd.store.paths import printable, to_real, to_stored
from spheroidd.system.lock import only_one

ODD = [
    "..",
    ".",
    "",
    "/",
    "a/b",
    "../../etc/passwd",
    "A1\n",
    " A1",
    "A1 ",
    "A1.",
    "%41",
    "é",
    "a\0b",
    "x" * 300,
    "x" * 301,
    "CON",
    "~",
    "-rf",
    "\udcff",
    "20230915 - CQ22 3D (AZD, Metf)",
]


@given(st.text() | st.sampled_from(ODD), st.text() | st.sampled_from(ODD))
def test_safe_names_are_single_folders_and_differ(one: str, other: str) -> None:
    name = safe_name(one)
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= 255
    assert name.isprintable()
    assert (name == safe_name(other)) == (one == other)


def test_usual_names_stay_as_they_are() -> None:
    for name in ("A1", "20230915 - CQ22 3D (AZD, Metf)", "VID1335_A7"):
        assert safe_name(name) == name


@given(st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b))
def test_any_file_name_survives_being_stored(name: bytes) -> None:
    path = os.fsdecode(name)
    stored = to_stored(path)
    stored.encode("utf-8")  # SQLite and JSON can hold it
    if not any("\uf780" <= c <= "\uf7ff" for c in path):
        assert os.fsencode(to_real(stored)) == name
    assert printable(stored).isprintable()


def test_a_state_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="choose another `state_dir`"):
        StateFolder(tmp_path / "file" / "state").create()


def test_what_a_killed_process_left_of_its_try_to_write_goes(tmp_path: Path) -> None:
    (tmp_path / ".write-test-4711").write_bytes(b"")
    StateFolder(tmp_path).create()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handover", "tmp"]


def test_who_measures_a_plate_again_is_known_by_its_lock(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert not folder.is_measured_again("P")
    folder.again("P").mkdir(parents=True)
    with only_one(folder.again("P") / "lock"):
        assert folder.is_measured_again("P")
        assert not folder.is_measured_again("Q")
    assert not folder.is_measured_again("P"), "the file stays, its lock does not"
    with only_one(folder.again("P") / "lock"):
        pass  # asking has left nothing locked
