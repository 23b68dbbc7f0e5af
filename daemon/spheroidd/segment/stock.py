"""Which weights lie in the data home, and whether they are the right ones.

`home` is the program's data home. Weights lie at `<home>/models/<name>/<name>.onnx`, which is
rembg's own layout with REMBG_HOME=<home>; a file imported under a name of its own has its
checksum beside it, in `<name>.json`, so that later damage is seen.
"""

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spheroidd.errors import ModelError
from spheroidd.segment.catalogue import CATALOGUE, ISNET, U2NET, Entry
from spheroidd.store.files import whole

State = Literal["ok", "missing", "damaged"]

_SESSION_FOR_INPUT = {1024: ISNET, 320: U2NET}


@dataclass(frozen=True)
class Model:
    """Weights that are there and were found right.

    Attributes:
        name: catalogue name, import name, or the file's stem.
        path: the .onnx file, absolute.
        md5: of the file, measured now; it goes into every result.
        session: name of the rembg session that runs it.
    """

    name: str
    path: Path
    md5: str
    session: str


@dataclass(frozen=True)
class ModelStatus:
    """One line of `model list`; path, size (bytes) and md5 are None where there is no file.

    `expected` is the right checksum, as `md5:…` or `sha256:…`.
    """

    name: str
    state: State
    path: Path | None
    size: int | None
    md5: str | None
    expected: str
    session: str
    licence: str
    note: str


def weights_path(name: str, home: Path) -> Path:
    """Where the weights of `name` lie, or would lie."""
    return home.absolute() / "models" / name / f"{name}.onnx"


def resolve(name_or_path: str, home: Path) -> Model:
    """Find a model's weights and check them; reads the whole file once.

    Args:
        name_or_path: a catalogue name, an imported name, or a path to an .onnx file.
        home: the program's data home.

    Raises:
        ModelError: unknown, not fetched, or damaged; says what to do next.
    """
    if name_or_path.endswith(".onnx") or "/" in name_or_path:
        return _local_file(Path(name_or_path).expanduser().resolve())
    status = verify(name_or_path, home)
    if status.state == "ok" and status.path is not None and status.md5 is not None:
        return Model(status.name, status.path, status.md5, status.session)
    path = weights_path(status.name, home)
    if status.name in CATALOGUE:
        step = f"`spheroidd model fetch {status.name}`"
    else:
        step = f"`spheroidd model import FILE --name {status.name}`"
    if status.state == "missing":
        raise ModelError(f"The weights of {status.name} are not at {path}.", f"Run {step}.")
    algorithm, _, expected = status.expected.partition(":")
    raise ModelError(
        f"{path} is damaged: {algorithm} {digest(path, algorithm)}, expected {expected}.",
        f"Replace it with {step}.",
    )


def verify(name: str, home: Path) -> ModelStatus:
    """Look at one model's file and compare its checksum.

    Raises:
        ModelError: no such name in the catalogue or among the imported, or an unreadable file.
    """
    return _status(entry_for(name, home), home)


def list_models(home: Path) -> list[ModelStatus]:
    """Status of every model of the catalogue, then of the imported ones by name.

    Raises:
        ModelError: a file or an import's record can't be read.
    """
    imported = sorted(path.parent.name for path in (home / "models").glob("*/*.json"))
    names = [*CATALOGUE, *(name for name in imported if name not in CATALOGUE)]
    return [verify(name, home) for name in names]


def entry_for(name: str, home: Path) -> Entry:
    """The catalogue's entry, or the record of an imported model. Raises ModelError if neither."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    record = _record_path(name, home)
    if record.is_file():
        return _read_record(name, record)
    close = difflib.get_close_matches(name, CATALOGUE, n=3, cutoff=0.5)
    raise ModelError(
        f"There is no model called {name!r}.",
        (f"Did you mean {' or '.join(close)}? " if close else "")
        + "`spheroidd model list` shows all names; a path to an .onnx file works too.",
    )


def write_record(entry: Entry, home: Path) -> None:
    """Put an imported model's checksum and session beside its weights. Raises OSError."""
    record = {"checksum": entry.checksum, "session": entry.session, "note": entry.note}
    with whole(_record_path(entry.name, home)) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file, `md5` or `sha256`. Raises ModelError if it can't be read."""
    try:
        with path.open("rb") as handle:
            # usedforsecurity: md5 guards against damage here, and must work in FIPS mode too.
            return hashlib.file_digest(
                handle, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}.") from error


def session_for_file(path: Path) -> str:
    """Name of the rembg session that fits an .onnx file of the user's own.

    The very file of a known model gets that model's treatment; any other is judged by the
    size of its input.

    Raises:
        ModelError: no usable model, or one that only runs under its catalogue name.
    """
    known = known_file(path)
    if known is None:
        return _session_for_input(path)
    if not known.twin:
        raise ModelError(
            f"{path} is {known.name}, which rembg runs under its own name only.",
            f"Run `spheroidd model import {path}` and use the name {known.name}.",
        )
    return known.twin


def known_file(path: Path) -> Entry | None:
    """The catalogue's entry with this file's md5, if there is one."""
    md5 = f"md5:{digest(path, 'md5')}"
    return next((entry for entry in CATALOGUE.values() if entry.checksum == md5), None)


def _local_file(path: Path) -> Model:
    if not path.is_file():
        raise ModelError(f"There is no model file {path}.", "Check the path and its spelling.")
    return Model(path.stem, path, digest(path, "md5"), session_for_file(path))


def _status(entry: Entry, home: Path) -> ModelStatus:
    path = weights_path(entry.name, home)
    about = (entry.checksum, entry.session, entry.licence, entry.note)
    if not path.is_file():
        return ModelStatus(entry.name, "missing", None, None, None, *about)
    algorithm, _, expected = entry.checksum.partition(":")
    md5 = digest(path, "md5")
    found = md5 if algorithm == "md5" else digest(path, algorithm)
    state: State = "ok" if found == expected else "damaged"
    return ModelStatus(entry.name, state, path, path.stat().st_size, md5, *about)


def _record_path(name: str, home: Path) -> Path:
    return weights_path(name, home).with_suffix(".json")


def _read_record(name: str, path: Path) -> Entry:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return imported_entry(name, record["checksum"], record["session"], record["note"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The record of the imported model {name}, {path}, can't be read: {error!r}.",
            f"Import it again: `spheroidd model import FILE --name {name}`.",
        ) from error


def imported_entry(name: str, checksum: str, session: str, note: str) -> Entry:
    """What is known of a model that the user brought."""
    return Entry(name, checksum, "the user's own", note, session)


def _session_for_input(path: Path) -> str:
    import onnxruntime  # noqa: PLC0415 - a third of a second that `model list` need not pay

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        probe = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no narrower class
        raise ModelError(
            f"{path} is no model that onnxruntime can load: {error}",
            "Give a complete ONNX file with its weights inside.",
        ) from error
    shape = probe.get_inputs()[0].shape
    if len(shape) == 4 and shape[2] == shape[3] and shape[2] in _SESSION_FOR_INPUT:
        return _SESSION_FOR_INPUT[shape[2]]
    raise ModelError(
        f"{path} takes input of shape {shape}; only 3 × 1024 × 1024 (IS-Net) and "
        "3 × 320 × 320 (U²-Net) can be used.",
        "Export the model with one of these fixed input sizes.",
    )
