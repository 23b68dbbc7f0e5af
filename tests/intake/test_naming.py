"""Paths become plate, well and time, or a reason why not."""

import sqlite3
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.errors import ConfigError, ImageError
from spheroidd.intake.naming import (
    DEFAULT_PATTERN,
    PRESETS,
    NameMismatch,
    NamePattern,
    PatternError,
    check_pattern,
    natural_key,
)

# Times without a zone, as instruments write them.
local = datetime.fromisoformat


@pytest.mark.parametrize(
    ("preset", "path", "expected"),
    [(name, *example) for name, preset in PRESETS.items() for example in preset.examples],
)
def test_presets_read_their_examples(preset, path, expected):
    assert NamePattern(preset).parse(path) == expected


@pytest.mark.parametrize(
    ("preset", "path"),
    [
        ("cell-iq", "A1/A1_001.jpg"),
        ("cell-iq", "A1_001.jpg"),
        ("incucyte", "VID1335_A7_1.jpg"),
        ("incucyte", "VID1335/A7/00d05h00m.jpg"),
        ("cytation", "F2_03_1_1Z1_Bright Field_002.tif"),
        ("imagexpress", "TimePoint_3/A01_s1_w1.tif"),
        ("imagexpress", "P/TimePoint_3/A01_s1_w1_thumb.tif"),
        ("imagexpress", "P/TimePoint_3/ZStep_2/A01_s1_w1.tif"),
    ],
)
def test_presets_leave_other_paths(preset, path):
    with pytest.raises(NameMismatch, match=r"check --names"):
        NamePattern(preset).parse(path)


def test_presets_without_a_time_point_have_no_frame_number():
    plain = NamePattern("imagexpress").parse(
        "P 12/Exp3_A01_s1_w1CE70AD49-290D-4312-82E6-CDC717F32637.tif"
    )
    assert (plain.plate, plain.well, plain.channel, plain.timepoint) == ("P 12", "A01", "1", None)
    single = NamePattern("cytation").parse("P/B1_02_1_1_GFP_-001.tif")
    assert (single.channel, single.timepoint) == ("GFP", None)
    assert NamePattern("incucyte").parse("VID1335_A7_1_00d05h00m.jpg").timepoint is None


@pytest.mark.parametrize(
    ("path", "timepoint"),
    [
        ("P/A1/A1_011.jpg", 11),
        ("P/A1/A1.jpg", None),
        ("P/A1/a01.JPG", None),
        ("P/A1/t011_A1.jpg", 11),
        ("P/A1/d3.jpg", 3),
        ("P/A1/image.jpg", None),
        ("P/A1/A1_011", 11),
        ("P/A1/.hidden7", 7),
        ("P/3/img_3.jpg", 3),
        ("P/A1/x_20230830160900.jpg", None),
        ("P/A1/" + "9" * 3000 + ".jpg", None),
        ("P/A1/A1_٠١٢.jpg", 12),
        ("P/A1/5.2.jpg", 2),
        ("P/A1_2/A1_2_7.jpg", 7),
    ],
)
def test_the_frame_number_is_the_last_run_of_digits(path, timepoint):
    assert NamePattern(DEFAULT_PATTERN).parse(path).timepoint == timepoint


def test_odd_characters_stay_in_their_part_of_the_path():
    name = NamePattern(DEFAULT_PATTERN).parse('P,\n"1"/a\nb/ A 1 /it\'s\n1.jpg')
    assert (name.plate, name.well, name.name) == ('P,\n"1"', "A 1", "it's\n1.jpg")


def test_case_does_not_matter():
    assert NamePattern("INCUCYTE").parse("v_a7_1_00D05H00M.JPG").well == "a7"


def test_dates():
    pattern = NamePattern(
        r"(?P<plate>\w+)_(?P<well>\w\d)_(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)"
        r"(?: (?P<hour>\d+)\.(?P<minute>\d+))?(?P<name>.*)$"
    )
    assert pattern.parse("p_A1_23-08-30 16.09.jpg").taken_at == local("2023-08-30 16:09")
    assert pattern.parse("p_A1_2023-08-30.jpg").taken_at == local("2023-08-30 00:00")
    assert pattern.parse("p_A1_2023-08-30.jpg").timepoint is None
    for impossible in ("2023-13-01", "2023-02-29", "0-1-1", "2023-08-30 25.00"):
        with pytest.raises(NameMismatch, match=r"no such date") as caught:
            pattern.parse(f"p_A1_{impossible}.jpg")
        assert caught.value.permanent


