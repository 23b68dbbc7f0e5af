"""Outlines and masks: only what is recorded, only inside the state folder, small and quick."""

import os
import shutil
import struct
import threading
import time
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled import PLATE, SIZE
from PIL import Image as Pillow
from starlette.testclient import TestClient

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.picture import pictures as recorded
from spheroidd.store.reader import Reader
from spheroidd.store.reviewing import Selection, selected
from spheroidd.web import pictures as pictures_module
from spheroidd.web.failing import NotThereError
from spheroidd.web.pictures import Pictures, Width


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state" / "images").mkdir(parents=True)
    return tmp_path / "state"


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return Pictures(folder)


def opened(content: bytes) -> Pillow.Image:
    image = Pillow.open(BytesIO(content))
    image.load()
    return image


def get(pictures: Pictures, name: str, width: Width | None = None) -> bytes:
    return pictures.read(pictures.find(name, width)).content


# -- as the API serves them ---------------------------------------------------------------------


def number_of(state: StateFolder, well: str, frame: int) -> int:
    with Reader(state.database) as reader:
        [row] = selected(reader, Selection(plate=PLATE, well=well, timepoint=frame))
    return int(row["image_id"])


@pytest.mark.parametrize(
    ("kind", "width", "shape", "mode"),
    [("outline", None, SIZE, "RGB"), ("outline", 160, (160, 120), "RGB"),
     ("outline", 640, SIZE, "RGB"), ("mask", None, SIZE, "1"), ("mask", 160, (160, 120), "L")],
)  # fmt: skip
def test_they_are_served_scaled_but_never_enlarged(
    client: TestClient,
    state: StateFolder,
    kind: str,
    width: int | None,
    shape: tuple[int, int],
    mode: str,
) -> None:
    number = number_of(state, "A1", 3)
    query = {} if width is None else {"width": width}
    response = client.get(f"/api/v1/images/{number}/{kind}", params=query)
    assert response.status_code == 200
    media = {"outline": "image/jpeg", "mask": "image/png"}[kind]
    assert response.headers["content-type"] == media
    assert response.headers["cache-control"] == "private, max-age=86400"
    assert response.headers["x-content-type-options"] == "nosniff"
    with Reader(state.database) as reader:
        row = recorded(reader, number)
    assert row is not None
    stored = (state.root / row[f"{kind}_path"]).read_bytes()
    image = opened(response.content)
    assert (image.size, image.mode) == (shape, mode)
    if kind == "mask" and width:
        whole = np.asarray(opened(stored)).mean()
        assert np.asarray(image).mean() / 255 == pytest.approx(whole, rel=0.02)
    if width in (None, 640):
        assert response.content == stored


@pytest.mark.parametrize(
    ("frame", "words"),
    [(1, "has no outline"), (2, "is not there: it was removed"), (3, "neither JPEG nor PNG")],
)
def test_what_is_gone_says_so(
    client: TestClient, state: StateFolder, frame: int, words: str
) -> None:
    response = client.get(f"/api/v1/images/{number_of(state, 'H1', frame)}/outline")
    assert response.status_code == 404
    assert words in response.json()["error"]


def test_another_picture_has_another_tag(client: TestClient, state: StateFolder) -> None:
    number = number_of(state, "A1", 3)
    address = f"/api/v1/images/{number}/outline?width=160"
    first = client.get(address)
    with Reader(state.database) as reader:
        row = recorded(reader, number)
    assert row is not None
    Pillow.new("RGB", SIZE, "black").save(state.root / row["outline_path"])
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert np.asarray(opened(again.content)).max() < 20
    same = client.get(address, headers={"If-None-Match": again.headers["etag"]})
    assert (same.status_code, same.headers["cache-control"]) == (304, "private, max-age=86400")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside.jpg", "images/../../outside.jpg", "images/link.jpg",
     "elsewhere/outside.jpg", "images", "images/circle.jpg", "images/\x00.jpg", "spheroidd.db",
     "images/" + "x" * 300 + ".jpg"],
)  # fmt: skip
def test_nothing_else_is_served_whatever_the_database_says(
    client: TestClient, state: StateFolder, path: str
) -> None:
    outside = state.root.parent / "outside.jpg"
    Pillow.new("RGB", SIZE, "red").save(outside)
    (state.root / "images" / "link.jpg").symlink_to(outside)
    (state.root / "elsewhere").symlink_to(state.root.parent)
    (state.root / "images" / "circle.jpg").symlink_to("circle.jpg")
    number = number_of(state, "A1", 3)
    with Database(state.database) as database, database.write() as sql:
        sql.execute("UPDATE measurements SET outline_path = ? WHERE image_id = ?", [path, number])
    for query in ("", "?width=160"):
        response = client.get(f"/api/v1/images/{number}/outline{query}")
        assert response.status_code == 404
        assert set(response.json()) == {"error", "hint"}


