"""What counts as wrong: pure decisions, with invented times."""

from dataclasses import replace
from typing import Any

import pytest

from spheroidd.alerts.rules import Examination, crash, running
from spheroidd.alerts.seen import Found, Snapshot, Timing, Wishes, names_in
from spheroidd.store.alerting import PreviousEnd
from spheroidd.store.sights import (
    Failures,
    FolderState,
    FrameTimes,
    PartState,
    PlateTimes,
    Service,
    WellEnd,
)

NOW = 1_700_000_000.0
MINUTE, HOUR = 60.0, 3600.0
DAY = 24 * HOUR
ROOT = "/data/export"

WELL = Snapshot(
    service=Service("running", NOW - 30 * DAY, NOW),
    parts=(),
    roots=frozenset({ROOT}),
    folders=(FolderState(ROOT, "", NOW - 30 * DAY, NOW - MINUTE),),
    plates=(),
    wells=(),
    failures=Failures(0, (), ""),
    raised={},
    crashes=0,
)


def look(opened: set[str] | None = None, wishes: Wishes | None = None, **seen: Any) -> Found:
    began = seen.pop("began", NOW - 30 * DAY)
    now = seen.pop("now", NOW)
    snapshot = replace(WELL, **seen)
    return Examination(snapshot, wishes or Wishes(), Timing(), opened or set(), began, now).found()


def keys(found: Found) -> set[str]:
    return {alert.key for alert in found.holding}


def frames(*, last: float, every: float, n: int = 6, late: float = 0.0) -> tuple[FrameTimes, ...]:
    """A well's frames as they are taken, each seen a minute later (`late`: a wrong clock)."""
    times = [last - (n - 1 - i) * every for i in range(n)]
    return tuple(FrameTimes(at - late, at + MINUTE, weak=False) for at in times)


def plate(last: float, every: float = 3 * HOUR, name: str = "P", **how: Any) -> PlateTimes:
    series = frames(last=last, every=every, **how)
    return PlateTimes(name, ROOT, series[-1].seen, (series,))


def copied(at: float, taken: float, every: float = 3 * HOUR, n: int = 6) -> PlateTimes:
    """Old images that came all at once."""
    series = tuple(FrameTimes(taken + i * every, at, weak=False) for i in range(n))
    return PlateTimes("P", ROOT, at, (series,))


# -- plates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours_ago", "holds"), [(0, False), (8.9, False), (9.2, True), (30, True), (34, False)]
)
def test_silence_of_three_intervals_is_told_until_the_plate_counts_as_finished(
    hours_ago: float, holds: bool
) -> None:
    found = look(plates=[plate(NOW - hours_ago * HOUR)])
    assert keys(found) == ({"images/P"} if holds else set())
    for alert in found.holding:
        assert "Either the experiment has ended" in alert.body
        assert "Usually one comes every 3 h" in alert.body
        assert not alert.urgent


def test_the_configured_silence_counts() -> None:
    half_an_hour = Wishes(no_image_minutes=30)
    assert keys(look(wishes=half_an_hour, plates=[plate(NOW - 40 * MINUTE)])) == {"images/P"}
    assert not keys(look(wishes=half_an_hour, plates=[plate(NOW - 25 * MINUTE)]))


def test_slow_plates_have_a_longer_day() -> None:
    every_two_days = plate(NOW - 3 * DAY, every=2 * DAY)
    assert not keys(look(plates=[every_two_days]))
    assert keys(look(plates=[plate(NOW - 7 * DAY, every=2 * DAY)])) == {"images/P"}
    assert not keys(look(plates=[plate(NOW - 13 * DAY, every=2 * DAY)]))


def test_a_first_frame_alone_is_waited_for_a_day() -> None:
    one = plate(NOW - 23 * HOUR, n=1)
    assert not keys(look(plates=[one]))
    assert keys(look(plates=[plate(NOW - 25 * HOUR, n=1)])) == {"images/P"}


def test_old_images_that_were_copied_alarm_nobody() -> None:
    year_ago = NOW - 365 * DAY
    for hours in (1, 10, 26, 40):
        there = [copied(NOW - hours * HOUR, year_ago)]
        assert not keys(look(plates=there)), hours
        assert running(there, Wishes(), NOW) == []
    # Without their dates: the copy's own times are seconds apart.
    series = tuple(FrameTimes(NOW - 5 * HOUR + i, NOW - 5 * HOUR + i, weak=True) for i in range(9))
    assert not keys(look(plates=[PlateTimes("P", ROOT, NOW - 5 * HOUR, (series,))]))


