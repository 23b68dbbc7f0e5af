"""The best witness decides when an image was captured."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.errors import ImageError
from spheroidd.intake.capture import CapturedAt, capture_time
from spheroidd.intake.naming import ParsedName

# Times without a zone, as instruments write them.
local = datetime.fromisoformat

HELSINKI = ZoneInfo("Europe/Helsinki")
MTIME = datetime(2024, 5, 7, 12, tzinfo=UTC)
START = datetime(2024, 5, 1, 6, tzinfo=UTC)


def name(**known):
    return ParsedName("P", "A1", "A1_004.jpg", **known)


def decide(parsed, **more):
    return capture_time(parsed, mtime=MTIME.timestamp(), zone=HELSINKI, **more)


def test_the_order_of_witnesses():
    taken, meta = local("2024-01-02 03:04"), local("2024-07-01 12:00")
    rest = {"metadata_time": meta, "interval_minutes": 30, "origin": START}
    everything = name(taken_at=taken, elapsed=timedelta(hours=5), timepoint=4)
    assert decide(everything, **rest) == CapturedAt(datetime(2024, 1, 2, 1, 4, tzinfo=UTC), "name")
    assert decide(name(elapsed=timedelta(hours=5), timepoint=4), **rest) == CapturedAt(
        START + timedelta(hours=5), "elapsed", START
    )
    assert decide(name(timepoint=4), **rest) == CapturedAt(
        datetime(2024, 7, 1, 9, tzinfo=UTC), "metadata"
    )
    assert decide(name(timepoint=4), interval_minutes=30, origin=START) == CapturedAt(
        START + timedelta(hours=2), "interval", START
    )
    assert decide(name(timepoint=4), origin=START) == CapturedAt(MTIME, "mtime")
    assert decide(name(), interval_minutes=30) == CapturedAt(MTIME, "mtime")


def test_a_plate_without_an_origin_gets_one_that_fits_the_mtime():
    first = decide(name(elapsed=timedelta(hours=5)))
    assert first == CapturedAt(MTIME, "elapsed", MTIME - timedelta(hours=5))
    frame = decide(name(timepoint=3), interval_minutes=20)
    assert frame == CapturedAt(MTIME, "interval", MTIME - timedelta(hours=1))
    # Another file of the plate, modified at any time, keeps its distance.
    later = capture_time(name(elapsed=timedelta(hours=9)), mtime=0, origin=first.origin)
    assert later.at - first.at == timedelta(hours=4)
    assert later.origin == first.origin


def test_results_are_in_utc():
    odd = timezone(timedelta(hours=3))
    aware = datetime(2024, 7, 1, 12, tzinfo=odd)
    assert decide(name(), metadata_time=aware).at.tzinfo is UTC
    counted = decide(name(elapsed=timedelta(0)), origin=aware)
    assert counted.at == aware
    assert (counted.at.tzinfo, counted.origin.tzinfo) == (UTC, UTC)


def test_summer_time():
    repeated = decide(name(taken_at=local("2023-10-29 03:30")))
    assert repeated.at == datetime(2023, 10, 29, 0, 30, tzinfo=UTC)
    missing = decide(name(taken_at=local("2023-03-26 03:30")))
    assert missing.at == datetime(2023, 3, 26, 1, 30, tzinfo=UTC)


def test_the_default_zone_is_the_machine_s():
    naive = local("2024-01-02 03:04")
    assert capture_time(name(taken_at=naive), mtime=0).at == naive.astimezone(UTC)


@pytest.mark.parametrize(
    ("parsed", "more"),
    [
        (name(taken_at=local("0001-01-01 00:00")), {}),
        (name(taken_at=local("9999-12-31 23:59")), {"zone": timezone(timedelta(hours=-9))}),
        (name(elapsed=timedelta(days=99_999_999)), {}),
        (name(elapsed=timedelta(days=99_999_999)), {"origin": START}),
        (name(timepoint=999_999_999), {"interval_minutes": 1e9}),
        (name(timepoint=999_999_999), {"interval_minutes": 1e300}),
        (name(timepoint=1), {"interval_minutes": float("nan")}),
        (name(), {"metadata_time": local("0001-01-01 00:00")}),
    ],
)
def test_impossible_times_are_told_in_words(parsed, more):
    with pytest.raises(ImageError, match="The time of capture can't be") as caught:
        capture_time(parsed, **{"mtime": MTIME.timestamp(), "zone": HELSINKI, **more})
    assert caught.value.permanent
    assert "interval_minutes" in caught.value.hint


@pytest.mark.parametrize("mtime", [1e18, -1e18, float("inf"), float("nan")])
def test_an_impossible_mtime_can_be_mended(mtime):
    with pytest.raises(ImageError, match="time of modification") as caught:
        capture_time(name(), mtime=mtime)
    assert not caught.value.permanent


@given(
    st.one_of(st.none(), st.datetimes()),
    st.one_of(st.none(), st.timedeltas()),
    st.one_of(st.none(), st.datetimes()),
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.one_of(st.none(), st.floats()),
    st.floats(),
)
def test_nothing_but_a_time_in_utc_or_an_image_error(taken, elapsed, meta, frame, interval, mtime):
    parsed = name(taken_at=taken, elapsed=elapsed, timepoint=frame)
    try:
        captured = capture_time(
            parsed, mtime=mtime, metadata_time=meta, interval_minutes=interval, zone=HELSINKI
        )
    except ImageError:
        return
    assert captured.at.utcoffset() == timedelta(0)
    assert (captured.origin is not None) == (captured.source in ("elapsed", "interval"))
