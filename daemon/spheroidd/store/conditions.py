"""How each part of the service is, since when, and what to do about it."""

from dataclasses import dataclass

from spheroidd.store.database import Database, timestamp


@dataclass(frozen=True)
class Condition:
    """One part as it is now; no `trouble`: it is well.

    `name` is short and stays the same (disk, engine, …); `urgent`: nothing is measured meanwhile.
    """

    name: str
    trouble: str = ""
    next_step: str = ""
    urgent: bool = False


class Conditions:
    """Written by the daemon; `reading.conditions` reads them."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._told: list[Condition] | None = None

    def tell(self, found: list[Condition], now: float) -> None:
        """Store all parts as they are now; `since` keeps the time of the last change between
        well and ill, and a part that is not among them any more is forgotten.

        Asked every few seconds; the database is written to only where something has changed.
        """
        if found == self._told:
            return
        with self._db.write() as sql:
            for condition in found:
                sql.execute(
                    "INSERT INTO conditions (name, trouble, next_step, urgent, since)"
                    " VALUES (:name, :trouble, :next_step, :urgent, :at)"
                    " ON CONFLICT (name) DO UPDATE SET trouble = :trouble,"
                    " next_step = :next_step, urgent = :urgent,"
                    " since = CASE WHEN (trouble = '') = (:trouble = '') THEN since ELSE :at END",
                    {
                        "name": condition.name,
                        "trouble": condition.trouble,
                        "next_step": condition.next_step,
                        "urgent": int(condition.urgent),
                        "at": timestamp(now),
                    },
                )
            names = [condition.name for condition in found]
            marks = ", ".join("?" * len(names))
            sql.execute(f"DELETE FROM conditions WHERE name NOT IN ({marks})", names)  # noqa: S608
        self._told = list(found)
