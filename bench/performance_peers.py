"""What users run today, as commands: `rembg p` on a folder, CellProfiler on a batch."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from peers.make import java
from performance_process import Cost, timed
from spheroidd.measure.pipelines import pipeline_path
from spheroidd.segment.stock import Model


def rembg_p(commands: Path, model: Model, home: Path, files: Sequence[Path], scratch: Path) -> Cost:
    """`rembg p` on a folder of these files, from its start to its end.

    Args:
        commands: the folder with the `rembg` command.
        home: where the weights lie, in rembg's own layout: nothing is downloaded.

    Raises:
        RuntimeError: it failed, or left images out.
    """
    folder, out = emptied(scratch / "rembg-in"), emptied(scratch / "rembg-out")
    for path in files:
        shutil.copyfile(path, folder / path.name)
    command: list[str | Path] = [commands / "rembg", "p", "-m", model.session]
    if model.session.endswith("_custom"):
        command += ["-x", json.dumps({"model_path": str(model.path)})]
    inside = model.path.is_relative_to(home.absolute())
    root = str(home.absolute() if inside else model.path.parent)
    # What it compiles on its first run is kept, as in an installation of its own.
    environment = {"REMBG_HOME": root, "U2NET_HOME": root, "NUMBA_DISABLE_JIT": "0"}
    log = scratch / "rembg.log"
    cost = timed([*command, folder, out], log, environment)
    if len(list(out.glob("*.png"))) != len(files):
        raise RuntimeError(f"`rembg p` left images out: {log.read_text()[-500:]}")
    return cost


def cellprofiler(commands: Path, pairs: Sequence[tuple[Path, Path]], scratch: Path) -> Cost:
    """CellProfiler's command line on a batch: the shipped pipeline `white-background`.

    Args:
        commands: the folder with the `cellprofiler` command.
        pairs: each image, and the same on white.

    Raises:
        RuntimeError: it failed, or left images out.
    """
    folder, out = emptied(scratch / "batch"), emptied(scratch / "batch-out")
    for original, white in pairs:
        shutil.copyfile(original, folder / f"{original.stem}.jpg")
        shutil.copyfile(white, folder / f"{original.stem}_white.jpg")
    pipeline = pipeline_path("white-background")
    command = [commands / "cellprofiler", "-c", "-r", "-p", pipeline, "-i", folder, "-o", out]
    log = scratch / "cellprofiler.log"
    cost = timed([str(word) for word in command], log, java())
    counted = [row.get("Count_Spheroids") for row in _rows(out / "Image.csv")]
    if len(counted) != len(pairs) or not all(counted):
        raise RuntimeError(f"CellProfiler left images out: {log.read_text()[-500:]}")
    return cost


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
