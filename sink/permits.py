"""Places for requests under way at one host, first come, first served."""

import asyncio
from collections import deque

from sink.concurrency import AdaptiveConcurrency


class PermitPool:
    """As many places as ``concurrency`` allows at the moment.

    ``taken`` counts all that were ever taken, ``under_way`` those not given back.
    """

    __slots__ = ("_waiting", "concurrency", "taken", "under_way")

    def __init__(self, concurrency: AdaptiveConcurrency) -> None:
        self.concurrency = concurrency
        self.taken = 0
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """How many have a place or wait for one."""
        return self.under_way + len(self._waiting)

    async def acquire(self, *, patience_s: float) -> bool:
        """Take a place, and return whether there was one in time."""
        if not self._waiting and self.under_way < self.concurrency.limit:
            self._take()
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(patience_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.release()  # it was given in the very moment in which the wait ended
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self) -> None:
        """Give a place back, to those who wait for one."""
        self.under_way -= 1
        while self._waiting and self.under_way < self.concurrency.limit:
            place = self._waiting.popleft()
            if not place.done():  # else nobody waits for it any more
                self._take()
                place.set_result(None)

    def _take(self) -> None:
        self.taken += 1
        self.under_way += 1
