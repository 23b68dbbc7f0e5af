"""How often a secret may be tried: by one address, and by all together.

Each has a bucket that a try takes from and time fills again.  Whoever was right gets it back, so
only wrong tries count.  An address that was right before is not held up by what others try.
"""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

_MOST_ADDRESSES = 4096  # that are remembered; who was longest ago is forgotten first
_T = TypeVar("_T")
_IPV6_PREFIX = 64  # a single machine may have all addresses of one


@dataclass(frozen=True)
class Pace:
    """`burst` tries at once, then one every `seconds`."""

    burst: int
    seconds: float


ADDRESS = Pace(5, 30.0)  # 2885 guesses a day
# No more at once than the threads that answer can spare.
EVERYBODY = Pace(10, 3.0)


class Attempts:
    """Counts tries; thread-safe, of bounded size."""

    def __init__(self, address: Pace = ADDRESS, everybody: Pace = EVERYBODY) -> None:
        self._address = address
        self._everybody = _Bucket(everybody)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._right: OrderedDict[str, None] = OrderedDict()
        self._turn = threading.Lock()

    def take(self, address: str, now: float) -> float:
        """Before a try: count it.

        Args:
            now: seconds of a clock that never goes back.

        Returns:
            0.0, or how many seconds to wait instead.
        """
        key = network(address)
        with self._turn:
            bucket = self._bucket(key)
            shared = None if key in self._right else self._everybody
            wait = max(bucket.wait(now), shared.wait(now) if shared else 0.0)
            if not wait:
                bucket.take(now)
                if shared:
                    shared.take(now)
            return wait

    def right(self, address: str) -> None:
        """After a try that was right: it does not count, nor do the wrong ones before it."""
        key = network(address)
        with self._turn:
            if key not in self._right:
                self._everybody.put_back()
            self._buckets.pop(key, None)
            _keep(self._right, key, None)

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._buckets) + len(self._right)

    def _bucket(self, key: str) -> "_Bucket":
        bucket = self._buckets.get(key) or _Bucket(self._address)
        _keep(self._buckets, key, bucket)
        return bucket


class _Bucket:
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._level = float(pace.burst)
        self._at: float | None = None

    def wait(self, now: float) -> float:
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        self._level = min(self._pace.burst, self._level + since / self._pace.seconds)
        self._at = now
        # What rounding takes away must not cost another second.
        return max(0.0, (1.0 - 1e-9 - self._level) * self._pace.seconds)

    def take(self, now: float) -> None:
        self._at = now
        self._level = max(0.0, self._level - 1.0)

    def put_back(self) -> None:
        self._level = min(self._pace.burst, self._level + 1.0)


def network(address: str) -> str:
    """What counts as one address: IPv4's whole, IPv6's first 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)


def _keep(kept: "OrderedDict[str, _T]", key: str, value: _T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _MOST_ADDRESSES:
        kept.popitem(last=False)
