"""Any path, with any pattern: a plate, a well and a time, or an ImageError; never more."""

import os
import time
from datetime import UTC
from pathlib import Path

import pytest
from hardness import examples
from hypothesis import example, given
from hypothesis import strategies as st

from spheroidd.errors import ConfigError, ImageError
from spheroidd.intake.capture import capture_time
from spheroidd.intake.naming import PRESETS, NamePattern, PatternError, check_pattern, natural_key
from spheroidd.store.folder import StateFolder
from spheroidd.store.paths import printable, to_real, to_stored

ODD_PATTERNS = [
    r"(?P<plate>.*)(?P<well>.*)(?P<name>.*)",
    r"(?P<name>(?P<well>(?P<plate>.)?)?)?",
    r"(?P<plate>x)?(?P<well>y)?(?P<name>.+)?",
    r"(?P<plate>.)(?P<well>.)(?P<name>.+)(?P<timepoint>.+)(?P<field>.)?(?P<channel>.)?",
    r"(?P<plate>.)(?P<well>.)(?P<name>.)(?P<year>.+)-(?P<month>.+)-(?P<day>.+)",
    r"(?P<plate>.)(?P<well>.)(?P<name>.)(?P<days>.+)?(?P<hours>.+)(?P<minutes>.+)",
    r"(?P<plate>\w+)(?P<well>\d+|\D+)/?(?P<name>\s*)(?P<timepoint>\w*)",
]
# Letters that names are made of, and letters that trip whoever reads them.
LETTERS = st.one_of(
    st.sampled_from("AH19_-. /\\0dhmyTZwst\n\x85\u2028²٣९߈\u202e\ufeff\udc80\udcff\uf7ff~%$\0"),
    st.characters(),
)
PATHS = st.one_of(
    st.text(LETTERS, max_size=60),
    st.lists(st.text(LETTERS, max_size=20), min_size=2, max_size=6).map("/".join),
    st.binary(max_size=60).map(os.fsdecode),
)
KNOWN = [path for preset in PRESETS.values() for path, _ in preset.examples]


@st.composite
def nearly_known(draw: st.DrawFn) -> str:
    """An instrument's own path with something done to it."""
    path = draw(st.sampled_from(KNOWN))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(path)))
        end = draw(st.integers(start, min(len(path), start + 6)))
        path = path[:start] + draw(st.text(LETTERS, max_size=6)) + path[end:]
    return path


@given(
    pattern=st.sampled_from([*PRESETS, *ODD_PATTERNS]).map(NamePattern),
    path=PATHS | nearly_known(),
    mtime=st.floats(allow_nan=False) | st.integers(-(2**63), 2**63).map(float),
    interval=st.none() | st.floats(),
)
@examples(600)
def test_any_path_is_read_or_refused(
    pattern: NamePattern, path: str, mtime: float, interval: float | None
) -> None:
    stored = to_stored(path)
    try:
        parsed = pattern.parse(stored)
        captured = capture_time(parsed, mtime=mtime, interval_minutes=interval, zone=UTC)
    except ImageError as error:
        assert str(error).isprintable()
        return
    assert captured.at.utcoffset() is not None
    assert all(text.strip() for text in (parsed.plate, parsed.well, parsed.name))
    assert printable(parsed.plate).isprintable()
    natural_key(parsed.well).encode()  # SQLite can hold it
    place = StateFolder(Path("/state")).image(parsed.plate, parsed.well, parsed.name, 7, "mask")
    assert is_inside(place)


def is_inside(place: Path) -> bool:
    """Relative, without a way up, and each part short enough for a file system."""
    parts = place.parts
    return not place.is_absolute() and ".." not in parts and all(len(p) <= 200 for p in parts)


