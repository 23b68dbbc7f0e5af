"""What is to be judged, and what is left aside because it can't be.

Wells with new evidence stand in `unjudged`; whoever changes what a well's frames are
(a measurement, a review, another run) puts it there in the same transaction.  The row of a
plate with the well '' says that the plate's limits are to be computed anew.
"""

from spheroidd.store.database import Database

WHOLE_PLATE = ""  # no well has an empty name

_ONLY = "(:only IS NULL OR plate = :only)"
# Rows that judging may change.
FREE = """
  FROM images i JOIN measurements m ON m.image_id = i.id AND m.current AND m.decision IS NULL
 WHERE i.state = 'measured' AND i.state <> 'superseded' AND NOT i.excluded
"""
# In the words of the index `measurements_counting`.
_COUNTING = (
    "CASE WHEN m.checks = '{}' THEN -1 WHEN m.object_number IS NOT NULL"
    " THEN json_extract(m.checks, '$.several_objects') IS NOT NULL END"
)


class Unjudged:
    """The wells that are to be judged, and the plates whose limits are to be computed anew."""

    def __init__(self, database: Database, plate: str | None = None) -> None:
        """
        Args:
            plate: only what is to be done for this one; None: for all.
        """
        self._db = database
        self._only = {"only": plate}
        self._aside: frozenset[tuple[str, str]] = frozenset()

    def pending(self) -> int:
        """How many wells are to be judged and plates to be settled, but those set aside."""
        rows = self._db.rows(f"SELECT plate, well FROM unjudged WHERE {_ONLY}", self._only)  # noqa: S608
        return sum((row["plate"], row["well"]) not in self._aside for row in rows)

    def next_well(self) -> tuple[str, str] | None:
        """The plate and well that is to be judged next; None: all are, or are set aside."""
        rows = self._db.rows(
            f"SELECT plate, well FROM unjudged WHERE well <> '' AND {_ONLY} LIMIT :n",  # noqa: S608
            {"n": len(self._aside) + 1, **self._only},
        )
        wells = ((row["plate"], row["well"]) for row in rows)
        return next((well for well in wells if well not in self._aside), None)

    def unsettled(self) -> list[str]:
        """Plates whose limits are to be computed anew, but those set aside."""
        rows = self._db.rows(
            f"SELECT plate FROM unjudged WHERE well = '' AND {_ONLY} ORDER BY plate",  # noqa: S608
            self._only,
        )
        plates = (row["plate"] for row in rows)
        return [plate for plate in plates if (plate, WHOLE_PLATE) not in self._aside]

    @property
    def aside(self) -> frozenset[tuple[str, str]]:
        """What was set aside: plate and well; the well '' means the plate's limits."""
        return self._aside

    def set_aside(self, plate: str, well: str = WHOLE_PLATE) -> None:
        """Leave a well (or a plate's limits) that can't be judged until `take_up_again`, so that
        it keeps nobody waiting; the database still says that it is to be judged."""
        self._aside |= {(plate, well)}

    def take_up_again(self) -> None:
        """What was set aside is to be judged like the others."""
        self._aside = frozenset()

    def unsettle_all(self, rules: str = "") -> None:
        """Every plate's limits are computed anew, unless the rules are those of the last time.

        Args:
            rules: all that limits follow from but the images (bounds, the program's version), in
                any words; empty: they may have changed.
        """
        with self._db.write() as sql:
            if rules and self._only["only"] is None:
                if sql.execute("SELECT 1 FROM judging WHERE rules = ?", (rules,)).fetchone():
                    return  # a plate that was not settled yet is still entered
                sql.execute("INSERT OR REPLACE INTO judging VALUES (1, ?)", (rules,))
            sql.execute(
                "INSERT OR IGNORE INTO unjudged (plate, well)"  # noqa: S608
                f" SELECT DISTINCT plate, :whole FROM runs WHERE {_ONLY}",
                {"whole": WHOLE_PLATE, **self._only},
            )

    def unjudge_others(self, *, several: bool) -> int:
        """Wells whose areas count objects in another way than `several` says, and those that
        were never judged, are to be judged: one plate must not hold two kinds of areas.

        Returns:
            how many wells that nobody had entered yet.
        """
        with self._db.write() as sql:
            return sql.execute(
                "INSERT OR IGNORE INTO unjudged (plate, well) SELECT DISTINCT i.plate, i.well"  # noqa: S608
                " FROM measurements m CROSS JOIN images i ON i.id = m.image_id"
                f" WHERE m.current AND m.decision IS NULL AND {_COUNTING} IN (-1, :several)"
                " AND i.state = 'measured' AND NOT i.excluded"
                " AND (:only IS NULL OR i.plate = :only)",
                {"several": int(several), **self._only},
            ).rowcount
