"""Bounds on what an address, and all together, take of the bridge before a signature proves them.

Pure. Addresses stay in here: they are in no metric and in no log.
"""

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

REFUSALS_AT_ONCE = 100
REFUSALS_PER_S = 10.0
"""Refused requests of one address until its connections are closed. Segment has none, unless the
secret is wrong."""
TRUSTED_S = 3_600.0
"""Seconds for which a signed request excuses its address: behind a proxy all have the same."""
ADDRESSES_MAX = 10_000
"""Addresses that are remembered, the latest ones: some megabytes."""


@lru_cache(maxsize=1024)
def network(host: str | None) -> str:
    """Return the part of an address that one sender cannot change at will.

    Of IPv6 that is the network of 64 bits, which providers assign to a customer. Source: RFC 6177.
    """
    try:
        found = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class SharedCapacity:
    """A capacity of which an address may hold no more than it leaves free for the others.

    One address holds a half at most, two hold a third each. An address that holds nothing always
    finds some. Without ``by_address`` only the whole is bounded. Source: A. K. Choudhury and E. L.
    Hahne, Dynamic queue length thresholds for shared-memory packet switches, 1998, with alpha = 1.
    """

    def __init__(self, most: int, *, by_address: bool = True) -> None:
        self.used = 0
        self._most = most
        self._by_address = by_address
        self._held: Counter[str] = Counter()

    def take(self, address: str, count: int) -> bool:
        """Reserve ``count`` and return True, or reserve nothing."""
        free = self._most - self.used - count
        held = self._held[address] + count if self._by_address else 0
        if held > free:
            return False
        self.used += count
        self._held[address] += count
        return True

    def held(self, address: str) -> int:
        """Return what the address holds."""
        return self._held[address]

    def release(self, address: str, count: int) -> None:
        """Give back what ``take`` reserved."""
        self.used -= count
        self._held[address] -= count
        if not self._held[address]:
            del self._held[address]


@dataclass(slots=True)
class _Conduct:
    left: float
    """Refusals until its connections are closed."""
    counted_at: float
    trusted_until: float = -math.inf


class Refusals:
    """Recognises addresses whose requests are refused again and again, and none is signed."""

    def __init__(self, clock: Callable[[], float], *, by_address: bool = True) -> None:
        self._clock = clock
        self._by_address = by_address
        self._conduct: OrderedDict[str, _Conduct] = OrderedDict()

    def refused(self, address: str) -> None:
        """Count a request whose sender has proved nothing."""
        conduct = self._current(address)
        conduct.left = max(0.0, conduct.left - 1)

    def signed(self, address: str) -> None:
        """Trust an address: a request of it was signed."""
        self._current(address).trusted_until = self._clock() + TRUSTED_S

    def is_excluded(self, address: str, *, connections: int = 0) -> bool:
        """Return whether connections of the address are to be closed.

        ``connections`` is the number of them that may still bring a refusal: after the first
        refusal, an address opens no more at once than it has refusals left.
        """
        if not self._by_address or address not in self._conduct:
            return False
        conduct = self._current(address)
        if conduct.trusted_until >= self._clock():
            return False
        return conduct.left < min(REFUSALS_AT_ONCE, 1 + connections)

    def _current(self, address: str) -> _Conduct:
        now = self._clock()
        conduct = self._conduct.setdefault(address, _Conduct(REFUSALS_AT_ONCE, now))
        self._conduct.move_to_end(address)
        if len(self._conduct) > ADDRESSES_MAX:
            self._conduct.popitem(last=False)
        regained = (now - conduct.counted_at) * REFUSALS_PER_S
        conduct.left = min(REFUSALS_AT_ONCE, conduct.left + regained)
        conduct.counted_at = now
        return conduct


class Admission:
    """What senders take of a bridge: connections, bytes in memory, and patience with refusals.

    Without ``by_address`` only the whole is bounded. ``clock`` returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        connections_max: int,
        bytes_max: int,
        by_address: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections = SharedCapacity(connections_max, by_address=by_address)
        self.memory = SharedCapacity(bytes_max, by_address=by_address)
        self.refusals = Refusals(clock, by_address=by_address)
