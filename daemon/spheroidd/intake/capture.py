"""When was an image captured?  The best witness that there is decides, and is named."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, TypeVar

from spheroidd.errors import ImageError
from spheroidd.intake.naming import ParsedName

TimeSource = Literal["name", "elapsed", "metadata", "interval", "mtime"]

_T = TypeVar("_T", datetime, timedelta)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS_APART_SECONDS = 300.0  # the instrument's clock and the file server's


@dataclass(frozen=True)
class CapturedAt:
    """The time of capture.

    `at` is in UTC and `source` says where it is from.  `origin` is the plate's start (t = 0, in
    UTC) that `at` was counted from, for the caller to store with the plate; None where the time
    did not need one.
    """

    at: datetime
    source: TimeSource
    origin: datetime | None = None


def capture_time(
    name: ParsedName,
    *,
    mtime: float,
    metadata_time: datetime | None = None,
    interval_minutes: float | None = None,
    origin: datetime | None = None,
    zone: tzinfo | None = None,
) -> CapturedAt:
    """Decide on the time of capture, from the best source to the worst.

    1. the date and time in the name;
    2. the elapsed time in the name, counted from `origin`;
    3. the time in the file's own metadata (TIFF or EXIF);
    4. frame number × `interval_minutes`, counted from `origin`;
    5. the file's mtime.

    A plate without a stored `origin` gets one: the start that makes this file's mtime its time
    of capture.  Pass it again for every other image of the plate, or their hours drift apart.

    Times without a zone are local: in `zone`, else in this machine's zone.  In the hour that
    a change from summer time repeats, the first of the two is taken, unless the file was
    written within an hour of the second; a time inside the hour that is left out in spring is
    read with the offset in force before it.

    Args:
        name: what the path says.
        mtime: the file's time of modification, in seconds since 1970 (UTC).
        metadata_time: the time in the file; naive (local) or with its own zone.
        interval_minutes: the time between frames.
        origin: the plate's start, with a zone.
        zone: the instrument's zone.

    Raises:
        ImageError: a date that no calendar holds (permanent, unless it is from the mtime).
    """
    if name.taken_at is not None:
        return CapturedAt(_local(name.taken_at, zone, mtime, "the name"), "name")
    if name.elapsed is not None:
        return _counted(name.elapsed, "elapsed", mtime, origin)
    if metadata_time is not None:
        at = _local(metadata_time, zone, mtime, "the file's metadata")
        return CapturedAt(at, "metadata")
    if name.timepoint is not None and interval_minutes is not None:
        frame, minutes = name.timepoint, interval_minutes
        offset = _possible(
            lambda: timedelta(minutes=frame * minutes), f"frame {frame} × {minutes} minutes"
        )
        return _counted(offset, "interval", mtime, origin)
    return CapturedAt(_modified(mtime), "mtime")


def _counted(
    offset: timedelta, source: TimeSource, mtime: float, origin: datetime | None
) -> CapturedAt:
    said = f"{offset.total_seconds() / 3600:.0f} hours since the plate's start"
    start = origin
    if start is None:
        start = _possible(lambda: _modified(mtime) - offset, said)
    start = _in_utc(start, UTC, "the plate's start")
    return CapturedAt(_possible(lambda: start + offset, said), source, start)


def _modified(mtime: float) -> datetime:
    return _possible(
        lambda: _EPOCH + timedelta(seconds=mtime),
        f"the file's time of modification ({mtime} s)",
        permanent=False,
    )


def _local(moment: datetime, zone: tzinfo | None, mtime: float, said: str) -> datetime:
    """The moment in UTC; in the hour that autumn repeats, the file's own date decides which.

    Copies keep that date or have a much later one, which says nothing.
    """
    first = _in_utc(moment, zone, said)
    if moment.tzinfo is not None:
        return first
    second = _in_utc(moment.replace(fold=1), zone, said)
    written = mtime - (second - _EPOCH).total_seconds()
    repeated = first < second and -_CLOCKS_APART_SECONDS <= written <= 3600
    return second if repeated else first


def _in_utc(moment: datetime, zone: tzinfo | None, said: str) -> datetime:
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return _possible(lambda: moment.astimezone(UTC), f"{moment.isoformat()} from {said}")


def _possible(make: Callable[[], _T], said: str, *, permanent: bool = True) -> _T:
    """What `make` returns, or an `ImageError` where the calendar has no such time."""
    try:
        return make()
    except (OverflowError, ValueError, OSError) as exc:
        raise ImageError(
            f"The time of capture can't be: {said}.",
            "Set `pattern` and `interval_minutes` under `watch` to suit these files "
            "(`spheroidd check --names` shows what each becomes), or mend the file's date.",
            permanent=permanent,
        ) from exc
