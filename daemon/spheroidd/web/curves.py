"""Growth curves in memory: what every open page of a plate shows, computed once for all.

A plate is read whole when it is first asked for, then only the wells that changed.  A well's
part of the answer is kept as JSON, so the whole plate is these put together.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from spheroidd.store.changes import changes_since, newest
from spheroidd.store.database import timestamp
from spheroidd.store.reader import Reader
from spheroidd.store.viewing import latest, plate_start, points, well_names
from spheroidd.web.curve import Shown, Well, wells_of
from spheroidd.web.encoding import encoded
from spheroidd.web.geometry import Geometry, geometry_of

MOST_BYTES = 50_000_000  # in memory
_ALL = 30_000  # points of a plate that are all shown
_SHOWN = 23_040  # where there are more: 60 of each curve of 384 wells
_FEWEST = 20  # of each curve
_UNIX_EPOCH = 2440587.5  # as a Julian day
_UNKNOWN = {"captured_at": None, "measured_at": None, "flags": ""}  # it is just being replaced
_SHARE = 2  # where half the wells changed, the whole plate is read faster


class Curves:
    """The points of plates that were asked for lately; from any thread."""

    def __init__(
        self,
        open_reader: Callable[[], AbstractContextManager[Reader]],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """
        Args:
            open_reader: a connection to read from, as `Readers.get` lends one.
            most_bytes: the plates asked for last stay within it; the very last one always stays.
        """
        self._open = open_reader
        self._most_bytes = most_bytes
        self._turn = threading.Lock()
        self._plates: OrderedDict[str, _Plate] = OrderedDict()  # the one asked for last at the end

    def view_json(self, plate: str, points: int | None = None) -> bytes:
        """The plate view's data as JSON, brought up to date.

        Args:
            points: of each curve; flagged and excluded ones stay beside them. None: all of a
                small plate, fewer of each the more curves there are.

        Returns:
            `plate`, `seq` (the number of the newest change that is in it), `unit` (`µm²` if all
            areas are known in it, else `px`), `start` (when hours begin), `geometry`, `hours`
            (`first` and `last`; None where nothing is measured) and `wells` (none: the plate
            has no image), each with `well`, `row`, `column`, `images` (measured ones), `flags`
            (those that are flagged and not excluded), `to_review` (those of them that nobody
            has settled), `series` and `last` (None: nothing is measured). A series has `field`,
            `channel`, `first_area` (what `relative` counts from; None: all are excluded), the
            lists `hours`, `area`, `relative` (None where unknown), `image` (its number), and
            where in them the `flagged` and the `excluded` points are; it says `thinned` where
            there are more of these two than it shows. `last` has `image`, `hours`, `area`,
            `relative`, `excluded`, `captured_at`, `measured_at` and `flags` (comma-separated).
        """
        with self._fresh(plate) as held:
            return held.view(points)

    def view(self, plate: str, points: int | None = None) -> dict[str, Any]:
        """The same as plain values."""
        found: dict[str, Any] = json.loads(self.view_json(plate, points))
        return found

    def wells_json(self, plate: str, names: Sequence[str]) -> bytes:
        """The view with these `wells` alone and without `hours`, as JSON.

        Where its `unit`, `start` or `geometry` is another than before, all the other wells
        are to be shown anew too: whoever has an older view asks for all of it.

        Names that are not there any more are left out.
        """
        with self._fresh(plate) as held:
            return held.some(names)

    def wells(self, plate: str, names: Sequence[str]) -> dict[str, Any]:
        """The same as plain values."""
        found: dict[str, Any] = json.loads(self.wells_json(plate, names))
        return found

    def forget(self) -> None:
        """Read everything anew: another database lies there."""
        with self._turn:
            self._plates.clear()

    @property
    def plates(self) -> list[str]:
        """Those in memory, the one asked for last at the end."""
        with self._turn:
            return list(self._plates)

    @contextmanager
    def _fresh(self, plate: str) -> Iterator["_Plate"]:
        """The plate, brought up to date, for one thread at a time."""
        with self._open() as reader:
            held = self._held(plate)
            with held.turn:
                held.refresh(reader)
                yield held
        self._drop(held)

    def _held(self, plate: str) -> "_Plate":
        with self._turn:
            held = self._plates.setdefault(plate, _Plate(plate))
            self._plates.move_to_end(plate)
            return held

    def _drop(self, asked: "_Plate") -> None:
        """Whoever works on a dropped plate goes on with it; the next one reads it anew."""
        with self._turn:
            if not asked.size:  # there is no such plate
                self._plates.pop(asked.plate, None)
            total = sum(held.size for held in self._plates.values())
            while total > self._most_bytes and len(self._plates) > 1:
                _, dropped = self._plates.popitem(last=False)
                total -= dropped.size


class _Plate:
    """One plate's wells, as far as change number `seq`."""

    def __init__(self, plate: str) -> None:
        self.plate = plate
        self.turn = threading.Lock()
        self.size = 0  # bytes, about
        self._seq: int | None = None
        self._start = 0.0
        self._wells: dict[str, Well] = {}
        self._geometry: Geometry = geometry_of([])

    def refresh(self, reader: Reader) -> None:
        """Read what changed; all of it the first time, and after the database was restored."""
        now = newest(reader)  # before the points, which may be newer then but never older
        if self._seq is None or now < self._seq:
            self._read(reader, None)
        elif now > self._seq:
            changes = changes_since(reader, self._seq)
            names = [well for plate, well, _ in changes if plate == self.plate]
            if names:
                many = len(names) * _SHARE > len(self._wells) > _SHARE
                self._read(reader, None if many else names)
        self._seq = now

    def _read(self, reader: Reader, names: Sequence[str] | None) -> None:
        there = well_names(reader, self.plate)
        found = wells_of(points(reader, self.plate, names))
        ends = latest(reader, [well.last_image for well in found.values()])
        for well in found.values():
            well.end = ends.get(well.last_image, _UNKNOWN)
        before = {} if names is None else {**self._wells, **dict.fromkeys(names, Well())}
        self._wells = {name: found.get(name) or before.get(name) or Well() for name in there}
        self._start = plate_start(reader, self.plate) or 0.0
        self._geometry = geometry_of(there)
        self._weigh()

    def view(self, points: int | None) -> bytes:
        """The plate's data as JSON."""
        shown = self._shown(points)
        parts = self._parts(self._wells, shown, keep=points is None)
        self._weigh()
        measured = [well for well in self._wells.values() if well.images]
        ends = [
            shown.hours(least(numbers)) if measured else None
            for least, numbers in (
                (min, [well.first for well in measured]),
                (max, [well.last for well in measured]),
            )
        ]
        hours = dict(zip(("first", "last"), ends, strict=True))
        return _joined({**self._head(shown), "hours": hours}, parts)

    def some(self, names: Iterable[str]) -> bytes:
        """Some wells' data as JSON."""
        shown = self._shown(None)
        head = self._head(shown)
        there = [name for name in names if name in self._wells]
        return _joined(head, self._parts(there, shown, keep=True))

    def _head(self, shown: Shown) -> dict[str, Any]:
        return {
            "plate": self.plate,
            "seq": self._seq,
            "unit": shown.unit,
            "start": _moment(self._start) if self._wells else None,
            "geometry": self._geometry.said(),
        }

    def _weigh(self) -> None:
        self.size = sum(well.size for well in self._wells.values())

    def _parts(self, names: Iterable[str], shown: Shown, *, keep: bool) -> list[bytes]:
        found = []
        for name in names:
            row, column = self._geometry.places[name]
            head = encoded({"well": name, "row": row, "column": column})
            found.append(head[:-1] + b"," + self._wells[name].json(shown, keep=keep)[1:])
        return found

    def _shown(self, points: int | None) -> Shown:
        wells = self._wells.values()
        known = all(well.um2_known for well in wells)
        total, curves = sum(well.images for well in wells), sum(len(well.series) for well in wells)
        if points is None and total > _ALL:
            points = max(_FEWEST, _SHOWN // curves)
        return Shown("µm²" if known and total else "px", self._start, points)


def _moment(julian_day: float) -> str:
    """A time as the database has it."""
    return timestamp(round((julian_day - _UNIX_EPOCH) * 86400, 3))


def _joined(head: dict[str, Any], wells: Sequence[bytes]) -> bytes:
    return encoded(head)[:-1] + b',"wells":[' + b",".join(wells) + b"]}"
