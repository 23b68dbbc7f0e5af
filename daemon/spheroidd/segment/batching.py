"""Several images in one run of a model, without anybody waiting for a batch to fill.

"Group commit", as databases have it for their log.  Each thread brings one image's input.  One of
them takes all the inputs that wait at that moment, and runs them as one batch; what comes
meanwhile is the next batch:

    live      one image comes, none else waits       → batches of one, at once
    backlog   while one batch runs, others gather    → the slower the run, the larger the batch

While a batch runs the next one is already put together and travels to the device: the device
goes from one to the next.

A batch that fails says nothing about any image of it.  Each of them is run again alone, and only
what fails alone is that image's failure.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_Waiting = tuple[Array, "Future[Array]"]


class Run(Protocol):
    """Runs a batch, N×…, calls `begun` when its turn has come, and gives N outputs, N×…."""

    def __call__(self, feed: Array, begun: Callable[[], None]) -> Array: ...


class Batches:
    """Gathers the inputs of several threads.

    What runs them is handed over each time and not kept: a session that kept its batches, and
    they it, would have its memory on the device until garbage is collected.
    """

    def __init__(self, most: int, tell: Callable[[str], None]) -> None:
        """
        Args:
            most: inputs in a batch, a power of two.
            tell: told, in one line, when batches of some size are given up.
        """
        self._most = most
        self._tell = tell
        self._waiting: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._gathered = False  # a batch, which waits for its turn to run

    @property
    def most(self) -> int:
        """Inputs in a batch, as far as is known by now."""
        return self._most

    def output_of(self, feed: Array, run: Run) -> Array:
        """The output for one input, 1×….

        Args:
            run: runs one batch, from any thread; the next one is handed over before the last one
                is through.  It sees to it that they take turns, and calls what it was given when
                its turn has come.

        Raises:
            Exception: whatever `run` raised for this input alone.
        """
        mine: Future[Array] = Future()
        with self._change:
            self._waiting.append((feed, mine))
        while taken := self._take(mine):
            with ExitStack() as until_it_runs:
                until_it_runs.callback(self._let_gather)
                self._work_off(taken, partial(run, begun=until_it_runs.close))
        return mine.result()

    def try_out(
        self, feeds: Sequence[Array], run: Run, same: Callable[[Array, Array], bool]
    ) -> None:
        """Run inputs in batches of every size, so that later ones find everything warm; the sizes
        that fail, or where an input's output depends on its company, are given up.

        Args:
            feeds: inputs as unlike as can be.
            run: as for `output_of`.
            same: whether two outputs are the same but for rounding.

        Raises:
            Exception: whatever `run` raised for one of them alone.
        """
        run_now = partial(run, begun=_nothing)
        alone = [run_now(feed) for feed in feeds]
        size = 2
        while size <= self._most:
            known = [n % len(feeds) for n in range(size)]
            try:
                outputs = _together([feeds[n] for n in known], run_now)
                if not all(same(alone[n], out) for n, out in zip(known, outputs, strict=True)):
                    raise ValueError("an image's map depends on the others in its batch")
            except Exception as error:  # whatever `run` raises
                self._give_up(size, str(error).partition("\n")[0])
            size *= 2

    def _take(self, mine: Future[Array]) -> list[_Waiting]:
        """All that waits, once it is this thread's turn to gather; nothing if its own input is in
        somebody's hands."""

        def is_taken() -> bool:
            return mine.running() or mine.done()

        with self._change:
            self._change.wait_for(lambda: is_taken() or not self._gathered)
            if is_taken():
                return []
            self._gathered = True
            taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            for _, future in taken:
                future.set_running_or_notify_cancel()
            return taken

    def _let_gather(self) -> None:
        with self._change:
            self._gathered = False
            self._change.notify_all()

    def _work_off(self, taken: Sequence[_Waiting], run: Callable[[Array], Array]) -> None:
        """See that each has its output, or its own error."""
        try:
            outputs = _together([feed for feed, _ in taken], run)
        except BaseException as error:  # a thread that ends must not leave others waiting
            if len(taken) == 1:
                taken[0][1].set_exception(error)
                return
            reason = str(error).partition("\n")[0]
        else:
            for (_, future), output in zip(taken, outputs, strict=True):
                future.set_result(output)
            return
        for one in taken:
            self._work_off([one], run)
        if all(future.exception() is None for _, future in taken):
            self._give_up(_size(len(taken)), reason)

    def _give_up(self, size: int, reason: str) -> None:
        """Each of its images goes well alone, so it is too large, for the device or for the model:
        the next one would fail as well, and cost the time of two."""
        self._most = max(1, min(self._most, size // 2))
        self._tell(f"at most {self._most} images in a batch from now on: {reason}")


def _together(feeds: Sequence[Array], run: Callable[[Array], Array]) -> list[Array]:
    """Each one's output, of one run."""
    # Padded with the last one: a device then sees few shapes, each of which it prepares for.
    padded = [*feeds, *[feeds[-1]] * (_size(len(feeds)) - len(feeds))]
    outputs = run(np.concatenate(padded) if len(padded) > 1 else padded[0])
    if len(outputs) != len(padded):
        raise ValueError(f"{len(outputs)} outputs for {len(padded)} images")
    return [outputs[n : n + 1] for n in range(len(feeds))]


def _size(count: int) -> int:
    """The next of 1, 2, 4, 8…"""
    return 1 << (count - 1).bit_length()


def _nothing() -> None:
    pass
