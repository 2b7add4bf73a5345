"""Wootric and the sink before it, both simulated: requests and replies are lost, effects are late.

The sink here keeps the contract of ``sink.delivery``: it asks ``may_send`` in the very step
in which bytes leave, looks before it writes when in doubt, and says honestly what it knows.
"""

from dataclasses import dataclass, field
from typing import Any, assert_never
from zlib import crc32

from invariants import Departure
from msgspec.structs import replace
from scenario import POISON, USERS, Person, Survey
from world import LATE_MAX_S, REQUEST_TIMEOUT_S, Done, Later, World

from sink.delivery import (
    Deferred,
    Delivered,
    Delivery,
    EndUser,
    InDoubt,
    Operation,
    Parked,
    Rejected,
    Skipped,
    claims_of,
)
from sink.wootric.matching import claim
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
)

TROUBLES = ("request_lost", "reply_lost", "late", "late", "throttled", "unauthorized")
PROBE_S = 3.0


@dataclass
class Wootric:
    """What Wootric holds."""

    users: dict[str, Person] = field(default_factory=dict)
    surveys: list[Survey] = field(default_factory=list)
    """Those created, in order; the index is the id."""

    def apply(self, operation: Operation, form: Person) -> None:
        """Let a request take effect."""
        user = operation.external_id or ""
        match operation:
            case UpsertEndUser():
                self.users[user] = form
            case DeleteEndUser():
                self.users.pop(user, None)
            case PageView():
                pass
            case CreateResponse() | CreateDecline():
                held = self.users.setdefault(user, Person(operation.email))
                held.properties.update(form.properties)
                self.surveys.append(operation)
            case _:
                assert_never(operation)

    def look(self, user: str) -> EndUser:
        """Return the user as a look-up shows it; without an id if there is none."""
        held = self.users.get(user)
        if held is None:
            return EndUser(id=None, external_id=user)
        properties: Any = dict(held.properties)
        return EndUser(id=1, external_id=user, email=held.email, properties=properties)


def _claim(survey: Survey) -> int:
    return claim(crc32((survey.external_id or "").encode()), survey)


