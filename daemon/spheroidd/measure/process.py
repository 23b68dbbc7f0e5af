"""A child process that speaks JSON lines: start it, exchange lines within a time, stop it."""

import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Protocol

from spheroidd.errors import EngineError

Message = dict[str, object]
# Seconds given to each step of the ladder: a closed stdin, then SIGTERM, then SIGKILL.
LADDER = (3.0, 3.0, 5.0)
STDERR_LINES = 20
# A longer line, or more unread than this, is not our protocol; a reply comes in parts of 4 MB.
LONGEST_LINE = 64 * 2**20
MOST_UNREAD_LINES = 64
MOST_UNREAD_BYTES = 2 * LONGEST_LINE
_LONGEST_SAID = 4096  # bytes of a line on stderr, where a progress bar never ends its line


class Log(Protocol):
    """A structured log callback: the event's name, its level, and whatever belongs to it."""

    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None: ...


class WorkerFailedError(EngineError):
    """The child died, was late, or said something that isn't the protocol."""


class Child:
    """One run of a command in its own process group.

    `send` and `receive` belong to one thread; `stop` may be called from any.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Log,
        *,
        ladder: Sequence[float] = LADDER,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._ladder = ladder
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._unread = 0  # bytes in `_lines`
        self._counting = threading.Lock()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._started: queue.Queue[subprocess.Popen[bytes] | OSError] = queue.Queue()
        self._stopping = threading.Lock()
        self._writing = threading.Lock()
        self._over = False
        self._errors = threading.Thread(target=self._read_stderr, name="engine-stderr", daemon=True)
        threading.Thread(target=self._live, name="engine-stdout", daemon=True).start()
        outcome = self._started.get()
        if isinstance(outcome, OSError):
            raise WorkerFailedError(f"'{command[0]}' can't be started: {outcome.strerror}.")
        self._process = outcome
        self._errors.start()

    @property
    def alive(self) -> bool:
        """False once the child has ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The child's process id, which is its process group too."""
        return self._process.pid

    def send(self, message: Mapping[str, object], until: float) -> None:
        """Write one line before the monotonic time `until`.  Raises WorkerFailedError."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        # Unlike epoll it needs no descriptor of its own, which there may be none of.
        poll = select.poll()
        try:
            poll.register(self._stdin, select.POLLOUT)
            while data:
                if not poll.poll(1000 * max(0.0, until - time.monotonic())):
                    raise self._failure("did not read its request in time")
                # Locked against `stop`: the number of a closed descriptor is soon another
                # file's.
                with self._writing:
                    data = data[os.write(self._stdin.fileno(), data) :]
        except (OSError, ValueError) as error:
            raise self._failure("is gone") from error

    def receive(self, until: float) -> Message:
        """The next line, before the monotonic time `until`.  Raises WorkerFailedError."""
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise self._failure("did not answer in time") from None
        with self._counting:
            self._unread -= len(line or b"")
        if line is None:
            # Its last words and its exit code come a moment after its stdout has closed.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
                self._errors.join(1.0)
            raise self._failure("ended without an answer")
        try:
            message = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self._failure(f"answered with something else than JSON: {line[:80]!r}")
        return message

    def stop(self) -> None:
        """End the child and everything it started, in bounded time."""
        with self._stopping:
            if self._over:
                return
            steps = (("stdin", self._close_stdin), ("SIGTERM", self._term), ("SIGKILL", self._kill))
            for (step, act), seconds in zip(steps, self._ladder, strict=True):
                if self._process.poll() is not None:
                    break
                act()
                try:
                    self._process.wait(seconds)
                except subprocess.TimeoutExpired:
                    self._log("worker.wont_end", level="warning", pid=self.pid, after=step)
            # What the child started itself may outlive it.
            self._kill()
            self._close_stdin()
            self._over = True
            self._log("worker.stopped", pid=self.pid, code=self._process.returncode)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _close_stdin(self) -> None:
        with self._writing, suppress(OSError):
            self._stdin.close()

    def _term(self) -> None:
        _signal_group(self.pid, signal.SIGTERM)

    def _kill(self) -> None:
        _signal_group(self.pid, signal.SIGKILL)

    def _failure(self, what: str) -> WorkerFailedError:
        code = self._process.poll()
        state = "" if code is None else f" (it ended with code {code})"
        said = "\n".join(self._stderr)
        return WorkerFailedError(
            f"CellProfiler's worker {what}{state}." + (f" It said last:\n{said}" if said else "")
        )

    def _live(self) -> None:
        """Start the child and read its stdout until that closes.

        Both in one thread: the kernel kills the child when the *thread* that started it
        ends, and this one ends only after the child.
        """
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._started.put(error)
            return
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        os.set_blocking(stdin.fileno(), False)
        self._started.put(process)
        for line in iter(lambda: stdout.readline(LONGEST_LINE), b""):
            with self._counting:
                self._unread += len(line)
            self._lines.put(line)
            if self._unread > MOST_UNREAD_BYTES or self._lines.qsize() > MOST_UNREAD_LINES:
                _signal_group(process.pid, signal.SIGKILL)
        self._lines.put(None)
        stdout.close()

    def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        for line in iter(lambda: stderr.readline(_LONGEST_SAID), b""):
            text = line.decode("utf-8", "replace").rstrip()
            self._stderr.append(text)
            self._log("worker.stderr", level="debug", pid=self.pid, line=text)
        stderr.close()


def _no_number(name: str) -> object:
    """JSON has no NaN and no infinity, and an area is never one of them."""
    raise ValueError(name)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
