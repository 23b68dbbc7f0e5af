"""Who is logged in: in memory alone, so that a restart logs everybody out."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

_IDLE_SECONDS = 12 * 3600.0  # an open live page counts as use: people hang it on the wall
_AT_MOST_SECONDS = 7 * 24 * 3600.0
_MOST_SESSIONS = 1000  # who was away longest is logged out first
_ID_BYTES = 32


@dataclass
class Session:
    """One browser that has logged in.

    Attributes:
        name: the initials given at login; the default of who decides.
        csrf: must come with everything that changes something.
        began, used: seconds of a clock that never goes back.
    """

    name: str
    csrf: str
    began: float
    used: float


class Sessions:
    """Who is logged in, by a random number that only their browser has; thread-safe."""

    def __init__(self) -> None:
        # By the number's hash: who sees this table can't log in with it, and looking a
        # number up takes the same time whether or not it begins like a real one.
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._turn = threading.Lock()

    def begin(self, name: str, now: float) -> str:
        """Log in; the new session's number.  It is never one that a browser brought along."""
        number = secrets.token_urlsafe(_ID_BYTES)
        with self._turn:
            self._sessions[_key(number)] = Session(name, secrets.token_urlsafe(), now, now)
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return number

    def of(self, number: str, now: float) -> Session | None:
        """The session with this number, which is used by that; None: there is none (any more)."""
        key = _key(number)
        with self._turn:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.used > _IDLE_SECONDS or now - session.began > _AT_MOST_SECONDS:
                del self._sessions[key]
                return None
            session.used = now
            self._sessions.move_to_end(key)
            return session

    def end(self, number: str) -> None:
        """Log out; safe to call twice."""
        with self._turn:
            self._sessions.pop(_key(number), None)

    def __len__(self) -> int:
        return len(self._sessions)


def _key(number: str) -> bytes:
    return hashlib.sha256(number.encode("utf-8", "replace")).digest()