class SimulatedWootricSink:
    """Delivers to a simulated Wootric, one step at a time."""

    def __init__(self, wootric: Wootric, world: World) -> None:
        self._wootric = wootric
        self._world = world
        self._names_surveys = world.dice.random() < 0.5
        """Whether the reply to a survey names its id; else the receipt claims its fields."""

    def deliver(self, delivery: Delivery, worker: str, later: Later, done: Done) -> None:
        """Begin; ``later`` is the worker's own time, ``done`` takes the outcome."""
        dice = self._world.dice
        waits_s = 0.0 if self._world.weather.fair else dice.choice((0.0, 0.02, 0.2, 3.0))
        later(waits_s, lambda: self._look(delivery, worker, later, done))

    def _look(self, delivery: Delivery, worker: str, later: Later, done: Done) -> None:
        operation, known = delivery.operation, delivery.known
        name = operation.external_id or ""
        if isinstance(operation, Survey) and delivery.in_doubt:
            found = [
                number
                for number, survey in enumerate(self._wootric.surveys)
                if alike(survey, operation) and number not in delivery.claimed
            ]
            found = found[claims_of(_claim(operation), delivery.claimed) :]
            if len(found) > 1:
                done(Parked(reason="two_candidates", detail=""))
                return
            if found:
                end_user = self._wootric.look(name)
                done(Delivered(end_user=end_user, remote_id=found[0], attempts=0))
                return
        if known is None or (isinstance(operation, UpsertEndUser) and known.properties is None):
            known = self._wootric.look(name)
        if isinstance(operation, PageView) and not (operation.email or known.email):
            done(Skipped(reason="no_email", end_user=known))
        elif isinstance(operation, UpsertEndUser) and _unchanged(operation, known):
            there = Delivered(end_user=known, attempts=0)
            done(there if delivery.in_doubt else Skipped(reason="unchanged", end_user=known))
        else:
            waits_s = self._world.dice.choice((0.0, 0.05, 0.5))
            user = known
            later(waits_s, lambda: self._send(delivery, user, worker, later, done))

    def _send(
        self, delivery: Delivery, known: EndUser, worker: str, later: Later, done: Done
    ) -> None:
        world, now = self._world, self._world.now
        operation = delivery.operation
        if not delivery.may_send():
            done(Deferred(reason="lease", retry_at=now))
            return
        departure = world.witness.departing(
            worker,
            USERS[operation.external_id or ""],
            operation,
            delivery.request_id,
            operation.type,
            now,
        )
        after = _after(operation, known)
        took_s = world.dice.uniform(0.01, REQUEST_TIMEOUT_S - 0.3)
        fate = "forbidden" if world.weather.forbids(now) else world.weather.fate(TROUBLES)
        world.say(worker, "sends", operation.type, departure.request[1][:6], fate)
        timed_out = InDoubt(detail=fate, sent_at=now + REQUEST_TIMEOUT_S)

        def execute() -> None:
            self._execute(operation, after, departure)

        match fate:
            case "throttled" | "unauthorized" | "forbidden":
                throttled = fate == "throttled"
                retry_at = now + took_s + (world.dice.uniform(0, 2) if throttled else PROBE_S)
                refused = Deferred(reason=fate, retry_at=retry_at, refused=not throttled)
                later(took_s, lambda: done(refused))
            case "request_lost":
                later(REQUEST_TIMEOUT_S, lambda: done(timed_out))
            case "late" | "reply_lost":
                slowest = REQUEST_TIMEOUT_S + LATE_MAX_S if fate == "late" else took_s
                if POISON not in after.properties:
                    world.at(world.dice.uniform(took_s, slowest), execute)
                later(REQUEST_TIMEOUT_S, lambda: done(timed_out))
            case _ if POISON in after.properties:
                later(took_s, lambda: done(Rejected(reason="invalid", detail="", status=422)))
            case _:
                world.at(took_s * world.dice.random(), execute)
                later(took_s, lambda: done(self._delivered(operation, known, after)))

    def _execute(self, operation: Operation, after: Person, departure: Departure) -> None:
        self._world.say("Wootric does", operation.type, departure.request[1][:6])
        self._world.witness.happened(departure)
        self._wootric.apply(operation, after)
        match operation:
            case CreateResponse() | CreateDecline():
                self._world.witness.recorded(len(self._wootric.surveys) - 1, operation)
            case PageView():
                self._world.witness.views[operation.random] += 1

    def _delivered(self, operation: Operation, known: EndUser, after: Person) -> Delivered:
        """Say what a reply tells: the id of what was created is the newest of its kind."""
        match operation:
            case DeleteEndUser():
                return Delivered()
            case PageView():
                return Delivered(end_user=known)
            case CreateResponse() | CreateDecline():
                (number,) = [n for n, one in enumerate(self._wootric.surveys) if one is operation]
                if known.id is None:
                    known = EndUser(id=1, external_id=known.external_id, email=operation.email)
                elif operation.properties:
                    known = replace(known, properties=None)
                named = number if self._names_surveys else None
                return Delivered(end_user=known, remote_id=named, claim=_claim(operation))
            case _:
                properties: Any = dict(after.properties)
                user = replace(known, id=1, email=after.email, properties=properties)
                return Delivered(end_user=user)


def alike(one: Survey, other: Survey) -> bool:
    """Whether Wootric's lists show no difference."""
    return (one.type, one.external_id, one.created_at) == (
        other.type,
        other.external_id,
        other.created_at,
    )


def _after(operation: Operation, known: EndUser) -> Person:
    """Return the profile that the request writes: all properties, old under new."""
    email = operation.email if isinstance(operation, UpsertEndUser) else None
    wanted = getattr(operation, "properties", {})
    return Person(email or known.email, {**(known.properties or {}), **wanted})


def _unchanged(wanted: UpsertEndUser, known: EndUser) -> bool:
    held = known.properties or {}
    same = all(held.get(name) == value for name, value in wanted.properties.items())
    return known.id is not None and same and wanted.email in (None, known.email)
