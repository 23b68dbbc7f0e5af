"""The table that says who was told of what, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spheroidd.store.database import Database, timestamp
from spheroidd.store.reader import Reader, Row, seconds_of
from spheroidd.store.sights import Sights

_DAY = 24 * 3600.0
_NEWS = 3 * _DAY  # what is over for longer is no news any more: a long weekend


@dataclass(frozen=True)
class Alert:
    """Something that people should know; `key` says what it is about and stays the same.

    `urgent`: it can't wait, not even by night.
    """

    key: str
    urgent: bool
    title: str
    body: str


@dataclass(frozen=True)
class StoredAlert(Alert):
    """An alert that is open, or whose end is still to be told, as the table has it; times are
    seconds since the epoch, None: not yet."""

    id: int
    raised_at: float
    told_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class Told:
    """What people have just been told: an alert as it holds now, or (`over`) that it is over."""

    id: int
    at: float
    over: bool
    urgent: bool
    title: str
    body: str


@dataclass(frozen=True)
class PreviousEnd:
    """A daemon that did not end as it should: its last sign of life, and why it ended itself
    (empty: it was killed, or the machine went down).  Where it never `began`: since when it
    could not start, and why."""

    at: float
    reason: str = ""
    began: bool = True


class Alerting:
    """Reads over the eyes that look at everything else; writes through the daemon's connection.

    Every method may raise sqlite3.Error, OSError or StoreError.
    """

    def __init__(self, database: Database, sights: Sights) -> None:
        self._db = database
        self._sights = sights

    def stored(self, now: float) -> list[StoredAlert]:
        """Alerts that are open, and those whose end is still to be told; the oldest first."""
        rows = self._sights.rows(
            "SELECT * FROM alerts WHERE ended_at IS NULL"
            " OR (end_told_at IS NULL AND ended_at >= :news) ORDER BY id",
            {"news": timestamp(now - _NEWS)},
        )
        return [_stored(row) for row in rows]

    def raised(self, now: float) -> Mapping[str, int]:
        """How many alerts of each key were raised within the last day."""
        rows = self._sights.rows(
            "SELECT key, count(*) AS n FROM alerts WHERE raised_at >= :since GROUP BY key",
            {"since": timestamp(now - _DAY)},
        )
        return {row["key"]: row["n"] for row in rows}

    def raised_since(self, key: str, since: float) -> int:
        """How many alerts of one key were raised since a moment."""
        [row] = self._sights.rows(
            "SELECT count(*) AS n FROM alerts WHERE key = :key AND raised_at >= :since",
            {"key": key, "since": timestamp(since)},
        )
        return int(row["n"])

    def change(
        self, raised: Sequence[Alert], ended: Sequence[tuple[int, bool]], now: float
    ) -> None:
        """Enter new alerts and close those that are over, in one transaction.

        Args:
            ended: number of an alert, and whether nobody is to be told of its end.
        """
        at = timestamp(now)
        with self._db.write() as sql:
            for number, quietly in ended:
                sql.execute(
                    "UPDATE alerts SET ended_at = ?, end_told_at = ? WHERE id = ?",
                    (at, at if quietly else None, number),
                )
            for alert in raised:
                sql.execute(
                    "INSERT INTO alerts (key, urgent, title, body, raised_at)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (alert.key, int(alert.urgent), alert.title, alert.body, at),
                )

    def happened(
        self, alert: Alert, since: float, until: float, *, told: float | None, quietly: bool
    ) -> None:
        """Enter what is over already.

        Args:
            told: when people were told of it.
            quietly: nobody is to be told that it is over.
        """
        at = timestamp(until)
        with self._db.write() as sql:
            sql.execute(
                "INSERT INTO alerts (key, urgent, title, body, raised_at, told_at, ended_at,"
                " end_told_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(alert.key, int(alert.urgent), alert.title, alert.body),
                    *(timestamp(since), None if told is None else timestamp(told)),
                    *(at, at if quietly else None),
                ),
            )

    def told(self, entries: Sequence[Told]) -> None:
        """Remember that people know."""
        with self._db.write() as sql:
            for entry in entries:
                at = timestamp(entry.at)
                sql.execute(
                    "UPDATE alerts SET told_at = CASE WHEN :over THEN coalesce(told_at, :at)"
                    " ELSE :at END, end_told_at = CASE WHEN :over THEN :at END, urgent = :urgent,"
                    " title = :title, body = :body, tries = tries + 1, error = NULL"
                    " WHERE id = :id",
                    {**vars(entry), "at": at},
                )

    def not_told(self, numbers: Sequence[int], why: str) -> None:
        """Remember a try that reached nobody; `why` holds no secrets."""
        with self._db.write() as sql:
            for number in numbers:
                sql.execute(
                    "UPDATE alerts SET tries = tries + 1, error = ? WHERE id = ?", (why, number)
                )


def previous_end(database: Database) -> PreviousEnd | None:
    """How the daemon before this one ended; None: as it should, or there was none.

    To be asked before `Health.started` forgets it.
    """
    rows = database.rows("SELECT phase, heartbeat_at, stopped_at, trouble FROM service")
    if not rows or rows[0]["phase"] == "stopped":
        return None
    row = rows[0]
    if row["stopped_at"] is None:
        return PreviousEnd(seconds_of(row["heartbeat_at"]))
    return PreviousEnd(seconds_of(row["stopped_at"]), row["trouble"] or "see the log")


def recent_alerts(reader: Reader, limit: int = 50) -> list[Row]:
    """Alerts that are open, then the newest of the others, with `open` 1 or 0."""
    return reader.rows(
        "SELECT *, ended_at IS NULL AS open FROM alerts"
        " ORDER BY ended_at IS NULL DESC, id DESC LIMIT :limit",
        {"limit": limit},
    )


def _stored(row: Row) -> StoredAlert:
    def time(name: str) -> float | None:
        return None if row[name] is None else seconds_of(row[name])

    return StoredAlert(
        key=row["key"],
        urgent=bool(row["urgent"]),
        title=row["title"],
        body=row["body"],
        id=row["id"],
        raised_at=seconds_of(row["raised_at"]),
        told_at=time("told_at"),
        ended_at=time("ended_at"),
    )