@pytest.mark.parametrize("late", [10 * HOUR, 400 * DAY, -400 * DAY])
def test_an_instrument_whose_clock_is_wrong_is_watched_all_the_same(late: float) -> None:
    assert keys(look(plates=[plate(NOW - 10 * HOUR, late=late)])) == {"images/P"}


def test_frames_that_come_late_together_are_still_an_experiment() -> None:
    """The network was down over night; the instrument stops in the morning."""
    there = copied(NOW - 10 * HOUR, NOW - 28 * HOUR)
    assert keys(look(plates=[there])) == {"images/P"}


def test_without_a_look_at_the_folder_nobody_knows() -> None:
    silent = [plate(NOW - 12 * HOUR)]
    for folder in (
        FolderState(ROOT, "gone", NOW - HOUR, NOW - HOUR),  # the folder itself is told of
        FolderState(ROOT, "", NOW - DAY, NOW - 31 * DAY),  # not looked through since the start
        FolderState(ROOT, "", NOW - 30, NOW),  # it came back this minute
    ):
        for opened in (set[str](), {"images/P"}):
            found = look(opened, plates=silent, folders=[folder])
            assert "images/P" not in keys(found)
            assert "images/P" in found.undecided
    just_begun = look(plates=silent, began=NOW - 30)
    assert not keys(just_begun)


def test_an_ended_experiment_ends_without_a_word_and_new_images_with_one() -> None:
    opened = {"images/P"}
    for gone in ([plate(NOW - 40 * HOUR)], [], [copied(NOW - 30 * HOUR, NOW - 90 * DAY)]):
        found = look(opened, plates=gone)
        assert not found.holding
        assert found.quietly == opened
    back = look(opened, plates=[plate(NOW - HOUR)])
    assert not back.holding
    assert not back.quietly


def test_a_folder_that_is_not_watched_any_more_is_nobodys_business() -> None:
    there = replace(plate(NOW - 10 * HOUR), root="/old")
    old = FolderState("/old", "gone", NOW - DAY)
    found = look({"images/P", "folder//old"}, plates=[there], folders=[*WELL.folders, old])
    assert not found.holding
    assert found.quietly == {"images/P", "folder//old"}


# -- wells ------------------------------------------------------------------------------------

FLAGGED = (("low_focus",), ("low_focus", "area_jump"), ("low_focus",))


def well(*flags: tuple[str, ...] | None, **said: bool) -> WellEnd:
    return WellEnd("P/1", "A1", flags, said.get("pending", False), said.get("empty", False))


def test_a_well_flagged_k_times_in_a_row_is_told_with_its_flags() -> None:
    found = look(wells=[well(*FLAGGED)])
    [alert] = found.holding
    assert alert.key == "flags/P%2F1/A1"
    assert names_in(alert.key) == ["P/1", "A1"]
    assert alert.title == "P/1, well A1: flagged 3 times in a row"
    assert "low_focus (3 ×), area_jump (1 ×)" in alert.body
    assert keys(look(wells=[well(*FLAGGED[:2])], wishes=Wishes(flagged_in_a_row=2)))


@pytest.mark.parametrize(
    "end",
    [
        well(*FLAGGED[:2]),  # too few frames
        well((), *FLAGGED),  # the last one is fine again
        well(("low_focus",), (), ("low_focus",)),
        well(None, *FLAGGED),  # settled or excluded by a person
        well(("no_spheroid",), ("no_spheroid",), ("no_spheroid",), empty=True),
    ],
)
def test_a_well_that_is_fine_settled_or_empty_from_the_start_is_not(end: WellEnd) -> None:
    assert not look(wells=[end]).holding


def test_a_spheroid_that_is_lost_is_told() -> None:
    assert keys(look(wells=[well(*[("no_spheroid",)] * 3)]))


def test_while_a_well_is_judged_its_alert_stays_as_it_is() -> None:
    key = "flags/P%2F1/A1"
    for opened in (set[str](), {key}):
        found = look(opened, wells=[well((), *FLAGGED, pending=True)])
        assert not found.holding
        assert found.undecided == {key}


def test_a_reviewed_well_ends_without_a_word_and_a_mended_one_with_one() -> None:
    key = "flags/P%2F1/A1"
    assert look({key}, wells=[well(None, *FLAGGED)]).quietly == {key}
    assert look({key}, wells=[]).quietly == {key}  # its plate has ended
    assert look({key}, wells=[well((), *FLAGGED)]).quietly == frozenset()


# -- folders and parts --------------------------------------------------------------------------


