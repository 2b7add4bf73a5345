"""Fair scheduler for lanes that are ready to send, timers, and the engine's limits.

Lanes are queued by what they need, oldest event first. Page views of known users need only the
pixel. Everything else shares the API's rate limit: updates on one side, requests that begin with a
look-up on the other. While both wait, each gets half of the requests, so a burst of one kind at
most doubles the delay of the other.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Generic, TypeVar

from sink.wootric.delivery import EndUser, needs_lookup
from sink.wootric.operations import Operation, PageView, UpsertEndUser

T = TypeVar("T")


class QueueClass(Enum):
    """What a release needs."""

    PIXEL_ONLY = "pixel"
    """A page view of a known user: only the pixel."""
    API_UPDATE = "change"
    """An update, response, decline or delete, and every request in doubt."""
    API_LOOKUP = "newcomer"
    """An identify that begins with a look-up."""
    LOOKUP_THEN_PIXEL = "visit"
    """A page view that begins with a look-up: the API, then the pixel."""


NEEDS_LOOKUP = (QueueClass.API_LOOKUP, QueueClass.LOOKUP_THEN_PIXEL)
"""Classes that begin with a look-up."""


def classify(operation: Operation, known: EndUser | None) -> QueueClass:
    """Return the class of an operation that is not in doubt."""
    if isinstance(operation, PageView):
        return (
            QueueClass.LOOKUP_THEN_PIXEL
            if needs_lookup(operation, known)
            else QueueClass.PIXEL_ONLY
        )
    if isinstance(operation, UpsertEndUser) and (known is None or known.id is None):
        return QueueClass.API_LOOKUP
    return QueueClass.API_UPDATE


@dataclass(slots=True, eq=False)
class QueueEntry(Generic[T]):
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

    def next(self, *, api: bool, pixel: bool) -> QueueClass | None:
        """Return the class to release next, among those that may be released; None if there is
        none.
        """
        if pixel and self._oldest_arrival(QueueClass.PIXEL_ONLY) is not None:
            return QueueClass.PIXEL_ONLY
        if not api:
            return None
        lookup = self._older_class(
            QueueClass.API_LOOKUP, QueueClass.LOOKUP_THEN_PIXEL if pixel else QueueClass.API_LOOKUP
        )
        if self._oldest_arrival(QueueClass.API_UPDATE) is None:
            return lookup
        return QueueClass.API_UPDATE if lookup is None or self._update_lead <= 0 else lookup

    def pop(self, queue_class: QueueClass) -> T:
        """Remove and return the oldest item of a class returned by ``next``."""
        entry = heapq.heappop(self._heaps[queue_class])[2]
        item, entry.item = entry.item, None
        assert item is not None  # noqa: S101  void entries are dropped by ``next``
        return item

    def consume(self, queue_class: QueueClass, requests: int) -> None:
        """Account the requests of a release. A lead builds up only while the other side waits."""
        if queue_class is QueueClass.PIXEL_ONLY:
            return
        if queue_class is QueueClass.API_UPDATE:
            lookups_wait = self._older_class(*NEEDS_LOOKUP)
            self._update_lead = (
                self._update_lead + requests
                if lookups_wait
                else min(self._update_lead + requests, 0)
            )
        else:
            updates_wait = self._oldest_arrival(QueueClass.API_UPDATE) is not None
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


# Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits and waits; times in seconds.

    ``lease_s``: maximum age of the last committed transaction at which an attempt may start.
    ``takeover_wait_s``: how long a lane that another worker left in doubt stays blocked.
    ``quiet_s``: the same after an attempt of this worker, from its last byte. ``offset_gap_max``:
    how far offsets may run ahead of the lowest unsettled one. ``dead_letter_limit``: a partition
    pauses when this many of its last 2 * N events became dead letters; 0 disables it.
    ``letter_bytes_max``: how many bytes of its record a dead letter may hold.
    """

    lease_s: float
    takeover_wait_s: float
    quiet_s: float
    unchanged_resend_after_s: float
    offset_gap_max: int
    dead_letter_limit: int
    letter_bytes_max: int
    resend_pages: bool
    app_version: str
    instance: str


@dataclass(frozen=True, slots=True)
class ReleaseBudget:
    """How many operations may be released now: API operations and page views.

    ``requests`` is the number of API requests that may begin soon, including look-ups; infinite
    while no rate limit is in force.
    """

    api: int
    pages: int
    requests: float = float("inf")
