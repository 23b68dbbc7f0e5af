"""File names: the path of an image says which plate, well and time it belongs to.

A name pattern is a regular expression with named groups, the convention of CellProfiler's
Metadata module, searched without regard to case in the path below the watched folder
(``/`` between its parts).  Every part of the path is optional except what the pattern asks for.

Groups:
    plate, well, name       required; `name` is the file's name
    timepoint               the frame number
    year, month, day, hour, minute, second
                            the moment of capture, in the instrument's own local time
    days, hours, minutes    the time elapsed since the plate's start (mind the plural)
    field, channel          the position within the well, and the channel

A pattern comes from the person who runs the daemon and is trusted.  One that backtracks for
ever, such as ``(a+)+$``, would stop the whole process in the middle of a match, so `check_pattern`
tries each on names made to provoke that.  In the daemon the length of a path is bounded, no more.
"""

import re
import signal
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import FrameType

from spheroidd.errors import ConfigError, ImageError
from spheroidd.intake.presets import DEFAULT_PATTERN, PRESETS, ParsedName, Preset
from spheroidd.store.paths import printable

__all__ = [
    "DEFAULT_PATTERN",
    "GROUPS",
    "PRESETS",
    "NameMismatch",
    "NamePattern",
    "ParsedName",
    "PatternError",
    "Preset",
    "check_pattern",
    "natural_key",
]

REQUIRED_GROUPS = ("plate", "well", "name")
DATE_GROUPS = ("year", "month", "day", "hour", "minute", "second")
ELAPSED_GROUPS = ("days", "hours", "minutes")
GROUPS = (*REQUIRED_GROUPS, "timepoint", *DATE_GROUPS, *ELAPSED_GROUPS, "field", "channel")

_LONGEST_PATH = 4096
_LONGEST_FRAME_NUMBER = 9  # digits; a longer run is a serial number or a date

# Names on which nested repeats try every way to share the letters among them: runs of what a
# pattern may repeat, with an end that may not match.  32: two ways to share each are four
# thousand million in all, while loose patterns without nested repeats still get through.
_RUNS = ("a", "0", "_", " ", "-", ".", "a1", "1_", "a_", "a ", "A1_", "a/", "é")
_ENDS = ("", "!", "/", "/!", ".jpg", "/A1/1.jpg", "/A1/1.jpg!\n")
_PROBES = tuple(run * 32 + end for run in _RUNS for end in _ENDS)
_PROBE_SECONDS = 2.0  # of computing, for all of them; usual patterns take a hundredth


class PatternError(ConfigError, ValueError):
    """A name pattern that can't be used; a ValueError too, so that validators may raise it."""


class NameMismatch(ImageError):  # noqa: N818  the name says what happened; it is caught as ImageError
    """The path of a file does not give a plate, a well and a possible time."""


class NamePattern:
    """A compiled name pattern.

    Args:
        text: a preset's name (see `PRESETS`) or a regular expression with named groups.

    Raises:
        PatternError: the pattern can't be used.
    """

    def __init__(self, text: str) -> None:
        preset = PRESETS.get(text.strip().lower())
        self.text = text
        self._regex = _compile(preset.pattern if preset else text)

    def parse(self, relative_path: str) -> ParsedName:
        """Read a path, relative to the watched folder and with ``/`` between its parts.

        The frame number is the `timepoint` group.  A pattern without that group gets the last
        run of digits in the file's stem instead, leaving out what other groups took and the
        well's own name: A1_011.jpg in the folder A1 is frame 11, A1.jpg is none.  A pattern
        that has the group and didn't need it for this path means that there is no number.

        Raises:
            NameMismatch: the path does not match, or what matched can't be (month 13).
        """
        if len(relative_path) > _LONGEST_PATH:
            raise self._mismatch(relative_path[:200], "its path is too long")
        match = self.matches(relative_path)
        if match is None:
            raise self._mismatch(relative_path, f"it does not match the pattern {self.text!r}")
        try:
            return _read(match)
        except (ValueError, OverflowError) as exc:
            raise self._mismatch(relative_path, str(exc)) from exc

    def matches(self, relative_path: str) -> re.Match[str] | None:
        """Where the pattern finds itself in a path, whether what it found makes sense or not."""
        return self._regex.search(relative_path)

    def _mismatch(self, path: str, reason: str) -> NameMismatch:
        return NameMismatch(
            f"{path!r} gives no plate, well and time: {reason}.",
            "`spheroidd check --names` shows what each file becomes; change `pattern` under "
            "`watch`, or move the file out of the watched folder.",
            permanent=True,
        )


