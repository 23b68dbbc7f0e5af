"""How long a folder has owed an answer.

A share whose server is gone, or a FUSE file system whose process hangs, does not fail: whoever
asks it anything waits in the kernel, for ever.  Nothing can call such a thread back, so others
look how long it has been waiting.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

# Longer than a slow but living share takes for one answer, a large image over a bad line too.
NO_ANSWER_SECONDS = 30.0


class Answers:
    """What the threads that ask one folder are waiting for; any thread may look."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._asked: dict[int, float] = {}  # thread → since when it has been waiting

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Around everything that may ask the folder."""
        thread = threading.get_ident()
        inside = thread in self._asked
        self._asked[thread] = self._monotonic()
        try:
            yield
        finally:
            if inside:
                self.came()
            else:
                del self._asked[thread]

    def came(self) -> None:
        """Within `awaited`: one of many answers came, and the next one is waited for."""
        self._asked[threading.get_ident()] = self._monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long the longest-waiting thread has had no answer; 0 when none waits."""
        asked = list(self._asked.values())
        return max(0.0, self._monotonic() - min(asked)) if asked else 0.0

    @property
    def missing(self) -> bool:
        """Whether the folder does not answer, by any measure."""
        return self.silent_seconds > NO_ANSWER_SECONDS
