"""What is wrong at this moment, in words for people; pure decisions over plain data."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from spheroidd.alerts import words
from spheroidd.alerts.seen import (
    Found,
    Snapshot,
    Timing,
    Wishes,
    flags_key,
    folder_key,
    images_key,
    kind_of,
)
from spheroidd.store.alerting import Alert, PreviousEnd
from spheroidd.store.pace import Pace, pace_of
from spheroidd.store.paths import printable
from spheroidd.store.sights import PlateTimes, WellEnd

# What the title says of a part; others are named as they are.
_PARTS = {
    "disk": "The disk is nearly full",
    "database": "The database can't be used",
    "engine": "CellProfiler doesn't work",
    "accelerator": "The accelerator is lost",
    "backup": "The database can't be backed up",
    "judge": "Some wells can't be judged",
    "configuration": "The new configuration can't be used",
    "keep": "Old files can't be cleared away",
    "alerts": "Alerts don't reach everybody",
}
# These don't mend themselves within a minute; others are tried again first.
_TOLD_SOON = frozenset({"disk", "database", "accelerator", "backup", "configuration"})
# These are told at once and by night too, though work goes on.
_TOLD_AT_ONCE = frozenset({"accelerator"})
_WORK_GOES_ON = {"accelerator": "Measuring goes on without it, on the CPU, which is slower."}
# What alerts that are not about a part are about.
_OTHERS = frozenset({"folder", "images", "flags", "failures", "crashes", "crash"})
_LONGEST_REST = 2 * 3600.0
_LOOP_OF_CRASHES = 3  # within an hour


class Examination:
    """Of one snapshot.

    Args:
        opened: keys of the alerts that are open.
        began: when this daemon's alerts began to look; what is older may be of another daemon.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        wishes: Wishes,
        timing: Timing,
        opened: Collection[str],
        began: float,
        now: float,
    ) -> None:
        self._seen = snapshot
        self._wishes = wishes
        self._timing = timing
        self._opened = opened
        self._began = began
        self._now = now
        self._undecided: set[str] = set()
        self._quietly: set[str] = set()

    def found(self) -> Found:
        """Everything that holds, what can't wait first."""
        alerts = [
            *self._parts(),
            *self._crashes(),
            *self._folders(),
            *self._failures(),
            *self._silent_plates(),
            *self._flagged_wells(),
        ]
        alerts.sort(key=lambda alert: not alert.urgent)
        return Found(tuple(alerts), frozenset(self._undecided), frozenset(self._quietly))

    # -- the service itself ------------------------------------------------------------------

    def _ill(self, key: str, since: float, grace: float, *, trouble: bool) -> bool:
        """Whether something counts as ill: only what has lasted, and what often comes back must
        be well for longer each time."""
        if trouble:
            return key in self._opened or self._now - max(since, self._began) >= grace
        rest = min(grace * 2.0 ** (self._seen.raised.get(key, 1) - 1), _LONGEST_REST)
        if key in self._opened and self._now - since < rest:
            self._undecided.add(key)
        return False

    def _parts(self) -> Iterator[Alert]:
        there = {part.name for part in self._seen.parts}
        self._quietly |= {  # a part that there is no more has not become well
            key for key in self._opened if kind_of(key) not in _OTHERS and key not in there
        }
        for part in self._seen.parts:
            soon = part.name in _TOLD_SOON
            grace = self._timing.brief if soon else self._timing.grace
            if not self._ill(part.name, part.since, grace, trouble=bool(part.trouble)):
                continue
            head = _PARTS.get(part.name, f"{part.name}: {part.trouble}")
            lines = [f"{part.trouble.rstrip('.')}, since {self._moment(part.since)}."]
            if part.urgent:
                lines.append(
                    "Nothing is measured meanwhile. New images are kept for later, none is lost."
                )
            elif part.name in _WORK_GOES_ON:
                lines.append(_WORK_GOES_ON[part.name])
            if part.next_step:
                lines.append(f"What to do: {part.next_step}")
            at_once = part.urgent or part.name in _TOLD_AT_ONCE
            yield Alert(part.name, at_once, words.title(head), "\n".join(lines))

    def _crashes(self) -> Iterator[Alert]:
        if self._seen.crashes >= _LOOP_OF_CRASHES:
            yield Alert(
                "crashes",
                True,
                f"spheroidd keeps crashing: {self._seen.crashes} times within an hour",
                "It starts again by itself each time, but hardly measures anything.\n"
                "What to do: run `spheroidd doctor`, and look at the log "
                "(`journalctl -u spheroidd`) from before each start.",
            )

    # -- folders and files ---------------------------------------------------------------------

    def _folders(self) -> Iterator[Alert]:
        for folder in self._seen.folders:
            key = folder_key(folder.root)
            if folder.root not in self._seen.roots:
                self._quietly.add(key)  # nobody watches it any more
                continue
            if self._ill(key, folder.since, self._timing.grace, trouble=bool(folder.trouble)):
                yield Alert(
                    key,
                    False,
                    words.title(f"No way to the folder {words.name(folder.root)}"),
                    f"{printable(folder.root)}: {folder.trouble}, since "
                    f"{self._moment(folder.since)}.\nImages in it are found and measured as soon "
                    "as it is back; nothing is lost.\nWhat to do: check the network share, "
                    "whether it is mounted, and its permissions.",
                )

    def _failures(self) -> Iterator[Alert]:
        failed, most = self._seen.failures, self._wishes.failures_per_hour
        # Once it is open, it ends when half as many fail, so that it doesn't come and go.
        if failed.images < most and not ("failures" in self._opened and 2 * failed.images > most):
            return
        reasons = "\n".join(f"- {count} ×: {reason}" for reason, count in failed.reasons)
        yield Alert(
            "failures",
            False,
            f"{words.count(failed.images, 'image')} failed within an hour",
            f"{words.count(failed.images, 'image')} could not be measured within the last hour:\n"
            f"{reasons}\nOne of them: {printable(failed.example)}\n"
            "What to do: open one of them. `spheroidd status` lists them; once the cause is "
            "gone, `spheroidd retry` brings them back. The others are measured as usual.",
        )

    # -- plates and wells ------------------------------------------------------------------------

    def _silent_plates(self) -> Iterator[Alert]:
        going_on = set()
        for plate in self._seen.plates:
            key = images_key(plate.plate)
            pace = pace_of(plate, self._wishes.no_image_minutes)
            silence = self._now - plate.last_seen
            if silence <= pace.limit:
                going_on.add(key)
            elif not self._of_now(plate, pace):
                continue
            elif self._looked_through(plate.root):
                yield self._silent(key, plate, pace, silence)
            else:
                self._undecided.add(key)
        # Without a new image nothing is well again: the experiment has ended.
        self._quietly |= {
            key for key in self._opened if kind_of(key) == "images" and key not in going_on
        }

    def _of_now(self, plate: PlateTimes, pace: Pace) -> bool:
        """Neither copied old images nor the experiment of last week."""
        recent = self._now - plate.last_seen <= pace.limit + pace.window
        return pace.live and recent and plate.root in self._seen.roots

    def _looked_through(self, root: str) -> bool:
        """Whether everything in a folder has been seen since this daemon began."""
        for folder in self._seen.folders:
            if folder.root == root:
                scanned = (
                    folder.scanned is not None and folder.scanned >= self._seen.service.started
                )
                steady = self._now - max(folder.since, self._began) >= self._timing.grace
                return scanned and steady and not folder.trouble
        return False

    def _silent(self, key: str, plate: PlateTimes, pace: Pace, silence: float) -> Alert:
        usual = f"Usually one comes every {words.spell(pace.interval)}. " if pace.interval else ""
        return Alert(
            key,
            False,
            words.title(f"No image of {words.name(plate.plate)} for {words.spell(silence)}"),
            f"Plate {printable(plate.plate)}: the last image came at "
            f"{self._moment(plate.last_seen)}. {usual}\n"
            "Either the experiment has ended, and then there is nothing to do (you are told "
            "only once); or the instrument or its export has stopped.\n"
            "What to do: look at the instrument, and whether it still writes to "
            f"{printable(plate.root)}.",
        )

    def _flagged_wells(self) -> Iterator[Alert]:
        needed = self._wishes.flagged_in_a_row
        series: dict[str, list[WellEnd]] = {}
        for end in self._seen.wells:
            series.setdefault(flags_key(end.plate, end.well), []).append(end)
        self._quietly |= {
            key for key in self._opened if kind_of(key) == "flags" and key not in series
        }
        for key, ends in series.items():
            flagged = [end for end in ends if _flagged(end, needed)]
            if any(end.pending for end in ends):
                self._undecided.add(key)
            elif flagged:
                yield self._flagged(key, flagged[0], needed)
            elif any(None in end.flags for end in ends):
                self._quietly.add(key)  # somebody has looked at it

    def _flagged(self, key: str, end: WellEnd, needed: int) -> Alert:
        counts = Counter(flag for flags in end.flags[:needed] for flag in flags or ())
        listed = ", ".join(f"{flag} ({times} ×)" for flag, times in counts.most_common())
        plate, well = words.name(end.plate), words.name(end.well)
        return Alert(
            key,
            False,
            words.title(f"{plate}, well {well}: flagged {needed} times in a row"),
            f"Plate {printable(end.plate)}, well {printable(end.well)}, the last "
            f"{needed} time points: {listed}.\nWhat to do: `spheroidd review` shows the images "
            "and what each flag means; confirm them or exclude them.",
        )

    def _moment(self, at: float) -> str:
        return words.moment(at)