PIECES = st.sampled_from(
    [
        *("(?P<plate>", "(?P<well>", "(?P<name>", "(?P<year>", "(?P<hours>", "(?P<x>", "(?:", "("),
        *(")", ")", ")", "+", "*", "?", "{2}", "{,9}", "{99999}", "|", "^", "$", "[^/]", "[", "]"),
        *("\\d", "\\w", "\\", "\\1", "\\g<1>", "(?P=plate)", "(?i)", "(?a)", "(?u)", "(?L)"),
        *("(?<=", "(?!", "(?(1)", "(?#", ".", "/", "-", "a", "\udcff", "\0", "İ", "(?x) "),
    ]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
COMPLETE = st.tuples(TEXTS, TEXTS, TEXTS).map(
    lambda inner: "(?P<plate>{}.)/(?P<well>{}.)/(?P<name>{}.)".format(*inner)
)


@given(text=TEXTS | COMPLETE | st.text(max_size=30))
@example("[\udcff-(?P<plate>")
@examples(400)
def test_any_pattern_is_compiled_or_refused_in_words(text: str) -> None:
    try:
        NamePattern(text)
    except PatternError as error:
        assert isinstance(error, ConfigError)
        str(error).encode()
        assert len(str(error)) < 2000


ENDLESS = [
    r"(?P<plate>(?:\w+\s?)*)/(?P<well>x)/(?P<name>.*)",
    r"(?P<plate>([^/_]+_?)+)/(?P<well>[A-H]\d+)/(?P<name>[^/]+)$",
]
LOOSE = [
    r"(?P<plate>.+)_(?P<well>.+)_(?P<name>.+)_(?P<timepoint>\d+)\.jpg$",
    r"(?P<plate>.+)/.*(?P<well>[A-H]\d+).*/.*(?P<name>.+)_(?P<timepoint>\d+)\.jpg$",
]


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_pattern_that_never_ends_is_refused_before_it_stops_the_daemon(pattern: str) -> None:
    began = time.thread_time()
    with pytest.raises(PatternError, match="would stop the daemon"):
        check_pattern(pattern)
    assert time.thread_time() - began < 10


@pytest.mark.parametrize("pattern", [*PRESETS, *LOOSE])
def test_a_pattern_that_is_merely_loose_is_not(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("run", ["A1_", "1_", "a/", "TimePoint_1/"])
def test_the_longest_of_paths_takes_a_moment(preset: str, run: str) -> None:
    path = (run * 4096)[:4090]
    pattern = NamePattern(preset)
    began = time.thread_time()
    for end in ("", "!", "/x.jpg", ".jpg"):
        try:
            pattern.parse(path + end)
        except ImageError:
            continue
    assert time.thread_time() - began < 20


# -- where things are put ------------------------------------------------------------------------

NAMES = PATHS | st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "../../etc",
        "..%2f",
        "a/../..",
        "-rf",
        "\0",
        "~",
        "CON",
        "A" * 4000,
        "é" * 300,
    ]
)


@given(plate=NAMES, well=NAMES, name=NAMES, run=st.none() | st.integers(1, 10**9))
@examples(400)
def test_no_name_leads_out_of_the_state_folder(
    plate: str, well: str, name: str, run: int | None
) -> None:
    state = StateFolder(Path("/state"))
    picture = state.image(plate, well, name, 2**62, "white", run)
    for place in (picture, state.well(plate, well), state.plate(plate), state.batch(plate, 10**9)):
        assert is_inside(place)
        assert place.as_posix().isprintable()
    assert picture.is_relative_to(state.well(plate, well))
    assert Path(os.path.normpath(state.again(plate))).parent == Path("/state/tmp/again")
    temporary = f".{picture.name}.{2**22}.part"
    assert len(os.fsencode(temporary)) <= 255


@given(one=NAMES, other=NAMES, well=NAMES, name=NAMES)
@examples(300)
def test_two_images_never_share_a_picture_even_where_case_does_not_count(
    one: str, other: str, well: str, name: str
) -> None:
    """A state folder on a disk that takes P and p for one: the image's number keeps them apart."""
    state = StateFolder(Path("/state"))
    first, second = (
        state.image(plate, well, name, number, "mask").as_posix().casefold()
        for number, plate in ((7, one), (8, other))
    )
    assert first != second
    assert state.batch(one, 7) != state.batch(other, 8)


@given(name=st.binary(min_size=1, max_size=80).filter(lambda name: b"\0" not in name))
@examples(300)
def test_stored_paths_come_back_byte_by_byte(name: bytes) -> None:
    stored = to_stored(os.fsdecode(name))
    assert stored.encode("utf-8").decode("utf-8") == stored
    assert os.fsencode(to_real(stored)) == name


@given(one=st.binary(max_size=30), other=st.binary(max_size=30))
@examples(200)
def test_different_names_are_stored_differently(one: bytes, other: bytes) -> None:
    same = to_stored(os.fsdecode(one)) == to_stored(os.fsdecode(other))
    assert same == (one == other)


@pytest.mark.parametrize("name", ["\uf7ff", "\uf780x", "\ud83e", "a\uf79e\udc80"])
def test_private_characters_are_bytes_like_any_other(name: str) -> None:
    raw = name.encode("utf-8", "surrogatepass")
    assert os.fsencode(to_real(to_stored(os.fsdecode(raw)))) == raw
