"""Several images in hand at once: while the model works on one, others are read and written."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from spheroidd.store.images import Image

# Together they take no more memory than one very large image, unless there is only that one.
_MOST_PX = 32_000_000
# Far beyond what any image takes; then it is waited for, so that somebody sees that it is stuck.
_LONG_SECONDS = 120.0

Work = Callable[[Image, float], None]


class Lanes:
    """A few threads, each of which has one image from its reading to its end."""

    def __init__(self, count: int, work: Work) -> None:
        """
        Args:
            work: all that is to be done with an image, at a time; what it raises is no image's
                fault, and is raised again by `wait_for_one`.
        """
        self._count = count
        self._work = work
        self._tasks: queue.SimpleQueue[tuple[Image, float, Future[None]] | None]
        self._tasks = queue.SimpleQueue()
        self._hand: dict[Future[None], tuple[float, int]] = {}  # → since when, pixels
        self._threads = 0

    @property
    def busy(self) -> bool:
        """Whether any image is in hand."""
        return bool(self._hand)

    @property
    def free(self) -> int:
        """How many images more could be in hand."""
        return self._count - len(self._hand)

    def fits(self, image: Image) -> bool:
        """Whether this one can be taken in hand now."""
        held = sum(pixels for _, pixels in self._hand.values())
        return not self._hand or (self.free > 0 and held + _pixels(image) <= _MOST_PX)

    def begin(self, image: Image, now: float) -> None:
        """Take an image that fits in hand."""
        if self._threads < self._count and self._threads <= len(self._hand):
            self._threads += 1
            threading.Thread(target=self._run, name=f"segment {self._threads}", daemon=True).start()
        task: Future[None] = Future()
        self._hand[task] = (time.monotonic(), _pixels(image))
        self._tasks.put((image, now, task))

    def wait_for_one(self) -> None:
        """Until one image is through, or the one that takes far too long."""
        since = min(began for began, _ in self._hand.values())
        late = [task for task, (began, _) in self._hand.items() if began == since]
        wanted = late if time.monotonic() - since > _LONG_SECONDS else list(self._hand)
        for task in wait(wanted, return_when=FIRST_COMPLETED).done:
            del self._hand[task]
            task.result()

    def drain(self) -> None:
        """Until nothing is in hand, whatever becomes of it."""
        wait(self._hand)
        self._hand.clear()

    def end(self) -> None:
        """Let the threads end after what they have in hand."""
        for _ in range(self._threads):
            self._tasks.put(None)
        self._threads = 0

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            image, now, future = task
            try:
                self._work(image, now)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)


def _pixels(image: Image) -> int:
    return (image.width or 0) * (image.height or 0)
