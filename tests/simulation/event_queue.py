"""Simulated time: steps, in the order in which they are due."""

import heapq
from collections.abc import Callable
from itertools import count


class Agenda:
    """The clock that only the simulation moves; ``now`` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._steps: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, wait_s: float, step: Callable[[], None]) -> None:
        """Do something after a while."""
        heapq.heappush(self._steps, (self.now + wait_s, next(self._order), step))

    def take(self) -> Callable[[], None] | None:
        """Let it be the time of the next step, and return that; None if there is none."""
        if not self._steps:
            return None
        self.now, _, step = heapq.heappop(self._steps)
        return step
