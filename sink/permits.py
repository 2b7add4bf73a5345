"""Permits for concurrent requests to one host, granted in order of arrival."""

import asyncio
from collections import deque

from sink.concurrency import AdaptiveConcurrency


class PermitPool:
    """A semaphore whose size is the current limit of ``concurrency``.

    ``acquired`` counts all permits ever granted, ``in_flight`` those not yet released.
    """

    __slots__ = ("_waiting", "acquired", "concurrency", "in_flight")

    def __init__(self, concurrency: AdaptiveConcurrency) -> None:
        self.concurrency = concurrency
        self.acquired = 0
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """The number of requests that hold or wait for a permit."""
        return self.in_flight + len(self._waiting)

    async def acquire(self, *, timeout_s: float) -> bool:
        """Acquire a permit; return False if none became free within ``timeout_s``."""
        if not self._waiting and self.in_flight < self.concurrency.limit:
            self._grant()
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.release()  # it was granted at the moment in which the wait ended
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self) -> None:
        """Return a permit and grant it to the longest waiting request."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.concurrency.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():  # otherwise its request no longer waits
                self._grant()
                waiter.set_result(None)

    def _grant(self) -> None:
        self.acquired += 1
        self.in_flight += 1
