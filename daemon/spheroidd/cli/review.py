"""`review list | confirm | exclude | restore | choose | history`: a person settles measurements.

Works while the daemon runs.  Nothing asks back, for everything can be undone by a later event.
"""

import json
import shlex
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.selecting import (
    LARGEST,
    AsJson,
    Event,
    From,
    ImagePath,
    Plate,
    Reason,
    TimePoint,
    To,
    Well,
    Who,
    as_stored,
    in_words,
    name_of,
    on_one_plate,
    path_of,
    refuse_unknown_flag,
)
from spheroidd.cli.terminal import ConfigFile, database_of, out, say, tell
from spheroidd.errors import SpheroiddError
from spheroidd.store.paths import printable, to_stored
from spheroidd.store.reader import BUSY_SECONDS, Reader, Row
from spheroidd.store.reviewing import (
    Selection,
    events,
    refuse_hidden,
    refuse_unknown,
    selected,
)
from spheroidd.store.waiting import waiting

if TYPE_CHECKING:
    from spheroidd.store.reviews import Reviews, Subject, Undone

_SHOWN = 50  # rows of a table, unless asked otherwise

review = typer.Typer(
    no_args_is_help=True,
    help="Look at what was flagged, and settle it: confirm, exclude, restore, choose an object. "
    "Each decision is an event with who, when and why; nothing is ever deleted.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(review, name="review")


# -- looking --------------------------------------------------------------------------------


@review.command("list")
def list_flagged(
    *,
    config: ConfigFile,
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    flag: Annotated[
        str | None, typer.Option("--flag", metavar="F", help="Only with this flag.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help=f"Default: {_SHOWN}; with --json all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What waits to be looked at, worst first: flagged, not settled, not excluded."""
    database = database_of(config)
    if flag is not None:
        refuse_unknown_flag(flag)
    with Reader(database) as reader:
        wanted = as_stored(reader, Selection(plate, well, from_hours, to_hours))
        most = limit if as_json else limit or _SHOWN
        rows, total = waiting(reader, wanted, flag, most)
        if not rows:
            refuse_unknown(reader, wanted)
    for row in rows:
        outline = row["outline_path"]
        row["outline_path"] = None if outline is None else str(database.parent / outline)
    if as_json:
        out.print_json(json.dumps(rows))
        return
    if not rows:
        say("nothing waits for review there")
        return
    out.print(_table_of(rows))
    rest = total - len(rows)
    say(f"{total} images wait for review" + (f"; {rest} are not shown (--limit)" * bool(rest)))


def _table_of(rows: Sequence[Row]) -> Table:
    table = Table("plate", "well", "hours", "area", "objects", "flags", "outline picture")
    for row in rows:
        physical = row["area_um2"] is not None
        area = f"{row['area_um2']:,.0f} µm²" if physical else f"{row['area_px']:,.0f} px"
        flags = ", ".join(_flag(name, row["checks"].get(name)) for name in row["flags"])
        table.add_row(
            Text(printable(row["plate"]), overflow="fold"),
            Text(printable(row["well"]), overflow="fold"),
            f"{row['hours']:g}",
            area,
            str(row["n_objects"]),
            Text(flags, style="yellow"),
            Text(printable(row["outline_path"] or "—"), overflow="fold"),
        )
    return table


def _flag(name: str, check: Row | None) -> str:
    """`area_jump 0.42 > 0.15`: what was found, and the limit that it is beyond."""
    value, limit = (check["value"], check["limit"]) if check else (None, None)
    if value is None or limit is None:
        return name
    sign = ">" if value > limit else "<" if value < limit else "="
    return f"{name} {value:.3g} {sign} {limit:.3g}"


@review.command()
def history(
    *,
    config: ConfigFile,
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    path: ImagePath = None,
    as_json: AsJson = False,
) -> None:
    """Everything people settled, oldest first."""
    with Reader(database_of(config)) as reader:
        wanted = as_stored(reader, Selection(plate, well, from_hours, to_hours, path=path_of(path)))
        found = events(reader, wanted)
        if not found and path is None:
            refuse_unknown(reader, wanted)
    if as_json:
        out.print_json(json.dumps(found))
        return
    if not found:
        say("nobody has settled anything there yet")
        return
    table = Table("event", "when (UTC)", "who", "what", "images", "reason")
    for event in found:
        what, images = event["action"], event["images"]
        if what == "choose":
            numbers = sorted({image["object_number"] or 0 for image in images})
            what += f" {', '.join(map(str, numbers))}"
        words = (event["who"], what, in_words(images), event["reason"])
        when = event["at"].split(".")[0].replace("T", " ")
        cells = (Text(printable(word), overflow="fold") for word in words)
        table.add_row(str(event["id"]), when, *cells)
    out.print(table)


# -- settling -------------------------------------------------------------------------------


@review.command()
def confirm(
    *,
    config: ConfigFile,
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    time_point: TimePoint = None,
    path: ImagePath = None,
    event: Event = None,
    reason: Reason = "",
    who: Who = None,
) -> None:
    """The areas are right as they stand: they stay so, whatever later images say."""
    wanted = Selection(plate, well, from_hours, to_hours, time_point, path_of(path), event)

    def act(reviews: "Reviews", subjects: "Sequence[Subject]", now: float, name: str) -> int:
        return reviews.confirm(subjects, now, who=name, reason=to_stored(reason))

    _settle(config, wanted, who, ("confirming", "confirmed"), act)


@review.command()
def exclude(
    *,
    config: ConfigFile,
    reason: Reason,
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    time_point: TimePoint = None,
    path: ImagePath = None,
    event: Event = None,
    who: Who = None,
) -> None:
    """Leave images out of growth curves; they keep their area and can be restored."""
    wanted = Selection(plate, well, from_hours, to_hours, time_point, path_of(path), event)

    def act(reviews: "Reviews", subjects: "Sequence[Subject]", now: float, name: str) -> int:
        return reviews.exclude(subjects, now, who=name, reason=to_stored(reason))

    _settle(config, wanted, who, ("excluding", "excluded"), act)


@review.command()
def restore(
    *,
    config: ConfigFile,
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    time_point: TimePoint = None,
    path: ImagePath = None,
    event: Event = None,
    reason: Reason = "",
    who: Who = None,
) -> None:
    """Back to what the program says; with --event, only what that event changed is put back."""
    wanted = Selection(plate, well, from_hours, to_hours, time_point, path_of(path), event)

    def act(
        reviews: "Reviews", subjects: "Sequence[Subject]", now: float, name: str
    ) -> "int | Undone":
        if event is not None:
            return reviews.undo(event, subjects, now, who=name, reason=to_stored(reason))
        return reviews.restore(subjects, now, who=name, reason=to_stored(reason))

    _settle(config, wanted, who, ("restoring", "restored"), act)


@review.command()
def choose(
    *,
    config: ConfigFile,
    object_number: Annotated[
        int,
        typer.Argument(
            metavar="OBJECT_NUMBER",
            min=0,
            max=LARGEST,
            help="CellProfiler's number of the object; 0: there is no spheroid here.",
        ),
    ],
    plate: Plate = None,
    well: Well = None,
    from_hours: From = None,
    to_hours: To = None,
    time_point: TimePoint = None,
    path: ImagePath = None,
    event: Event = None,
    reason: Reason = "",
    who: Who = None,
) -> None:
    """Another object is the spheroid; a number that is not there lists those that are."""
    wanted = Selection(plate, well, from_hours, to_hours, time_point, path_of(path), event)

    def act(reviews: "Reviews", subjects: "Sequence[Subject]", now: float, name: str) -> int:
        return reviews.choose(subjects, object_number, now, who=name, reason=to_stored(reason))

    what = f"object {object_number} chosen" if object_number else "said to show no spheroid"
    _settle(config, wanted, who, ("choosing for", what), act)


Act = Callable[["Reviews", "Sequence[Subject]", float, str], "int | Undone"]


def _settle(
    config: Path, selection: Selection, who: str | None, words: tuple[str, str], act: Act
) -> None:
    """Say what is going to change, change it, and say how it is undone."""
    from spheroidd.store.database import Database
    from spheroidd.store.reviews import Reviews, Subject

    if selection.everything:
        raise typer.BadParameter("say which images: --plate, --well, --from, --to, --path …")
    doing, done = words
    database_file = database_of(config)
    with Reader(database_file) as reader:  # says what to do where there is none, too
        rows = selected(reader, on_one_plate(reader, as_stored(reader, selection)))
        if doing == "restoring" and selection.event is not None:
            refuse_hidden(reader, selection.event)
    if len(rows) > 1:
        tell(f"{doing} {in_words(rows)}")
    settled = sum(bool(row["excluded"] or row["decision"]) for row in rows)
    if settled:
        tell(f"{settled} of {len(rows)} had been excluded, confirmed or chosen before")
    looked_at = ("image_id", "measurement_id", "object_number", "area_px")
    subjects = [Subject(*(row[name] for name in looked_at)) for row in rows]
    try:
        database = Database(database_file)
        try:
            made = act(Reviews(database), subjects, time.time(), name_of(who))
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise SpheroiddError(
            f"The database is busy: somebody has been writing for {BUSY_SECONDS:g} seconds.",
            "Nothing was changed; try again.",
        ) from error
    if not isinstance(made, int):
        for why, number in made.left.items():
            tell(f"{number} of {len(rows)} not put back: {why}")
        rows = [row for row in rows if row["image_id"] in made.images]
        made = made.event
    say(f"{done}: {in_words(rows)} (event {made})")
    if doing == "restoring":
        say("the daemon judges their wells anew, now or when it next starts")
    else:
        say(f"undo: spheroidd review restore -c {shlex.quote(str(config))} --event {made}")
