"""`backup` and `restore`: copies of the database, and the way back to one."""

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from spheroidd.cli.terminal import ConfigFile, err, load, out, say, tell
from spheroidd.errors import SpheroiddError, StoreError
from spheroidd.store.folder import StateFolder

if TYPE_CHECKING:
    from spheroidd.config import Config
    from spheroidd.upkeep.restore import Restored

_WORTH_A_BAR_BYTES = 50_000_000


def add_to(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    config: ConfigFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="A new file, or a folder. Default: `backup.folder`, where the service's lie too.",
        ),
    ] = None,
) -> None:
    """Make a consistent copy of the database, while the daemon runs or not.

    It holds all areas, objects, reviews and runs. Masks and outlines are files of their own.
    """
    from spheroidd.upkeep.backup import back_up_to, make_backup

    settings = load(config)
    database = StateFolder(settings.state_dir).database
    if output is not None:
        _refuse_watched(settings, output)
    with _progress() as progress:
        if output is None or output.is_dir():
            folder = output or _folder(settings)
            path = make_backup(database, folder.absolute(), time.time(), progress)
        else:
            path = back_up_to(database, output.absolute(), progress)
    say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def restore(
    config: ConfigFile,
    backup: Annotated[
        Path | None,
        typer.Argument(metavar="BACKUP", help="The file; without it, shows which there are."),
    ] = None,
) -> None:
    """Put a backup in the database's place; the daemon must not run.

    The database of before is put aside, never deleted. Images that were measured after the
    backup are found again by the next scan and measured again.
    """
    from spheroidd.system.lock import only_one
    from spheroidd.upkeep.restore import restore as put_back

    settings = load(config)
    state = StateFolder(settings.state_dir)
    if backup is None:
        _list(_folder(settings), config)
        return
    state.create()
    with contextlib.ExitStack() as locks:
        locks.enter_context(only_one(state.lock))
        for plate in (state.root / "tmp" / "again").glob("*/lock"):  # a plate measured again
            locks.enter_context(only_one(plate))
        progress = locks.enter_context(_progress())
        done = put_back(backup.absolute(), state, time.time(), progress)
    _report(done, config)


def _folder(settings: "Config") -> Path:
    return StateFolder(settings.state_dir).backups(settings.backup.folder)


def _refuse_watched(settings: "Config", output: Path) -> None:
    for watch in settings.watch:
        if output.resolve().is_relative_to(watch.path.resolve()):
            raise SpheroiddError(
                f"{output} lies in the watched folder {watch.path}, where spheroidd never writes.",
                "Choose another place.",
            )


def _list(folder: Path, config: Path) -> None:
    from spheroidd.store.backups import backups_in

    found = backups_in(folder)
    if not found:
        raise StoreError(
            f"There are no backups in {folder}.",
            "Name another file that `spheroidd backup` made, or set `backup.folder`.",
        )
    table = Table("made at (UTC)", "MB", "file", title="backups, the newest last")
    for one in found:
        when = datetime.fromtimestamp(one.made_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, f"{one.path.stat().st_size / 1e6:.1f}", Text(str(one.path)))
    out.print(table)
    newest = shlex.quote(str(found[-1].path))
    say(f"restore: spheroidd restore {newest} -c {shlex.quote(str(config))}")


def _report(done: "Restored", config: Path) -> None:
    now, before = done.now, done.before
    say(
        f"restored: as it was at {now.latest or 'its beginning'}, with {now.images} images, "
        f"{now.measured} of them measured, and {now.reviews} reviews"
    )
    if before is None:
        say("whatever came later is not in it; what was there before can't be read, or compared")
    else:
        since = max(0, before.reviews - now.reviews)
        say(
            f"not in it: {max(0, before.measured - now.measured)} measured images and {since} "
            f"reviews since, up to {before.latest or 'its beginning'}",
            "yellow" if since else "",
        )
    if done.aside:
        say(
            f"put aside, and deleted by nobody but you: {done.aside} (what was the database, and "
            f"{done.files} pictures and batches that the backup knows nothing of)"
        )
    say(
        "next: start the daemon. Its first scan finds the images that are missing, as long as "
        "their files are there, and measures them again; reviews since then have to be made again"
    )
    tell(f"look at it: spheroidd status -c {shlex.quote(str(config))}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for what takes longer."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("copying"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=err, transient=True) as progress:
        task: list[bars.TaskID] = []

        def show(done: int, of: int) -> None:
            if of < _WORTH_A_BAR_BYTES:
                return
            if not task:
                task.append(progress.add_task("", total=of))
            progress.update(task[0], completed=done)

        yield show
