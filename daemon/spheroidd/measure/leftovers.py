"""What a daemon that was killed left of its batches, and what a batch that came to nothing."""

import shutil
from pathlib import Path

from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.results import Results


def clear_leftovers(results: Results, ledger: Ledger, folder: StateFolder, now: float) -> None:
    """Batches that were left open say so from now on; half pictures go, and so do spreadsheets
    that may be half: their images come in another batch's."""
    for plate, batch_id in results.unrecorded_batches():
        if not folder.is_measured_again(plate):
            drop_spreadsheets(folder.root / folder.batch(plate, batch_id))
    results.abandon_batches(now)
    for well in {(image.plate, image.well) for image in ledger.in_state("segmented")}:
        for path in (folder.root / folder.well(*well)).glob(".*.outline.*.part"):
            path.unlink()


def drop_spreadsheets(folder: Path) -> None:
    """Of a batch that came to nothing, before the database says so."""
    shutil.rmtree(folder, ignore_errors=True)