def check_pattern(text: str) -> None:
    """Raise `PatternError` where `text` is neither a preset nor a usable pattern.

    Usable is what reads any name in reasonable time, tried only in the main thread, where a
    match can be interrupted.
    """
    pattern = NamePattern(text)
    tried = ""

    def try_all() -> None:
        nonlocal tried
        for tried in _PROBES:
            pattern.matches(tried)

    if not _ends_within(_PROBE_SECONDS, try_all):
        raise PatternError(
            f"The pattern {text!r} takes more than {_PROBE_SECONDS:g} s for a name such as "
            f"{tried[:20]!r}…{tried[-12:]!r}, and would stop the daemon.",
            "A repeat within a repeat, such as (a+)+, tries every way to share the letters: "
            "write one of the two.",
        )


class _OutOfTimeError(Exception):
    """Raised by a timer, in the middle of a match."""


def _ends_within(seconds: float, work: Callable[[], None]) -> bool:
    """Do some work, but no longer than this: computing time of this thread, so that a busy
    machine makes no difference.  Outside the main thread no signal comes, and it is not done.
    """
    if threading.current_thread() is not threading.main_thread():
        return True
    began = time.thread_time()

    def look_at_the_clock(_number: int, _frame: FrameType | None) -> None:
        if time.thread_time() - began > seconds:  # the timer runs for all threads together
            raise _OutOfTimeError

    before = signal.signal(signal.SIGVTALRM, look_at_the_clock)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds / 8, seconds / 8)
        work()
    except _OutOfTimeError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return True


def natural_key(text: str) -> str:
    r"""A text that sorts, byte by byte in UTF-8, as people sort names: A2 before A10.

    Each run of decimal digits, of any script, is zero-padded to 15 places; a longer number
    sorts after all of those.  The folded text follows as a tie-break, so two keys are equal
    only where the texts are equal after `str.casefold` (a1 and A1 are, A1 and A01 are not).
    Bytes that are not UTF-8 (lone surrogates) are written as ``\udcff``, a backslash doubled.
    """
    plain = text.casefold().replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()
    return re.sub(r"\d+", _padded, plain) + "\x01" + plain


def _padded(run: re.Match[str]) -> str:
    number = "".join(str(unicodedata.decimal(digit)) for digit in run[0]).lstrip("0")
    if len(number) <= 15:
        return number.zfill(15)
    # "~" sorts after every digit; then the longer number is the larger one.
    return f"~{len(number):09d}{number}"