def test_elapsed_time_may_pass_a_day_or_be_impossible():
    incucyte = NamePattern("incucyte")
    assert incucyte.parse("v_A1_1_0d130h1m.jpg").elapsed == timedelta(hours=130, minutes=1)
    with pytest.raises(NameMismatch, match="elapsed time is impossible"):
        incucyte.parse("v_A1_1_999999999d99h00m.jpg")
    with pytest.raises(NameMismatch, match="at most 9 digits"):
        incucyte.parse("v_A1_1_99999999999d00h00m.jpg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("P/ /x.jpg", "the well is blank"),
        (" /A1/x.jpg", "the plate is blank"),
        ("x.jpg", "does not match the pattern"),
        ("P/A1/" + "x" * 5000, "too long"),
    ],
)
def test_mismatches_say_why_and_what_to_do(path, reason):
    with pytest.raises(NameMismatch, match=reason) as caught:
        NamePattern(DEFAULT_PATTERN).parse(path)
    assert isinstance(caught.value, ImageError)
    assert caught.value.permanent
    assert "spheroidd check --names" in caught.value.hint


def test_messages_can_be_printed():
    with pytest.raises(NameMismatch) as caught:
        NamePattern(DEFAULT_PATTERN).parse("bad\nname\udcff.jpg")
    str(caught.value).encode("utf-8")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "not a regular expression"),
        ("(?P<plate>x{99999999999})", "not a regular expression"),
        ("[[a](?P<plate>.)(?P<well>.)(?P<name>.)", "not a regular expression"),
        ("(?P<plate>.)/(?P<name>.)", "lacks the group well"),
        ("incucite", "incucyte"),
        ("(?P<plate>.)(?P<well>.)(?P<name>.)(?P<wel>.)", "unknown groups: wel"),
        ("(?P<plate>.)(?P<well>.)(?P<name>.)(?P<year>.)", "incomplete date"),
        (
            "(?P<plate>.)(?P<well>.)(?P<name>.)(?P<year>.)(?P<month>.)(?P<day>.)(?P<minute>.)",
            "incomplete date",
        ),
        ("(?P<plate>.)(?P<well>.)(?P<name>.)(?P<hour>.)(?P<minute>.)", "hours and minutes"),
    ],
)
def test_bad_patterns_are_refused(pattern, said):
    with pytest.raises(PatternError, match=said) as caught:
        check_pattern(pattern)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


@given(st.text(max_size=40), st.sampled_from([*PRESETS]))
def test_any_path_is_read_or_refused(path, preset):
    pattern = NamePattern(preset)
    for candidate in (path, f"P/{path}/A1_1.jpg", f"P/A1/{path}", f"v_A1_1_{path}d1h1m.jpg"):
        try:
            assert pattern.parse(candidate).plate.strip()
        except NameMismatch as error:
            assert str(error).isprintable()


def test_natural_order():
    ordered = [
        "", "A1", "A01", "A2", "A2b", "A10", "A999999999999999", "A1000000000000000",
        "A" + "9" * 5000, "B1", "d3", "d10", "d10 (2)", "d10 (10)",
    ]  # fmt: skip
    keys = [natural_key(text) for text in ordered]
    by_sqlite = [
        row[0]
        for row in sqlite3.connect(":memory:").execute(
            f"SELECT column1 FROM (VALUES {', '.join('(?)' for _ in keys)}) ORDER BY column1", keys
        )
    ]
    by_bytes = sorted(keys, key=lambda key: key.encode())
    assert by_sqlite == by_bytes
    expected = ["", "A01", "A1", *ordered[3:]]
    assert by_bytes == [natural_key(text) for text in expected]


def test_natural_order_knows_digits_of_any_script():
    assert natural_key("A٢") < natural_key("A10") < natural_key("A١١")


@given(st.text(), st.text())
def test_natural_keys_are_equal_only_for_equal_texts(one, other):
    assert (natural_key(one) == natural_key(other)) == (one.casefold() == other.casefold())


@given(st.text(alphabet="ab01 ٣\\\x01\udcff\ud800"), st.text(alphabet="ab01 ٣\\\x01\udcff\ud800"))
def test_natural_keys_of_nasty_texts_differ_and_can_be_stored(one, other):
    assert (natural_key(one) == natural_key(other)) == (one == other)
    natural_key(one).encode("utf-8")


@given(st.integers(0, 10**40), st.integers(0, 10**40), st.sampled_from(["", "A", "x_", "9 "]))
def test_natural_keys_order_numbers(one, other, before):
    smaller, larger = sorted((one, other))
    assert natural_key(f"{before}{smaller}") <= natural_key(f"{before}{larger}")
