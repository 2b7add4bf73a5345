"""Whose turn it is to be released: lanes in classes by what they need, the oldest event first.

Page views of people we know need the pixel and nothing of the API. All else shares the API's
rate: changes on one side, on the other what begins with a look-up of somebody unknown. While
both sides wait each gets half of the requests, so neither a wave of new people nor one of
updates makes anybody wait longer than twice what was there before.
"""

import heapq
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Generic, TypeVar

from sink.wootric.delivery import EndUser
from sink.wootric.expense import needs_lookup
from sink.wootric.operations import Operation, PageView, UpsertEndUser

T = TypeVar("T")


class Turn(Enum):
    """What a release needs."""

    PIXEL = "pixel"
    """A page view of somebody known: the pixel only."""
    CHANGE = "change"
    """An update, response, decline or delete, and whatever is in doubt."""
    NEWCOMER = "newcomer"
    """An identify that begins with a look-up."""
    VISIT = "visit"
    """A page view that begins with a look-up: the API, then the pixel."""


LOOKING = (Turn.NEWCOMER, Turn.VISIT)
"""Those that begin with a look-up."""


def turn_of(operation: Operation, known: EndUser | None) -> Turn:
    """Return what an operation needs that is not in doubt."""
    if isinstance(operation, PageView):
        return Turn.VISIT if needs_lookup(operation, known) else Turn.PIXEL
    if isinstance(operation, UpsertEndUser) and (known is None or known.id is None):
        return Turn.NEWCOMER
    return Turn.CHANGE


@dataclass(slots=True, eq=False)
class Place(Generic[T]):
    """A place in a class; it is void once ``holder`` is None."""

    turn: Turn
    holder: T | None


@dataclass(slots=True)
class Turns(Generic[T]):
    """Those who wait, by class, each with the number of its arrival."""

    _heaps: dict[Turn, list[tuple[int, int, Place[T]]]] = field(
        default_factory=lambda: {turn: [] for turn in Turn}
    )
    _order: "count[int]" = field(default_factory=count)
    _lead: int = 0
    """How many requests changes were given more than look-ups while both waited."""

    def add(self, turn: Turn, arrival: int, holder: T) -> Place[T]:
        """Let somebody wait; void the place to let them wait no more."""
        place = Place(turn, holder)
        heapq.heappush(self._heaps[turn], (arrival, next(self._order), place))
        return place

    def next(self, *, api: bool, pixel: bool) -> Turn | None:
        """Return the class whose turn it is, among those that may be released."""
        if pixel and self._first(Turn.PIXEL) is not None:
            return Turn.PIXEL
        if not api:
            return None
        lookup = self._older(Turn.NEWCOMER, Turn.VISIT if pixel else Turn.NEWCOMER)
        if self._first(Turn.CHANGE) is None:
            return lookup
        return Turn.CHANGE if lookup is None or self._lead <= 0 else lookup

    def pop(self, turn: Turn) -> T:
        """Return who has waited longest in a class that ``next`` named, and void the place."""
        place = heapq.heappop(self._heaps[turn])[2]
        holder, place.holder = place.holder, None
        assert holder is not None  # noqa: S101  void places are dropped by ``next``
        return holder

    def charge(self, turn: Turn, requests: int) -> None:
        """Note what a release costs. A lead counts only while the other side waits."""
        if turn is Turn.PIXEL:
            return
        if turn is Turn.CHANGE:
            looking = self._older(*LOOKING)
            self._lead = self._lead + requests if looking else min(self._lead + requests, 0)
        else:
            changing = self._first(Turn.CHANGE) is not None
            self._lead = self._lead - requests if changing else max(self._lead - requests, 0)

    def _older(self, one: Turn, other: Turn) -> Turn | None:
        first, second = self._first(one), self._first(other)
        if first is None:
            return None if second is None else other
        return one if second is None or first <= second else other

    def _first(self, turn: Turn) -> int | None:
        """Return the arrival of the oldest in a class; places that are void are dropped."""
        heap = self._heaps[turn]
        while heap and heap[0][2].holder is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
