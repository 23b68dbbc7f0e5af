"""The outline picture: yellow where the objects end, small, the same for every pipeline."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from spheroidd.measure.outline import (
    LONGEST_SIDE,
    Labels,
    NoPlaceError,
    draw_outline,
    read_labels,
    write_outline,
)


def disc(height: int, width: int, y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - y, columns - x) <= radius


def yellow(picture: Image.Image, tolerance: int = 0) -> NDArray[np.bool_]:
    away = np.abs(np.asarray(picture).astype(int) - (255, 255, 0))
    return (away <= tolerance).all(axis=2)


def labelled(*masks: NDArray[np.bool_]) -> Labels:
    labels = np.zeros(masks[0].shape, np.uint16)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return Labels.of_whole(labels)


def test_small_pictures_are_the_original_with_the_innermost_pixels_in_yellow() -> None:
    mask = disc(120, 160, 60, 80, 30)
    original = np.where(mask, 60, 150).astype(np.uint8)
    picture = draw_outline(original, labelled(mask))
    assert (picture.mode, picture.size) == ("RGB", (160, 120))
    line = mask & ~ndimage.binary_erosion(mask)  # by an independent way
    assert (yellow(picture) == line).all()
    assert (np.asarray(picture)[~line] == original[~line][:, np.newaxis]).all()


def test_large_ones_shrink_and_keep_a_closed_line_where_it_belongs() -> None:
    mask = disc(2056, 2464, 1000, 1300, 600)
    picture = draw_outline(np.full(mask.shape, 120, np.uint8), labelled(mask))
    assert picture.size == (LONGEST_SIDE, 854)
    line = yellow(picture)
    rows, columns = np.nonzero(line)
    scale = LONGEST_SIDE / 2464
    radii = np.hypot(rows / scale - 1000, columns / scale - 1300)
    assert (np.abs(radii - 600) < 3 / scale).all()
    inside, _ = ndimage.label(~line)  # four neighbours: a gap of one pixel would join them
    assert inside.max() == 2
    widths = line.sum(axis=1)[rows.min() + 60 : rows.max() - 60]
    assert 4 <= widths.min() <= widths.max() <= 12  # two crossings of 2 to 4 pixels, sloping


def test_an_object_on_the_rim_and_one_that_fills_the_field_are_seen() -> None:
    full = yellow(draw_outline(np.zeros((60, 80), np.uint8), labelled(np.ones((60, 80), bool))))
    expected = np.ones((60, 80), bool)
    expected[1:-1, 1:-1] = False
    assert (full == expected).all()


def test_no_object_no_line() -> None:
    original = np.arange(4800, dtype=np.uint8).reshape(60, 80)
    picture = draw_outline(original, labelled(np.zeros((60, 80), bool)))
    assert (np.asarray(picture) == original[..., np.newaxis]).all()


def test_a_speck_does_not_vanish_by_shrinking() -> None:
    labels = np.zeros((9000, 200), np.uint16)
    labels[4501, 101] = 1
    assert yellow(draw_outline(np.zeros(labels.shape, np.uint8), Labels.of_whole(labels))).any()


def test_colour_stays_and_touching_objects_are_told_apart() -> None:
    original = np.zeros((100, 100, 3), np.uint8)
    original[:] = (200, 30, 90)
    labels = np.zeros((100, 100), np.uint16)
    labels[40:60, 20:50], labels[40:60, 50:80] = 1, 2
    pixels = np.asarray(draw_outline(original, Labels.of_whole(labels)))
    assert tuple(pixels[5, 5]) == (200, 30, 90)
    assert (pixels[45:55, 49:51] == (255, 255, 0)).all()


def test_several_objects_carry_the_numbers_to_choose_by() -> None:
    first, second = disc(300, 400, 80, 90, 40), disc(300, 400, 200, 250, 60)
    original = np.full((300, 400), 120, np.uint8)
    alone = [yellow(draw_outline(original, labelled(one))) for one in (first, second)]
    assert alone[0].sum() == (first & ~ndimage.binary_erosion(first)).sum()  # no number
    pictures = [
        np.asarray(draw_outline(original, labels))
        for labels in (labelled(first, second), labelled(second, first))
    ]
    digits = (pictures[0] != 120).any(axis=2) & ~alone[0] & ~alone[1]
    rows, columns = np.nonzero(digits[:120])
    assert (rows.min(), columns.min()) >= (30, 125)  # beside the first, at its upper right
    assert columns.max() < 150
    assert digits[130:170, 305:330].any()
    # a 1 is not a 2
    assert (pictures[0][30:60, 128:150] != pictures[1][30:60, 128:150]).any()


def test_numbers_stay_inside_and_thousands_of_objects_are_quick() -> None:
    labels = np.zeros((1200, 1600), np.uint16)
    corners = np.arange(1, 1201).reshape(30, 40)
    labels[::40, ::40] = corners
    labels = ndimage.grey_dilation(labels, 12)
    labels[:, -1] = 1201
    picture = draw_outline(np.full(labels.shape, 90, np.uint8), Labels.of_whole(labels))
    assert picture.size == (LONGEST_SIDE, 768)


def test_objects_of_a_resized_image_fit_and_those_of_a_part_are_refused() -> None:
    mask = disc(120, 160, 60, 80, 30)
    original = np.full((240, 320), 9, np.uint8)
    rows, columns = np.nonzero(yellow(draw_outline(original, labelled(mask))))
    assert np.hypot(rows - 120, columns - 160) == pytest.approx(60, abs=3)
    with pytest.raises(NoPlaceError, match="100×120 px don't fit an image 320×240"):
        draw_outline(original, labelled(np.ones((120, 100), bool)))


def test_real_frames_become_small_files_that_show_the_line(real_data: Path, tmp_path: Path) -> None:
    frames = sorted((real_data / "ewing-brightfield" / "images").glob("*.png"))
    frames += sorted((real_data / "cell-iq-timelapse" / "export").rglob("*.jpg"))[:2]
    frames += sorted((real_data / "several-objects" / "images").glob("*.jpg"))[:2]
    assert len(frames) >= 5
    for frame in frames:
        with Image.open(frame) as picture:
            original = np.asarray(picture.convert("L"))
        height, width = original.shape
        path = tmp_path / "outline.jpg"
        write_outline(path, original, labelled(disc(height, width, height / 2, width / 2, 150)))
        assert path.stat().st_size < 200_000
        with Image.open(path) as made:
            assert max(made.size) <= LONGEST_SIDE
            ink = yellow(made, tolerance=60)
        across = 2 * np.pi * 150 * min(1, LONGEST_SIDE / max(height, width))
        assert across <= ink.sum() <= 4 * across
    assert sorted(tmp_path.iterdir()) == [tmp_path / "outline.jpg"]


def test_a_picture_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "outline.jpg"
    path.write_bytes(b"before")
    with pytest.raises(NoPlaceError):
        write_outline(path, np.zeros((60, 80), np.uint8), labelled(np.ones((60, 20), bool)))
    with pytest.raises(OSError, match="none"):
        write_outline(
            tmp_path / "none" / "x.jpg", np.zeros((6, 8), np.uint8), labelled(np.ones((6, 8), bool))
        )
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_labels_come_back_as_the_worker_left_them(tmp_path: Path) -> None:
    labels = np.arange(60_000, dtype=np.uint16).reshape(200, 300)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    read = read_labels(tmp_path / "labels.png")
    assert (read.numbers == labels).all()
    assert read == Labels(read.numbers, 0, 0, (200, 300))
    assert draw_outline(np.zeros((200, 300), np.uint8), read).size == (300, 200)


def placed(path: Path, labels: NDArray[np.uint16], place: str) -> Path:
    about = PngInfo()
    about.add_text("place", place)
    Image.fromarray(labels).save(path, pnginfo=about)
    return path


@pytest.mark.parametrize("size", [(300, 400), (3000, 4000)])
def test_a_part_is_drawn_where_it_lies(size: tuple[int, int], tmp_path: Path) -> None:
    """Line and numbers as of the whole, on small pictures and on reduced ones."""
    height, width = size
    masks = (
        disc(height, width, height * 0.3, width * 0.2, height * 0.1),
        disc(height, width, height * 0.7, width * 0.6, height * 0.2),
    )
    whole = labelled(*masks)
    rows, columns = np.nonzero(whole.numbers)
    top, left = rows.min(), columns.min()
    part = whole.numbers[top : rows.max() + 1, left : columns.max() + 1].astype(np.uint16)
    read = read_labels(placed(tmp_path / "x.png", part, f"{top} {left} {height} {width}"))
    original = np.full(size, 120, np.uint8)
    assert draw_outline(original, read) == draw_outline(original, whole)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("1 0 60 80", "does not lie at"),
        ("0 -1 60 80", "does not lie at"),
        ("0 0 59 80", "does not lie at"),
        ("0 0 60", "unpack"),
        ("", "unpack"),
        ("a b c d", "int"),
    ],
)
def test_a_part_that_does_not_lie_in_its_image_is_refused(
    place: str, why: str, tmp_path: Path
) -> None:
    path = placed(tmp_path / "x.png", np.ones((60, 80), np.uint16), place)
    with pytest.raises(ValueError, match=why):
        read_labels(path)
