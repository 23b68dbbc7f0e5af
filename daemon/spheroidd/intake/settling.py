"""When is a file complete?  When its size and time have been quiet for long enough.

The file's own time is not trusted (copies keep old times), so the quiet is always
observed by us.  What is observed lives in memory only: after a restart a waiting
file is simply observed again.
"""


class Settling:
    """Observes files by id; `now` is a monotonic clock's seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[int, tuple[int, int, float]] = {}

    def is_quiet(self, image_id: int, size: int, mtime_ns: int, now: float) -> bool:
        """Whether this size and time have been seen unchanged for the settling time."""
        previous = self._seen.get(image_id)
        if previous is None or previous[:2] != (size, mtime_ns):
            self._seen[image_id] = (size, mtime_ns, now)
            return self._seconds <= 0
        return now - previous[2] >= self._seconds

    def forget(self, image_id: int) -> None:
        """The file was taken in, or set aside."""
        self._seen.pop(image_id, None)

    def restart(self) -> None:
        """Nothing could be observed for a while: every file is observed from the beginning."""
        self._seen.clear()