def _compile(pattern: str) -> re.Pattern[str]:
    presets = f"Or name a preset: {', '.join(PRESETS)}."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # DOTALL: a folder's name may hold a newline, and "." has to get over it.
            regex = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    except (re.error, ValueError, OverflowError, RecursionError, Warning) as exc:
        raise PatternError(
            f"The pattern {pattern!r} is not a regular expression: {printable(str(exc))}.", presets
        ) from exc
    groups = set(regex.groupindex)
    if missing := [group for group in REQUIRED_GROUPS if group not in groups]:
        raise PatternError(
            f"The pattern {pattern!r} lacks the group{'s' * (len(missing) > 1)} "
            f"{', '.join(missing)}.",
            f"Name a part of the path with (?P<{missing[0]}>…). {presets}",
        )
    if unknown := sorted(groups - set(GROUPS)):
        raise PatternError(
            f"The pattern {pattern!r} has unknown groups: {', '.join(unknown)}.",
            f"Known are {', '.join(GROUPS)}; use (?:…) for a part that needs no name.",
        )
    dated = [group in groups for group in DATE_GROUPS]
    if any(dated) and (not all(dated[:3]) or dated != sorted(dated, reverse=True)):
        raise PatternError(
            f"The pattern {pattern!r} has an incomplete date.",
            "A date needs year, month and day, then hour, minute and second as far as known; "
            "time since the start is days, hours and minutes, with an s.",
        )
    return regex


def _read(match: re.Match[str]) -> ParsedName:
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    plate, well, name = (found.get(group, "").strip() for group in REQUIRED_GROUPS)
    for group, text in zip(REQUIRED_GROUPS, (plate, well, name), strict=True):
        if not text:
            raise ValueError(f"the {group} is blank")
    return ParsedName(
        plate=plate,
        well=well,
        name=found["name"],
        timepoint=_timepoint(match, found, well),
        field=found.get("field", "").strip() or None,
        channel=found.get("channel", "").strip() or None,
        taken_at=_taken_at(found),
        elapsed=_elapsed(found),
    )


def _timepoint(match: re.Match[str], found: Mapping[str, str], well: str) -> int | None:
    if "timepoint" in found:
        return _integer("timepoint", found["timepoint"])
    if "timepoint" in match.re.groupindex:
        return None
    path = match.string
    start = path.rfind("/") + 1
    dot = path.rfind(".")
    stem = path[start : dot if dot > start else len(path)]
    taken = [match.span(group) for group in found if group != "name"]
    taken += [(start + a, start + b) for a, b in _well_in(stem, well)]
    for run in reversed(list(re.finditer(r"\d+", stem))):
        a, b = start + run.start(), start + run.end()
        if all(b <= low or a >= high for low, high in taken):
            return int(run[0]) if len(run[0]) <= _LONGEST_FRAME_NUMBER else None
    return None


def _well_in(stem: str, well: str) -> list[tuple[int, int]]:
    """Where `stem` repeats the name of its well; A01 is A1.  Numbered wells repeat by chance."""
    if well.isdecimal():
        return []
    parts = re.fullmatch(r"(\D*[^\W\d_])0*(\d+)", well)
    token = f"{re.escape(parts[1])}0*{re.escape(parts[2])}" if parts else re.escape(well)
    alone = rf"(?<![^\W_]){token}(?![^\W_])"
    return [hit.span() for hit in re.finditer(alone, stem, re.IGNORECASE)]


def _taken_at(found: Mapping[str, str]) -> datetime | None:
    if "year" not in found:
        return None
    parts = [_integer(group, found.get(group, "0")) for group in DATE_GROUPS]
    if len(found["year"]) == 2:
        parts[0] += 2000
    try:
        return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001  local to the instrument
    except (ValueError, OverflowError) as exc:
        written = "-".join(found.get(group, "?") for group in DATE_GROUPS[:3])
        raise ValueError(f"there is no such date or time ({written}: {exc})") from exc


def _elapsed(found: Mapping[str, str]) -> timedelta | None:
    parts = {unit: _integer(unit, found[unit]) for unit in ELAPSED_GROUPS if unit in found}
    try:
        return timedelta(**parts) if parts else None
    except OverflowError as exc:
        raise ValueError(f"the elapsed time is impossible ({exc})") from exc


def _integer(group: str, text: str) -> int:
    digits = text.strip()
    if not digits.isdecimal() or len(digits) > _LONGEST_FRAME_NUMBER:
        raise ValueError(f"{group} is {digits[:40]!r}, not a number of at most 9 digits")
    return int(digits)