def test_a_blink_of_a_folder_or_of_the_engine_is_silent() -> None:
    for seconds, holds in ((60, False), (130, True)):
        since = NOW - seconds
        found = look(
            folders=[FolderState(ROOT, "not mounted", since)],
            parts=[PartState("engine", "the worker dies", since, "see the log", urgent=True)],
        )
        assert keys(found) == ({f"folder/{ROOT}", "engine"} if holds else set())
    engine, folder = found.holding
    assert (engine.key, engine.urgent, engine.title) == (
        "engine", True, "CellProfiler doesn't work",
    )  # fmt: skip
    assert "see the log" in engine.body
    assert "Nothing is measured meanwhile" in engine.body
    assert "not mounted" in folder.body


def test_a_lost_accelerator_is_urgent_though_work_goes_on() -> None:
    lost = PartState("accelerator", "accelerator lost since 12:00", NOW - 20, "See `nvidia-smi`.")
    [alert] = look(parts=[lost]).holding
    assert alert.urgent, "told at once, by night too"
    assert alert.title == "The accelerator is lost"
    assert "Measuring goes on without it, on the CPU" in alert.body
    assert "Nothing is measured" not in alert.body
    [other] = look(parts=[PartState("part judge", "it fails", NOW - HOUR)]).holding
    assert not other.urgent
    assert "measured meanwhile" not in other.body


def test_a_part_that_there_is_no_more_has_not_become_well() -> None:
    opened = {"part intake /data/old", "backup", "disk", "failures", "crashes"}
    found = look(opened, parts=[PartState("disk", "", NOW - HOUR)])
    assert not found.holding
    assert found.quietly == {"part intake /data/old", "backup"}


def test_what_an_older_daemon_left_behind_is_given_time_to_be_rewritten() -> None:
    old = [PartState("disk", "full", NOW - DAY, urgent=True)]
    assert not look(parts=old, began=NOW - 5).holding
    assert keys(look(parts=old, began=NOW - 20)) == {"disk"}
    assert keys(look({"disk"}, parts=old, began=NOW - 5)) == {"disk"}


def test_any_part_is_told_and_named() -> None:
    found = look(parts=[PartState("clock", "it jumps", NOW - HOUR, "mend ntp")])
    [alert] = found.holding
    assert alert.title == "clock: it jumps"
    assert "mend ntp" in alert.body
    assert not alert.urgent


def test_what_comes_and_goes_must_be_well_for_longer_each_time() -> None:
    key = f"folder/{ROOT}"

    def still_open(well_for: float, times: int) -> bool:
        back = [FolderState(ROOT, "", NOW - well_for, NOW)]
        return key in look({key}, folders=back, raised={key: times}).undecided

    assert still_open(100, 1)
    assert not still_open(130, 1)
    assert still_open(130, 2)
    assert still_open(1900, 5)
    assert not still_open(2000, 5)
    assert not still_open(7300, 50)


def test_failures_above_the_rate_are_told_with_their_reasons() -> None:
    ten = Failures(10, (("torn", 9), ("no such well", 1)), "/data/export/P/A1/7.jpg")
    [alert] = look(failures=ten).holding
    assert alert.title == "10 images failed within an hour"
    assert "9 ×: torn" in alert.body
    assert "/data/export/P/A1/7.jpg" in alert.body
    assert not look(failures=replace(ten, images=9)).holding
    assert keys(look({"failures"}, failures=replace(ten, images=6)))
    assert not look({"failures"}, failures=replace(ten, images=5)).holding
    one = Wishes(failures_per_hour=1)
    assert keys(look(failures=replace(ten, images=1), wishes=one))
    assert not look({"failures"}, failures=Failures(0, (), ""), wishes=one).holding


def test_a_crash_is_told_in_words_and_a_loop_of_them_is_urgent() -> None:
    killed = crash(PreviousEnd(NOW - 8000), NOW)
    assert killed.title == "spheroidd runs again; it was away for 2 h 13 min"
    assert "It was killed, or the machine went down" in killed.body
    assert "out of memory" in crash(PreviousEnd(NOW - 80, "out of memory"), NOW).body
    assert not look(crashes=2).holding
    [loop] = look(crashes=3).holding
    assert loop.urgent
    assert loop.title == "spheroidd keeps crashing: 3 times within an hour"


def test_titles_fit_on_a_phone() -> None:
    long = "Plate with a name that somebody thought of for a long time \x07 2026"
    found = look(
        plates=[replace(plate(NOW - 10 * HOUR), plate=long)],
        wells=[replace(well(*FLAGGED), plate=long, well=long)],
        folders=[*WELL.folders, FolderState("/x" * 90, "gone", NOW - HOUR)],
        roots={ROOT, "/x" * 90},
        parts=[PartState("part intake /e", "x" * 200, NOW - HOUR)],
    )
    assert len(found.holding) == 4
    for alert in found.holding:
        assert len(alert.title) <= 70
        assert alert.title.isprintable()
    assert long.replace("\x07", "\\x07") in found.holding[-1].body
