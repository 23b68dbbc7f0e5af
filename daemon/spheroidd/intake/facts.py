"""What a complete file tells: its place on the plate, its time, its content."""

import math
from datetime import UTC, datetime

import numpy as np

from spheroidd.errors import ImageError
from spheroidd.intake.capture import CapturedAt, capture_time
from spheroidd.intake.folder import Folder
from spheroidd.intake.imagefile import ImageFile, choose_scale, read_image
from spheroidd.intake.naming import ParsedName, natural_key
from spheroidd.intake.raster import Pixels
from spheroidd.intake.scan import storable_ns
from spheroidd.store.images import Admission, Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable, to_real

_SAME_SIZE = 0.01  # relative; calibrations are rounded when they are written down


def learn(
    folder: Folder, ledger: Ledger, image: Image, parsed: ParsedName
) -> tuple[Admission, Pixels]:
    """Read a waiting file in full and say everything the ledger wants to know; and its pixels.

    Raises:
        ImageError: it can't be read, is no complete image, changes while it is read, or has
            another pixel size than its folder.
    """
    file = read_image(to_real(image.path), accept_zeros=image.last_try)
    mtime_ns = storable_ns(file.mtime_ns)
    if (file.size, mtime_ns) != (image.size, image.mtime_ns):
        raise ImageError("It changed while it was read.", "It will be read again.")
    pixel_size_um = _pixel_size(folder, file)
    captured = _captured(folder, ledger, parsed, file)
    if file.pixels.dtype == np.uint16 and ledger.plate(parsed.plate)["scale_high"] is None:
        low, high = choose_scale(file.pixels)
        ledger.settle_plate(parsed.plate, scale_low=low, scale_high=high)
    height, width = file.pixels.shape[:2]
    admission = Admission(
        plate=parsed.plate,
        well=parsed.well,
        name=parsed.name,
        timepoint=parsed.timepoint,
        field=parsed.field,
        channel=parsed.channel,
        captured_at=captured.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        captured_from=captured.source,
        plate_key=natural_key(parsed.plate),
        well_key=natural_key(parsed.well),
        time_key=_time_key(parsed, captured),
        sha256=file.sha256,
        size=file.size,
        mtime_ns=mtime_ns,
        width=width,
        height=height,
        bit_depth=file.bit_depth,
        pixel_size_um=pixel_size_um,
    )
    return admission, file.pixels


def _pixel_size(folder: Folder, file: ImageFile) -> float | None:
    """µm per pixel, from the configuration or the file.

    Two that differ are an error: whichever were taken, some areas in µm² would be wrong, and
    nobody would see it.  It is permanent, and every start of the daemon looks again.
    """
    configured, said = folder.pixel_size_um, file.pixel_size_um
    if configured is None or said is None:
        return configured or said
    if not math.isclose(configured, said, rel_tol=_SAME_SIZE):
        raise ImageError(
            f"The pixel size is {configured:.6g} µm in the configuration and {said:.6g} µm in "
            "the file.",
            f"Correct pixel_size_um of the watched folder {printable(str(folder.root))}, or take "
            "it out to go by the files, and restart; or export the image with the right size.",
            permanent=True,
        )
    return configured


def _captured(folder: Folder, ledger: Ledger, parsed: ParsedName, file: ImageFile) -> CapturedAt:
    stored = ledger.plate(parsed.plate)["origin_at"]
    captured = capture_time(
        parsed,
        mtime=file.mtime_ns / 1e9,
        metadata_time=file.taken_at,
        interval_minutes=folder.interval_minutes,
        origin=datetime.fromisoformat(stored) if stored else None,
        zone=folder.timezone,
    )
    if captured.origin is not None and not stored:
        ledger.settle_plate(parsed.plate, origin_at=captured.origin.isoformat())
    return captured


def _time_key(parsed: ParsedName, captured: CapturedAt) -> str:
    """Sorts a well's images by time.

    A file's own date is weak evidence (copying changes it), so where nothing better
    is known the frame number in the name decides the order.
    """
    if captured.source == "mtime" and parsed.timepoint is not None:
        return f"frame {parsed.timepoint:012d}"
    return captured.at.astimezone(UTC).isoformat(timespec="milliseconds")
