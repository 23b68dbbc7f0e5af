"""Where everything lies under `state_dir`; the only place that builds such paths."""

import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from spheroidd.errors import StoreError

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-()+,=@")
_LONGEST = 120
_ENDINGS = {"outline": "jpg"}  # a picture for people only; all others are PNG


def safe_name(text: str) -> str:
    """A folder name for a plate or well: readable, never a path, different for different texts.

    Anything unusual becomes %XX (of its UTF-8 bytes); what is then too long is cut
    and told apart by a hash.
    """
    encoded = "".join(
        character
        if character in _PLAIN
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in text
    )
    if not encoded.strip(" .") or encoded[0] in " ." or encoded[-1] in " .":
        encoded = encoded.replace(".", "%2E").replace(" ", "%20") or "%"
    if len(encoded) > _LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        encoded = f"{encoded[: _LONGEST - 13]}~{digest}"
    return encoded


@dataclass(frozen=True)
class StateFolder:
    """The layout of a state folder; paths given back are relative to `root`."""

    root: Path

    def create(self) -> None:
        """Make the folder and see that it can be written.

        Raises:
            StoreError: saying what to do.
        """
        probe = self.root / f".write-test-{os.getpid()}"
        try:
            for folder in (self.root, self.handover, self.root / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            for left in self.root.glob(".write-test-*"):  # those of killed ones too
                left.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The state folder {self.root} can't be written: {error.strerror}.",
                "Create it for the user that runs spheroidd, or choose another `state_dir`.",
            ) from error

    @property
    def database(self) -> Path:
        return self.root / "spheroidd.db"

    def backups(self, configured: Path | None = None) -> Path:
        """Where copies of the database lie: as the configuration says, or the usual folder."""
        return configured or self.root / "backups"

    @property
    def lock(self) -> Path:
        return self.root / "spheroidd.lock"

    @property
    def handover(self) -> Path:
        """8-bit originals on their way from segmentation to CellProfiler."""
        return self.root / "handover"

    @property
    def models(self) -> Path:
        """Models compiled for this machine, and the trials that chose where they run."""
        return self.root / "cache" / "models"

    @property
    def scratch(self) -> Path:
        """The worker's own temporary folder, emptied when it starts."""
        return self.root / "tmp" / "cellprofiler"

    def image(
        self, plate: str, well: str, name: str, image_id: int, kind: str, run: int | None = None
    ) -> Path:
        """`images/<plate>/<well>/<name>.<id>.<kind>.png`; the id keeps versions apart.

        An outline ends in `.jpg`.

        Args:
            run: one that measures again; its pictures lie in a folder of their own below the
                well's (`run-<number>`), so that nothing of before is overwritten.
        """
        stem = safe_name(Path(name).stem or name)[:80]
        folder = self.well(plate, well)
        if run is not None:
            folder /= self.run(run)
        return folder / f"{stem}.{image_id}.{kind}.{_ENDINGS.get(kind, 'png')}"

    def run(self, run: int) -> str:
        """The folder, below a well's, of what one run made."""
        return f"run-{run}"

    def well(self, plate: str, well: str) -> Path:
        """The folder of one well's masks, white-background images and outlines."""
        return self.plate(plate) / safe_name(well)

    def plate(self, plate: str) -> Path:
        """The folder of a plate's wells."""
        return Path("images", safe_name(plate))

    def batch(self, plate: str, batch_id: int) -> Path:
        """`batches/<plate>/<batch>`: CellProfiler's spreadsheets of one batch."""
        return Path("batches", safe_name(plate), f"{batch_id:06d}")

    def again(self, plate: str) -> Path:
        """Absolute path of the folder in which one plate is measured again: the lock, the
        worker's scratch, originals on their way.  Nothing of the daemon's is in it."""
        return self.root / "tmp" / "again" / safe_name(plate)

    def is_measured_again(self, plate: str) -> bool:
        """Whether a process holds the lock in `again` just now, as far as can be told."""
        try:
            with (self.again(plate) / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def original(self, image_id: int) -> Path:
        """Absolute path of one image's 8-bit original while it is handed over."""
        return self.handover / f"{image_id}.npy"
