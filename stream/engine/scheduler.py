"""Fair scheduler for lanes that are ready to send, timers, and the engine's limits.

Lanes are queued by what they need, oldest event first. What no rate limit counts is not held up.
Everything else shares the rate limit: updates on one side, operations that begin with a look-up on
the other. While both wait, each gets half of the requests, so a burst of one kind at most doubles
the delay of the other.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from msgspec import Struct

from sink.delivery import QueueClass

T = TypeVar("T")


NEEDS_LOOKUP = (QueueClass.LOOKUP, QueueClass.LOOKUP_THEN_UNLIMITED)
"""Classes that begin with a look-up."""


class QueueEntry(Struct, Generic[T], eq=False):
    """An entry in the queue of a class; void once ``item`` is None."""

    queue_class: QueueClass
    item: T | None


@dataclass(slots=True)
class FairScheduler(Generic[T]):
    """Items by class and arrival number."""

    _heaps: dict[QueueClass, list[tuple[int, int, QueueEntry[T]]]] = field(
        default_factory=lambda: {queue_class: [] for queue_class in QueueClass}
    )
    _sequence: "count[int]" = field(default_factory=count)
    _update_lead: int = 0
    """Requests that updates were given in excess of look-ups while both waited."""

    def add(self, queue_class: QueueClass, arrival: int, item: T) -> QueueEntry[T]:
        """Queue an item and return its entry. To cancel it, set the entry's item to None."""
        entry = QueueEntry(queue_class, item)
        heapq.heappush(self._heaps[queue_class], (arrival, next(self._sequence), entry))
        return entry

    def next(self, *, limited: bool, unlimited: bool) -> QueueClass | None:
        """Return the class to release next, among those that may be released; None if there is
        none.
        """
        if unlimited and self._oldest_arrival(QueueClass.UNLIMITED) is not None:
            return QueueClass.UNLIMITED
        if not limited:
            return None
        after_lookup = QueueClass.LOOKUP_THEN_UNLIMITED if unlimited else QueueClass.LOOKUP
        lookup = self._older_class(QueueClass.LOOKUP, after_lookup)
        if self._oldest_arrival(QueueClass.UPDATE) is None:
            return lookup
        return QueueClass.UPDATE if lookup is None or self._update_lead <= 0 else lookup

    def pop(self, queue_class: QueueClass) -> T:
        """Remove and return the oldest item of a class returned by ``next``."""
        entry = heapq.heappop(self._heaps[queue_class])[2]
        item, entry.item = entry.item, None
        assert item is not None  # noqa: S101  void entries are dropped by ``next``
        return item

    def consume(self, queue_class: QueueClass, requests: int) -> None:
        """Account the requests of a release. A lead builds up only while the other side waits."""
        if queue_class is QueueClass.UNLIMITED:
            return
        if queue_class is QueueClass.UPDATE:
            lookups_wait = self._older_class(*NEEDS_LOOKUP)
            self._update_lead = (
                self._update_lead + requests
                if lookups_wait
                else min(self._update_lead + requests, 0)
            )
        else:
            updates_wait = self._oldest_arrival(QueueClass.UPDATE) is not None
            self._update_lead = (
                self._update_lead - requests
                if updates_wait
                else max(self._update_lead - requests, 0)
            )

    def _older_class(self, one: QueueClass, other: QueueClass) -> QueueClass | None:
        first, second = self._oldest_arrival(one), self._oldest_arrival(other)
        if first is None:
            return None if second is None else other
        return one if second is None or first <= second else other

    def _oldest_arrival(self, queue_class: QueueClass) -> int | None:
        """Return the oldest arrival in a class; void entries are dropped."""
        heap = self._heaps[queue_class]
        while heap and heap[0][2].item is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None


# Timers


class Timers(Generic[T]):
    """Items by due time (monotonic seconds); equal times in order of insertion."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._sequence = count()

    def add(self, when: float, item: T) -> None:
        """Schedule an item."""
        heapq.heappush(self._heap, (when, next(self._sequence), item))

    def pop(self, now: float) -> Iterator[T]:
        """Yield the items that are due, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def next(self) -> float | None:
        """Return when the next item is due, or None."""
        return self._heap[0][0] if self._heap else None
