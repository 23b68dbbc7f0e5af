"""The queue of work: which image is in which state, and every step it took.

    waiting → ready → segmented → measured      (failed, superseded)

A stage asks what is its to do, claims it by compare-and-set, works, and records the
outcome in one transaction.  Nothing about an image's progress lives only in memory.
"""

import json
from collections.abc import Sequence

from spheroidd.store.arrivals import Arrivals
from spheroidd.store.database import timestamp
from spheroidd.store.images import BACK_OFF, COLUMNS, Image, Pending, State, move
from spheroidd.store.reader import Row
from spheroidd.store.reading import state_counts


class Ledger(Arrivals):
    """All questions and moves; `now` is always an argument (seconds since the epoch)."""

    # -- claims ---------------------------------------------------------------------

    def claim(
        self,
        state: State,
        now: float,
        *,
        plate: str | None = None,
        suspects: bool | None = None,
        limit: int = 1,
    ) -> list[Image]:
        """Take up to `limit` images of one state in hand: untroubled ones first, of these the
        live ones, of these the oldest.

        Args:
            plate: of this plate only.
            suspects: only images whose last try went wrong (True), or never did (False).
        """
        condition = f"state = '{state}' AND claimed_at IS NULL"  # literal: as the indexes say
        if plate is not None:
            condition += " AND plate = :plate"
        if suspects is not None:
            condition += " AND attempts > 0" if suspects else " AND attempts = 0"
        with self._db.write() as sql:
            rows = sql.query(
                "UPDATE images SET claimed_at = :at WHERE id IN"  # noqa: S608
                f" (SELECT id FROM images WHERE {condition}"
                " ORDER BY attempts, backlog, id LIMIT :limit)"
                f" RETURNING {COLUMNS}",
                {"at": timestamp(now), "plate": plate, "limit": limit},
            )
            return sorted((Image(**row) for row in rows), key=lambda image: image.id)

    def claim_ready(self, now: float, *, limit: int, newest_first: bool = False) -> list[Image]:
        """Take images in hand that are to be segmented: untroubled ones before all others, and
        live ones before a backlog.

        Args:
            newest_first: the backlog's newest; live images and troubled ones go in their order.

        Returns:
            up to `limit`, the first to be worked on first.
        """
        if not self.any_ready(1):
            return []  # the usual case, and it takes no write lock
        first = " UNION ALL ".join(
            "SELECT id FROM (SELECT id FROM images WHERE state = 'ready' AND claimed_at IS NULL"  # noqa: S608
            f" AND {condition} LIMIT :limit)"
            for condition in (
                "backlog = 0 AND attempts = 0 ORDER BY id",
                f"backlog = 1 AND attempts = 0 ORDER BY id {'DESC' if newest_first else 'ASC'}",
                "backlog = 0 AND attempts > 0 ORDER BY attempts, id",
                "backlog = 1 AND attempts > 0 ORDER BY attempts, id",
            )
        )
        with self._db.write() as sql:
            ids = [row["id"] for row in sql.query(first, {"limit": limit})][:limit]
            rows = sql.query(
                "UPDATE images SET claimed_at = :at"  # noqa: S608
                f" WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING {COLUMNS}",
                {"at": timestamp(now), "ids": json.dumps(ids)},
            )
            return sorted((Image(**row) for row in rows), key=lambda image: ids.index(image.id))

    def any_ready(self, count: int) -> bool:
        """Whether so many images, or more, wait to be segmented in nobody's hand."""
        rows = self._db.rows(
            "SELECT count(*) AS n FROM (SELECT 1 FROM images WHERE state = 'ready'"
            " AND claimed_at IS NULL LIMIT :count)",
            {"count": count},
        )
        return bool(rows[0]["n"] >= count)

    def release(self, ids: Sequence[int], *, suspect: bool = False) -> None:
        """Hand work back unfinished; `suspect` remembers that the try went wrong."""
        with self._db.write() as sql:
            for image_id in ids:
                sql.execute(
                    "UPDATE images SET claimed_at = NULL, attempts = attempts + ? WHERE id = ?",
                    (int(suspect), image_id),
                )

    def recover(self, state: State | None = None, *, after_a_kill: bool = False) -> int:
        """Hand back every claim (of one state): whoever held it is gone.

        Args:
            after_a_kill: count a try against what was being segmented, so that an image that
                takes the whole daemon down is not the first to be tried for ever.
        """
        with self._db.write() as sql:
            if after_a_kill:
                sql.execute(
                    "UPDATE images SET attempts = attempts + 1"
                    " WHERE state = 'ready' AND claimed_at IS NOT NULL"
                )
            return sql.execute(
                "UPDATE images SET claimed_at = NULL WHERE claimed_at IS NOT NULL"
                " AND (:state IS NULL OR state = :state)",
                {"state": state},
            ).rowcount

    def pending_plates(self) -> list[Pending]:
        """Plates with segmented images in nobody's hand: those with live ones first, of these
        the longest waiting."""
        rows = self._db.rows(
            "SELECT plate, sum(attempts = 0) AS fresh, sum(attempts > 0) AS suspects,"
            " min(CASE WHEN attempts = 0 THEN segmented_at END) AS oldest FROM images"
            " WHERE state = 'segmented' AND claimed_at IS NULL GROUP BY plate"
            " ORDER BY oldest IS NULL, min(CASE WHEN attempts = 0 THEN backlog END), oldest"
        )
        return [Pending(**row) for row in rows]

    # -- failure ------------------------------------------------------------------------

    def fail(
        self,
        image: Image,
        reason: str,
        now: float,
        *,
        permanent: bool = False,
        for_ever: bool = False,
    ) -> bool:
        """Record a failure and when to try again; returns whether it will be tried again.

        Args:
            permanent: never again by itself.
            for_ever: again and again, for the image is not to blame.
        """
        attempts = image.attempts + 1
        again = for_ever or (not permanent and attempts <= len(BACK_OFF))
        wait = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
        with self._db.write() as sql:
            move(
                sql,
                image.id,
                (image.state, "failed"),
                now,
                reason,
                reason=reason,
                failed_from=image.state,
                attempts=attempts,
                next_try_at=timestamp(now + wait) if again else None,
            )
        return again

    def retry_due(self, now: float) -> int:
        """Bring back what failed and whose time has come; returns how many.

        A next try further off than its back-off was set before the clock went back, so its
        time has come too: nobody knows how much of it was left.
        """
        values = {"at": timestamp(now)}
        too_far = "next_try_at > :after_1 AND next_try_at > CASE"  # the first for the index's sake
        for attempts, wait in enumerate(BACK_OFF, start=1):
            values[f"after_{attempts}"] = timestamp(now + wait)
            too_far += f" WHEN attempts <= {attempts} THEN :after_{attempts}"
        too_far += f" ELSE :after_{len(BACK_OFF)} END"
        due = " UNION ALL ".join(
            f"SELECT 1 FROM images INDEXED BY images_retry WHERE state = 'failed' AND {condition}"  # noqa: S608
            for condition in ("next_try_at <= :at", too_far)
        )
        if not self._db.rows(f"{due} LIMIT 1", values):
            return 0  # the usual case, and it takes no write lock
        return self._bring_back(f"(next_try_at <= :at OR {too_far})", values, now, "due for retry")

    def look_again(self, now: float) -> int:
        """At start: what was set aside gets a fresh try, for the configuration, the disk,
        CellProfiler or the file may be mended by now; returns how many."""
        return self._bring_back("next_try_at IS NULL", {}, now, "tried again at start", afresh=True)

    def segment_again(self, ids: Sequence[int], now: float) -> None:
        """Take images back to `ready`: what was made of them is not all there."""
        with self._db.write() as sql:
            for image_id in ids:
                why = "segmented again: what CellProfiler needs of it is missing"
                move(sql, image_id, ("segmented", "ready"), now, why, segmented_at=None)

    def retry(
        self,
        now: float,
        *,
        plate: str | None = None,
        well: str | None = None,
        path: str | None = None,
    ) -> int:
        """Bring failed images back by hand, those set aside too; returns how many."""
        condition = "1"
        for name, value in {"plate": plate, "well": well, "path": path}.items():
            if value is not None:
                condition += f" AND {name} = :{name}"
        values = {"plate": plate, "well": well, "path": path}
        return self._bring_back(condition, values, now, "retried by hand", afresh=True)

    def _bring_back(
        self, condition: str, values: Row, now: float, why: str, *, afresh: bool = False
    ) -> int:
        with self._db.write() as sql:
            rows = list(
                sql.query(
                    "SELECT id, failed_from, attempts FROM images"  # noqa: S608
                    f" WHERE state = 'failed' AND {condition}",
                    values,
                )
            )
            for row in rows:
                move(
                    sql,
                    row["id"],
                    ("failed", row["failed_from"]),
                    now,
                    why,
                    next_try_at=None,
                    failed_from=None,
                    attempts=0 if afresh else row["attempts"],
                )
        return len(rows)

    # -- looking ---------------------------------------------------------------------------

    def in_state(self, state: State) -> list[Image]:
        """All images in one state, oldest first."""
        return self._images(f"state = '{state}'", {})  # literal: see the index `images_active`

    def handed_over(self) -> list[int]:
        """Images whose 8-bit original waits for CellProfiler, or for another try with it."""
        rows = self._db.rows(
            "SELECT id FROM images WHERE state = 'segmented'"
            " OR (state = 'failed' AND failed_from = 'segmented')"
        )
        return [row["id"] for row in rows]

    def counts(self) -> dict[str, int]:
        """How many images are in each state that counts; states without any have 0."""
        return state_counts(self._db)
