"""Taking in one file: read in full, decoded, hashed, given plate, well and time.

`waiting → ready`, or `failed` with the reason.
"""

import sqlite3

from structlog.typing import FilteringBoundLogger

from spheroidd.errors import ImageError
from spheroidd.intake.answers import Answers
from spheroidd.intake.facts import learn
from spheroidd.intake.folder import Folder
from spheroidd.intake.fresh import Fresh
from spheroidd.intake.original import in_8_bits
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import printable, to_stored


class Admitting:
    """For one watched folder."""

    def __init__(
        self,
        folder: Folder,
        ledger: Ledger,
        log: FilteringBoundLogger,
        answers: Answers,
        fresh: Fresh,
    ) -> None:
        self._folder = folder
        self._stored_root = to_stored(str(folder.root))
        self._ledger = ledger
        self._log = log
        self._answers = answers
        self._fresh = fresh

    def admit(self, image: Image, now: float) -> None:
        """Take in a file that is quiet.

        Raises:
            OSError, sqlite3.Error: the state folder's trouble, not the image's.
        """
        log = self._log.bind(path=printable(image.path))
        try:
            relative = image.path[len(self._stored_root) :].lstrip("/")
            parsed = self._folder.pattern.parse(relative)
            log = log.bind(plate=printable(parsed.plate), well=printable(parsed.well))
            with self._answers.awaited():
                facts, pixels = learn(self._folder, self._ledger, image, parsed)
            self._fresh.keep(image.id, in_8_bits(self._ledger, facts.plate, pixels))
        except ImageError as error:
            self._fail(image, error, log, now)
            return
        except (OSError, sqlite3.Error):
            raise
        except Exception as error:  # a decoder's own way to choke: the others go on
            log.exception("an image could not be taken in")
            self._fail(image, ImageError(f"It could not be taken in: {error!r}."), log, now)
            return
        admitted = self._ledger.admit(image.id, facts, now)
        if admitted.fresh:
            self._fresh.more.set()
        else:
            self._fresh.take(image.id)
        log.info(
            "image complete" if admitted.fresh else "same content again, nothing to do",
            captured_at=facts.captured_at,
            captured_from=facts.captured_from,
        )
        if admitted.twin:
            log.warning(
                "same plate, well and frame as another image", twin=printable(admitted.twin)
            )

    def _fail(self, image: Image, error: ImageError, log: FilteringBoundLogger, now: float) -> None:
        reason = str(error)
        again = self._ledger.fail(
            image, reason, now, permanent=error.permanent, for_ever=error.unreachable
        )
        log.warning(
            "image not usable",
            reason=reason,
            next="tried again later" if again else "set aside; see `spheroidd status`",
        )
