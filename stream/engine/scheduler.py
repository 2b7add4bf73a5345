"""Whose turn it is to be released: lanes in classes by what they need, the oldest event first.

Page views of people we know need the pixel and nothing of the API. All else shares the API's
rate: changes on one side, on the other what begins with a look-up of somebody unknown. While
both sides wait each gets half of the requests, so neither a wave of new people nor one of
updates makes anybody wait longer than twice what was there before.
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
    """A page view of somebody known: the pixel only."""
    API_UPDATE = "change"
    """An update, response, decline or delete, and whatever is in doubt."""
    API_LOOKUP = "newcomer"
    """An identify that begins with a look-up."""
    LOOKUP_THEN_PIXEL = "visit"
    """A page view that begins with a look-up: the API, then the pixel."""


NEEDS_LOOKUP = (QueueClass.API_LOOKUP, QueueClass.LOOKUP_THEN_PIXEL)
"""Those that begin with a look-up."""


def classify(operation: Operation, known: EndUser | None) -> QueueClass:
    """Return what an operation needs that is not in doubt."""
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
    """A place in a class; it is void once ``holder`` is None."""

    queue_class: QueueClass
    item: T | None


@dataclass(slots=True)
class FairScheduler(Generic[T]):
    """Those who wait, by class, each with the number of its arrival."""

    _heaps: dict[QueueClass, list[tuple[int, int, QueueEntry[T]]]] = field(
        default_factory=lambda: {queue_class: [] for queue_class in QueueClass}
    )
    _sequence: "count[int]" = field(default_factory=count)
    _update_lead: int = 0
    """How many requests changes were given more than look-ups while both waited."""

    def add(self, queue_class: QueueClass, arrival: int, item: T) -> QueueEntry[T]:
        """Let somebody wait; void the place to let them wait no more."""
        entry = QueueEntry(queue_class, item)
        heapq.heappush(self._heaps[queue_class], (arrival, next(self._sequence), entry))
        return entry

    def next(self, *, api: bool, pixel: bool) -> QueueClass | None:
        """Return the class whose turn it is, among those that may be released."""
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
        """Return who has waited longest in a class that ``next`` named, and void the place."""
        entry = heapq.heappop(self._heaps[queue_class])[2]
        item, entry.item = entry.item, None
        assert item is not None  # noqa: S101  void places are dropped by ``next``
        return item

    def consume(self, queue_class: QueueClass, requests: int) -> None:
        """Note what a release costs. A lead counts only while the other side waits."""
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
        """Return the arrival of the oldest in a class; places that are void are dropped."""
        heap = self._heaps[queue_class]
        while heap and heap[0][2].item is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None


# Things that wait for a moment


class Timers(Generic[T]):
    """Items by the time (monotonic seconds) at which they are due, equal times in order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._sequence = count()

    def add(self, when: float, item: T) -> None:
        """Let the item be due at ``when``."""
        heapq.heappush(self._heap, (when, next(self._sequence), item))

    def pop(self, now: float) -> Iterator[T]:
        """Yield what is due, soonest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def next(self) -> float | None:
        """Return when the next item is due, or None."""
        return self._heap[0][0] if self._heap else None


# The bounds of the flow


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Bounds and waits; times in seconds.

    ``lease_s``: an attempt starts within this time of its last committed fence.
    ``takeover_wait_s``: how long a lane that another worker left in doubt stays closed.
    ``quiet_s``: the same after an attempt of our own, from the last moment it was sent.
    ``offset_gap_max``: how far offsets may run ahead of the lowest unsettled one.
    ``dead_letter_limit``: how many dead letters, among the last twice as many events, stop a
    partition; 0 is never. ``letter_bytes_max``: what a dead letter may hold of its record.
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
    """How many operations may be released now: what writes to the API, and page views.

    ``requests`` is how many API requests may begin soon, look-ups included; without a limit
    in force only the number of operations counts.
    """

    api: int
    pages: int
    requests: float = float("inf")
