"""What lies in a folder, and what each thing is taken for."""

import os
from pathlib import Path

from spheroidd.intake.scan import Found, Ignored, Unreadable, compare, hinted, walk
from spheroidd.store.images import Known

EXTENSIONS = ("jpg", "tif")


def seen(root: Path) -> dict[str, object]:
    return {entry.path.removeprefix(f"{root}/"): entry for entry in walk(str(root), EXTENSIONS)}


def test_images_are_found_and_everything_else_says_why(tmp_path: Path) -> None:
    for name in (
        "P/A1/1.jpg", "P/A1/2.JPG", "P/x.jpg/3.TIF", "P/A1/.4.jpg", "P/A1/5.jpg.tmp", "P/6.jpg~",
        "P/Thumbs.db", "P/@eaDir/7.jpg", ".stfolder/8.jpg", "P/notes.txt", "P/A1/._9.jpg",
        "truth.csv", "P/a,b 'c' \"d\"\n.jpg",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "P/A1/1.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo.jpg")
    odd = os.fsencode(tmp_path) + b"/P/\xff\xfe.jpg"
    with open(odd, "wb"):  # noqa: PTH123
        pass
    entries = seen(tmp_path)
    found = {name for name, entry in entries.items() if isinstance(entry, Found)}
    assert found == {
        "P/A1/1.jpg", "P/A1/2.JPG", "P/x.jpg/3.TIF", "P/a,b 'c' \"d\"\n.jpg", "P/\uf7ff\uf7fe.jpg",
    }  # fmt: skip
    reasons = {name: e.reason for name, e in entries.items() if isinstance(e, Ignored)}
    assert reasons["P/A1/.4.jpg"] == "hidden"
    assert "temporary" in reasons["P/A1/5.jpg.tmp"]
    assert "symbolic link" in reasons["link.jpg"]
    assert "symbolic link" in reasons["loop"]
    assert "regular" in reasons["fifo.jpg"]
    assert "jpg, tif" in reasons["P/notes.txt"]
    assert "P/@eaDir" in reasons
    assert "P/@eaDir/7.jpg" not in entries


def test_a_hint_finds_exactly_what_the_scan_would(tmp_path: Path) -> None:
    for name in ("P/1.jpg", ".hidden/2.jpg", "P/3.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        told = hinted(str(tmp_path), str(tmp_path / name), EXTENSIONS)
        assert (told is not None) == isinstance(seen(tmp_path).get(name), Found), name
    assert hinted(str(tmp_path), str(tmp_path / "P/gone.jpg"), EXTENSIONS) is None
    assert hinted(str(tmp_path), "/etc/1.jpg", EXTENSIONS) is None


def test_a_folder_that_vanishes_on_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "P").mkdir()
    (tmp_path / "Q").mkdir()
    (tmp_path / "Q" / "1.jpg").write_bytes(b"x")
    walking = walk(str(tmp_path), EXTENSIONS)
    entries = [next(walking)]  # Q or P is already on the list of folders to visit
    (tmp_path / "P").rmdir()
    entries += list(walking)
    assert {type(entry) for entry in entries} <= {Found, Unreadable}
    assert any(isinstance(entry, Found) for entry in entries)


def test_what_a_file_means_to_the_ledger() -> None:
    found = Found("/e/1.jpg", 5, 7)

    def known(state: str, size: int = 5, hashed: int = 1) -> Known:
        return Known(1, state, size, 7, hashed)  # type: ignore[arg-type]

    assert compare(found, None) == "new"
    assert compare(found, known("measured")) == "nothing"
    assert compare(found, known("measured", size=4)) == "new"
    assert compare(found, known("failed", size=4)) == "new"
    assert compare(found, known("failed", size=4, hashed=0)) == "again"
    assert compare(found, known("waiting", size=4, hashed=0)) == "grown"
    assert compare(found, known("failed", hashed=0)) == "nothing"