def _flagged(end: WellEnd, needed: int) -> bool:
    """Whether the last time points are flagged, all of them, and nobody has settled one.

    A well that was empty from the start is meant to be.
    """
    last = end.flags[:needed]
    if len(last) < needed or not all(last):
        return False
    return not (end.empty and all(flags == ("no_spheroid",) for flags in last))


def running(plates: Sequence[PlateTimes], wishes: Wishes, now: float) -> list[str]:
    """The plates whose experiment goes on, as far as one can tell."""
    found = []
    for plate in plates:
        pace = pace_of(plate, wishes.no_image_minutes)
        if pace.live and now - plate.last_seen <= pace.limit + pace.window:
            found.append(plate.plate)
    return found


def crash(previous: PreviousEnd, now: float) -> Alert:
    """That the daemon before this one did not end as it should."""
    away = words.spell(now - previous.at)
    head = f"The last sign of life was at {words.moment(previous.at)}."
    how = "It was killed, or the machine went down; the system's log may say why."
    if not previous.began:
        head, how = f"Since {words.moment(previous.at)} it could not start:", previous.reason
    elif previous.reason:
        how = f"It ended itself: {previous.reason}"
    return Alert(
        "crash",
        False,
        f"spheroidd runs again; it was away for {away}",
        f"{head} {how}\nImages that came meanwhile are measured now; nothing is lost.",
    )
