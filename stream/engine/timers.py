"""Things that wait for a moment."""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Timers(Generic[T]):
    """Items by the time (monotonic seconds) at which they are due, equal times in order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def add(self, when: float, item: T) -> None:
        """Let the item be due at ``when``."""
        heapq.heappush(self._heap, (when, next(self._order), item))

    def pop(self, now: float) -> Iterator[T]:
        """Yield what is due, soonest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def next(self) -> float | None:
        """Return when the next item is due, or None."""
        return self._heap[0][0] if self._heap else None
