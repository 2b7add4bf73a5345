"""Wootric and the way to it, simulated: requests and replies are lost, effects come late.

The sink here keeps the contract of ``sink.delivery``: it asks ``may_send`` in the very step
in which bytes leave, looks before it writes when in doubt, and says honestly what it knows.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from sink.delivery import (
    Deferred,
    Delivered,
    Delivery,
    EndUser,
    InDoubt,
    Outcome,
    Parked,
    Rejected,
    Skipped,
)
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    UpsertEndUser,
)

POISON = "poison"
"""A property that Wootric refuses."""
REQUEST_TIMEOUT_S = 3.0
LATE_MAX_S = 10.0
"""How long after its time-out a request may still take effect."""

Survey = CreateResponse | CreateDecline
Later = Callable[[float, Callable[[], None]], None]
"""Does something after a while, unless the worker has died by then."""


@dataclass
class Wootric:
    """What Wootric holds."""

    users: dict[str, dict[str, object]] = field(default_factory=dict)
    surveys: list[Survey] = field(default_factory=list)
    """Those created, in order; the index is the id."""
    views: Counter[str] = field(default_factory=Counter)

    def apply(self, operation: Operation, form: dict[str, object]) -> int | None:
        """Let a request take effect; return the id of what it created, if it tells."""
        user = operation.external_id or ""
        match operation:
            case UpsertEndUser():
                self.users[user] = form
            case DeleteEndUser():
                self.users.pop(user, None)
            case PageView():
                self.views[operation.random] += 1
            case CreateResponse() | CreateDecline():
                self.users.setdefault(user, {})
                self.surveys.append(operation)
                return len(self.surveys) - 1
            case _:
                assert_never(operation)
        return None

    def look(self, user: str) -> EndUser | None:
        """Return the user as a look-up shows it."""
        held = self.users.get(user)
        return None if held is None else EndUser(id=1, external_id=user, properties=dict(held))


@dataclass
class Weather:
    """How likely what goes wrong is, of one request; all is well once ``fair``."""

    dice: Random
    trouble: float
    fair: bool = False

    def fate(self) -> str:
        """Return what becomes of a request."""
        if self.fair or self.dice.random() >= self.trouble:
            return "fine"
        return self.dice.choice(["request_lost", "reply_lost", "late", "late", "throttled"])


class SimulatedSink:
    """Delivers to a simulated Wootric, one step at a time."""

    def __init__(
        self, wootric: Wootric, weather: Weather, *, at: Later, clock: Callable[[], float]
    ) -> None:
        self._wootric = wootric
        self._weather = weather
        self._dice = weather.dice
        self._server_at = at
        self._clock = clock

    def deliver(self, delivery: Delivery, later: Later, done: Callable[[Outcome], None]) -> None:
        """Begin; ``later`` is the worker's own time, ``done`` takes the outcome."""
        waits = 0.0 if self._weather.fair else self._dice.choice([0.0, 0.05, 0.5, 8.0])
        later(waits, lambda: self._look(delivery, later, done))

    def _look(self, delivery: Delivery, later: Later, done: Callable[[Outcome], None]) -> None:
        operation, known = delivery.operation, delivery.known
        if isinstance(operation, Survey) and delivery.in_doubt:
            found = [
                number
                for number, survey in enumerate(self._wootric.surveys)
                if survey == operation and number not in delivery.claimed
            ]
            if len(found) > 1:
                done(Parked(reason="two_candidates", detail=""))
                return
            if found:
                user = self._wootric.look(operation.external_id or "")
                done(Delivered(end_user=user, remote_id=found[0], attempts=0))
                return
        if known is None:
            known = self._wootric.look(operation.external_id or "")
        known = known or EndUser(id=None, external_id=operation.external_id, properties={})
        if isinstance(operation, UpsertEndUser) and self._unchanged(operation, known):
            done(Skipped(reason="unchanged", end_user=known))
            return
        later(self._dice.choice([0.0, 0.1, 1.0]), lambda: self._send(delivery, known, later, done))

    @staticmethod
    def _unchanged(wanted: UpsertEndUser, known: EndUser) -> bool:
        held = known.properties or {}
        same = all(held.get(name) == value for name, value in wanted.properties.items())
        return known.id is not None and same

    def _send(
        self, delivery: Delivery, known: EndUser, later: Later, done: Callable[[Outcome], None]
    ) -> None:
        now = self._clock()
        operation = delivery.operation
        if not delivery.may_send():
            done(Deferred(reason="lease", retry_at=now))
            return
        form = {**(known.properties or {}), **getattr(operation, "properties", {})}
        refused = POISON in form
        took = self._dice.uniform(0.02, REQUEST_TIMEOUT_S - 0.5)
        fate = self._weather.fate()
        timed_out = InDoubt(detail=fate, sent_at=now + REQUEST_TIMEOUT_S)
        match fate:
            case "throttled":
                retry_at = now + took + self._dice.uniform(0, 5)
                later(took, lambda: done(Deferred(reason="throttled", retry_at=retry_at)))
            case "request_lost":
                later(REQUEST_TIMEOUT_S, lambda: done(timed_out))
            case "late" | "reply_lost":
                slowest = REQUEST_TIMEOUT_S + LATE_MAX_S if fate == "late" else took
                arrives = self._dice.uniform(took, slowest)
                if not refused:
                    self._server_at(arrives, lambda: self._executed(operation, form))
                later(REQUEST_TIMEOUT_S, lambda: done(timed_out))
            case _ if refused:
                later(took, lambda: done(Rejected(reason="invalid", detail="", status=422)))
            case _:
                remote: list[int | None] = []
                wrote = not isinstance(operation, PageView)
                after = replace(known, id=1, properties=form) if wrote else delivery.known
                arrives = took * self._dice.random()
                self._server_at(arrives, lambda: remote.append(self._executed(operation, form)))
                later(took, lambda: done(Delivered(end_user=after, remote_id=remote[0])))

    def _executed(self, operation: Operation, form: dict[str, object]) -> int | None:
        return self._wootric.apply(operation, form)
