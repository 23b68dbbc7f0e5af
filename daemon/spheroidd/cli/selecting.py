"""Which images a command means: the options, and the names as people type and read them."""

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spheroidd.errors import SpheroiddError
from spheroidd.store.paths import printable, to_stored
from spheroidd.store.reader import Reader, Row
from spheroidd.store.reviewing import Selection, listed, plates, wells

LARGEST = 2**31  # numbers beyond are slips of the finger, and SQLite's end is near

Plate = Annotated[
    str | None,
    typer.Option("--plate", metavar="P", help="May be left out where there is only one."),
]
Well = Annotated[str | None, typer.Option("--well", metavar="W", help="Only this well.")]
From = Annotated[
    float | None,
    typer.Option("--from", metavar="H", help="Hours since the plate's first image, included."),
]
To = Annotated[float | None, typer.Option("--to", metavar="H", help="The same, included.")]
TimePoint = Annotated[
    int | None,
    typer.Option("--time-point", metavar="N", min=0, max=LARGEST, help="Only this frame number."),
]
ImagePath = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="Only this image of the instrument.")
]
Event = Annotated[
    int | None,
    typer.Option(
        "--event", metavar="N", min=1, max=LARGEST, help="Images that this event touched."
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in a few words.")]
Who = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Default: who is logged in.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def name_of(who: str | None) -> str:
    """Who decides; behind `sudo -u spheroidd` it is still the person who typed it."""
    if who is None:
        try:
            who = os.environ.get("SUDO_USER") or getpass.getuser()
        except (KeyError, OSError):  # a user without a name, in a container say
            who = f"user {os.getuid()}"
    return to_stored(who)


def path_of(path: Path | None) -> str | None:
    # Not resolved: the ledger knows images below the watched folder as it is named.
    return None if path is None else to_stored(os.path.normpath(path.absolute()))


def as_stored(reader: Reader, selection: Selection) -> Selection:
    """Names as the ledger has them; odd ones may also be given as tables show them."""
    changes: dict[str, Any] = {}
    if selection.plate is not None:
        changes["plate"] = _among(plates(reader), selection.plate)
    if selection.well is not None:
        plate = changes.get("plate")
        changes["well"] = _among(wells(reader, plate), selection.well)
    return Selection(**{**vars(selection), **changes})


def plate_as_stored(reader: Reader, plate: str) -> str:
    """A plate's name as the ledger has it; see `as_stored`."""
    return _among(plates(reader), plate)


def _among(names: Sequence[str], given: str) -> str:
    stored = to_stored(given)
    for name in (given, stored):  # the first, where it was found among them before
        if name in names:
            return name
    return next((name for name in names if printable(name) == given), stored)


def refuse_unknown_flag(flag: str) -> None:
    """A flag's name that is none finds nothing; better say so.

    Raises:
        typer.BadParameter: with all that there are.
    """
    from spheroidd.config import Flags

    known = ("no_spheroid", *Flags.model_fields)
    if flag not in known:
        raise typer.BadParameter(f"there is no flag {flag!r}; there are {', '.join(known)}")


def on_one_plate(reader: Reader, selection: Selection) -> Selection:
    """A change concerns one plate; it must be named where there are several."""
    named = selection.plate or selection.path or selection.event
    there = plates(reader)
    if named or len(there) <= 1:
        return selection
    raise SpheroiddError(
        "There are several plates; a change concerns one.", f"Add --plate: {listed(there)}."
    )


def in_words(rows: Sequence[Row]) -> str:
    """`3 images of P, wells A1 to B2, 0 to 6 hours`."""
    on = list(dict.fromkeys(row["plate"] for row in rows))
    of = list(dict.fromkeys(row["well"] for row in rows))
    hours = sorted(row["hours"] for row in rows)
    images = f"{len(rows)} image" + "s" * (len(rows) != 1)
    named = printable(of[0]) if len(of) == 1 else f"{printable(of[0])} to {printable(of[-1])}"
    when = f"{hours[0]:g}" if hours[0] == hours[-1] else f"{hours[0]:g} to {hours[-1]:g}"
    return f"{images} of {listed(on)}, well{'s' * (len(of) > 1)} {named}, {when} hours"