def test_a_link_within_the_folder_is_followed(folder: Path, pictures: Pictures) -> None:
    Pillow.new("RGB", SIZE, "red").save(folder / "images" / "a.jpg")
    (folder / "images" / "b.jpg").symlink_to("a.jpg")
    assert get(pictures, "images/b.jpg") == get(pictures, "images/a.jpg")


# -- files that mean harm -------------------------------------------------------------------------


def test_a_pipe_does_not_hold_anybody_up(folder: Path, pictures: Pictures) -> None:
    os.mkfifo(folder / "images" / "a.jpg")
    began = time.monotonic()
    with pytest.raises(NotThereError, match="can't be shown"):
        get(pictures, "images/a.jpg")
    assert time.monotonic() - began < 5


def png_that_says(width: int, height: int) -> bytes:
    """The head of a PNG of any size, with a few bytes of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [png_that_says(60_000, 60_000), png_that_says(400, 400), b"\xff\xd8\xff", b"", b"\x89PNG",
     b"\x89PNG\r\n\x1a\n" + b"x" * 50, b"GIF89a" + bytes(100), b"<html><script>alert(1)</script>"],
    ids=["huge", "cut short", "no jpeg", "empty", "short", "rubbish", "gif", "html"],
)  # fmt: skip
def test_what_is_no_picture_is_not_served(folder: Path, pictures: Pictures, content: bytes) -> None:
    (folder / "images" / "a.png").write_bytes(content)
    with pytest.raises(NotThereError, match=r"can't be shown|is not there"):
        get(pictures, "images/a.png", Width.SMALL)


def test_large_pictures_that_are_real_are_scaled(folder: Path, pictures: Pictures) -> None:
    """Beyond what Pillow itself takes for an attack: an instrument may stitch such an image."""
    mask = Pillow.new("1", (11_000, 10_000))
    mask.paste(1, (2_000, 2_000, 8_000, 8_000))
    mask.save(folder / "images" / "mask.png")
    image = opened(get(pictures, "images/mask.png", Width.THUMBNAIL))
    assert image.size == (160, 145)
    assert np.asarray(image).mean() / 255 == pytest.approx(36 / 110, rel=0.03)


# -- kept for a while -----------------------------------------------------------------------------


def photograph(folder: Path, name: str) -> str:
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(folder / "images" / name, quality=95)
    return f"images/{name}"


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was really read and scaled."""
    names: list[str] = []
    really = pictures_module._read

    def read(found: Any) -> Any:
        names.append(found.name)
        return really(found)

    monkeypatch.setattr(pictures_module, "_read", read)
    return names


def test_what_was_scaled_is_kept_and_what_was_long_not_asked_for_goes(
    folder: Path, pictures: Pictures, scaled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = photograph(folder, "one.jpg")
    names = [shutil.copy(folder / one, folder / f"images/{n}.jpg") for n in range(3)]
    stored = [str(Path(name).relative_to(folder)) for name in names]
    size = len(get(pictures, one, Width.SMALL))
    monkeypatch.setattr(pictures_module, "_KEPT_BYTES", 3 * size + 10)
    monkeypatch.setattr(pictures_module, "_LARGEST_KEPT", size)
    for name in (stored[0], stored[1], one, stored[2]):
        assert len(get(pictures, name, Width.SMALL)) == size
    assert scaled == [one, stored[0], stored[1], stored[2]]
    get(pictures, one, Width.SMALL)
    assert len(scaled) == 4, "it was asked for lately"
    get(pictures, stored[0], Width.SMALL)
    assert scaled[4:] == [stored[0]]
    assert pictures._bytes <= 3 * size + 10


def test_many_who_ask_at_once_wait_for_one(
    folder: Path, pictures: Pictures, scaled: list[str]
) -> None:
    name = photograph(folder, "one.jpg")
    found = pictures.find(name, Width.SMALL)
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(pictures.read(found).content)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 12
    assert len(set(got)) == 1
    assert 1 <= len(scaled) <= 2, "two may begin at once"


def test_no_more_than_two_are_scaled_at_once(
    folder: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = photograph(folder, "one.jpg")
    names = [shutil.copy(folder / name, folder / f"images/{n}.jpg") for n in range(6)]
    really, turn = pictures_module._read, threading.Lock()
    at_once, most = 0, 0

    def read(found: Any) -> Any:
        nonlocal at_once, most
        with turn:
            at_once += 1
            most = max(most, at_once)
        try:
            return really(found)
        finally:
            with turn:
                at_once -= 1

    monkeypatch.setattr(pictures_module, "_read", read)
    threads = [
        threading.Thread(target=get, args=(pictures, str(Path(n).relative_to(folder)), Width.SMALL))
        for n in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 1 <= most <= 2
