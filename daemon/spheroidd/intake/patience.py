"""Reading originals without being caught in a folder that hangs.

A few threads segment the images of all folders.  They never touch a folder themselves: each lets
a thread of its own for that folder read, and after a while goes on with the others.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

import numpy as np
from numpy.typing import NDArray

from spheroidd.errors import ImageError
from spheroidd.intake import answers as answering
from spheroidd.intake.answers import Answers
from spheroidd.intake.fresh import Fresh
from spheroidd.store.images import Image
from spheroidd.store.paths import to_real

_LOOK_SECONDS = 0.2

Pixels = NDArray[np.uint8]
Read = Callable[[Image], Pixels]


class Patience:
    """Reads images: however many are asked for, a folder that hangs holds one thread for each
    thread that asks."""

    def __init__(self, read: Read, fresh: Fresh) -> None:
        """
        Args:
            read: gives an image's pixels, or raises; it may never come back.
            fresh: may have them already.
        """
        self._read = read
        self._fresh = fresh
        self._folders: dict[str, Answers] = {}
        self._readers: dict[tuple[str, int], _Reader] = {}  # by folder, and by who asks
        self._ending = threading.Event()
        self._changing = threading.Lock()  # no reader is made that `stop` does not see

    def answers(self, root: str) -> Answers:
        """How a watched folder (in its stored form) answers; one and the same for everybody."""
        return self._folders.setdefault(root, Answers())

    def read(self, image: Image) -> Pixels:
        """What `read` gives.

        Raises:
            ImageError: as `read`; or the folder does not answer (unreachable).
            InterruptedError: it was told to stop while the folder did not answer.
        """
        pixels = self._fresh.take(image.id)
        return pixels if pixels is not None else self._reader(image.root).ask(image)

    def _reader(self, root: str) -> "_Reader":
        mine = (root, threading.get_ident())
        with self._changing:
            reader = self._readers.get(mine)
            if reader is None:
                if self._ending.is_set():
                    raise InterruptedError("stopped before it was read")
                reader = _Reader(root, self._read, self.answers(root), self._ending)
                self._readers[mine] = reader
        return reader

    def stop(self) -> None:
        """Wait for no folder any more, and let the threads end: one that hangs in its folder
        ends when that answers.  From any thread."""
        with self._changing:
            self._ending.set()
            for reader in self._readers.values():
                reader.end()


class _Reader:
    """A thread that reads from one folder for another thread, and the read it may hang in."""

    def __init__(self, root: str, read: Read, answers: Answers, ending: threading.Event) -> None:
        self._read = read
        self._answers = answers
        self._ending = ending
        self._tasks: queue.SimpleQueue[tuple[Image, Future[Pixels]] | None] = queue.SimpleQueue()
        self._stuck: Future[Pixels] | None = None
        threading.Thread(target=self._work, name=f"reading {root}", daemon=True).start()

    def ask(self, image: Image) -> Pixels:
        if self._stuck is not None and not self._stuck.done():
            raise _no_answer(image)
        task: Future[Pixels] = Future()
        self._stuck = task
        self._tasks.put((image, task))
        waited = 0.0
        while waited < answering.NO_ANSWER_SECONDS:
            if wait([task], _LOOK_SECONDS).done:
                self._stuck = None
                return task.result()
            if self._ending.is_set():
                raise InterruptedError("stopped while a folder did not answer")
            waited += _LOOK_SECONDS
        raise _no_answer(image)

    def end(self) -> None:
        """Let the thread end after what it has to do; whoever asks later asks in vain."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._one(*task)

    def _one(self, image: Image, task: "Future[Pixels]") -> None:
        try:
            with self._answers.awaited():
                pixels = self._read(image)
        except BaseException as error:
            task.set_exception(error)
        else:
            task.set_result(pixels)


def _no_answer(image: Image) -> ImageError:
    return ImageError(
        f"{to_real(image.path)!r}: It can't be read: its folder does not answer.",
        "It is read as soon as the folder answers again.",
        unreachable=True,
    )
