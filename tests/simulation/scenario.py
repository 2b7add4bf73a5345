"""What arrives in a schedule, and what the events say should come of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import TypeAlias

from sink.delivery import Operation
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
)
from stream.engine.prepare import Invalid, PreparationResult, PreparedRecord
from stream.record import Partition, Record
from stream.state.ledger import EventOutcome
from stream.transform import Deliver, Skip

POISON = "poison"
"""A property that Wootric refuses."""
ARRIVAL_S = 20.0
USERS = {"ann": Partition("in", 0), "bob": Partition("in", 0), "cid": Partition("in", 1)}
PARTITIONS = sorted(set(USERS.values()))

Survey = CreateResponse | CreateDecline
OutcomeOf: TypeAlias = Callable[[PreparedRecord], EventOutcome | None]
WantedBy: TypeAlias = Callable[[Random, str, int, int], Operation]
"""A random operation, by user, number and kind from 2 to 19; kind 3 is refused."""


@dataclass(slots=True)
class Script:
    """The input, in the order in which it lies in Kafka; a record's time is when it arrives."""

    input: dict[Partition, list[PreparedRecord]]
    ends: dict[Partition, int]

    @property
    def events(self) -> Iterator[PreparedRecord]:
        """All of it."""
        return chain.from_iterable(self.input.values())


@dataclass(slots=True)
class Person:
    """An end user as Wootric should hold it."""

    email: str | None = None
    properties: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Expected:
    """What there should be in the end."""

    users: dict[str, Person] = field(default_factory=dict)
    surveys: Counter[str] = field(default_factory=Counter)
    views: set[str] = field(default_factory=set)
    letters: Counter[tuple[Partition, int]] = field(default_factory=Counter)
    receipts: set[tuple[Partition, str]] = field(default_factory=set)

    def _take(self, event: PreparedRecord, user: str, outcome: OutcomeOf) -> None:
        match event.result:
            case Deliver(operation=UpsertEndUser() as wanted) if POISON in wanted.properties:
                self._refuse(event)
            case Deliver(operation=UpsertEndUser() as wanted):
                if not event.replayed or outcome(event) is EventOutcome.DELIVERED:
                    person = self.users.setdefault(user, Person())
                    person.email = wanted.email or person.email
                    person.properties.update(wanted.properties)
            case Deliver(operation=CreateResponse() | CreateDecline() as survey):
                person = self.users.setdefault(user, Person(survey.email))
                person.properties.update(survey.properties)
                self.surveys[name_of(survey)] += 1
            case Deliver(operation=DeleteEndUser()):
                self.users.pop(user, None)
            case Deliver(operation=PageView() as page):
                if page.email or (user in self.users and self.users[user].email):
                    self.views.add(page.random)
            case _:
                self._refuse(event)

    def _refuse(self, event: PreparedRecord) -> None:
        self.letters[event.record.partition, event.record.offset] += 1


def expect(script: Script, outcome: OutcomeOf) -> Expected:
    """Read the events by themselves: in order, the first of each name.

    Whether a replayed identify is stale depends on what was known when its turn came, so
    that its receipt (``outcome``) says whether it counts.
    """
    expected = Expected()
    for event in to_settle(script):
        expected.receipts.add((event.record.partition, event.event_id))
        expected._take(event, user_of(event), outcome)
    return expected


def to_settle(script: Script) -> Iterator[PreparedRecord]:
    """Return the events that need a receipt, in order: the first of each name."""
    names: set[tuple[Partition, str]] = set()
    for event in script.events:
        name = (event.record.partition, event.event_id)
        if name not in names and not isinstance(event.result, Skip):
            names.add(name)
            yield event


def user_of(event: PreparedRecord) -> str:
    """Return whose event it is; what could not be judged is nobody's."""
    return event.result.lane if isinstance(event.result, Deliver) else ""


def name_of(survey: Survey) -> str:
    """Return what tells surveys apart; two may well be alike."""
    return f"{survey.type} of {survey.external_id} at {survey.created_at}"


def write(dice: Random, operation: WantedBy) -> Script:
    """Return an input that arrives over a while."""
    script = Script({partition: [] for partition in PARTITIONS}, dict.fromkeys(PARTITIONS, 0))
    earlier: dict[str, list[PreparedRecord]] = {user: [] for user in USERS}
    names = list(USERS)
    times = sorted(
        dice.choice((0.0, dice.random() * ARRIVAL_S)) for _ in range(dice.randint(8, 26))
    )
    for number, at in enumerate(times):
        user = dice.choice(names)
        partition = USERS[user]
        offset = script.ends[partition] + (dice.random() < 0.1)  # a control record before it
        record = Record(partition, offset, int(at * 1000), None, b"")
        event = _event(dice, user, number, record, operation)
        if earlier[user] and dice.random() < 0.12:
            event = _again(dice.choice(earlier[user]), event)
        script.ends[partition] = offset + 1
        script.input[partition].append(event)
        earlier[user].append(event)
    for partition in PARTITIONS:
        script.ends[partition] += 1
    return script


def _event(
    dice: Random, user: str, number: int, record: Record, operation: WantedBy
) -> PreparedRecord:
    verdict = _verdict(dice, user, number, operation)
    time_ms = record.timestamp_ms
    replayed = dice.random() < 0.08 and isinstance(verdict, Deliver)
    name = message_id = f"m{number}"
    if replayed:
        # A dead letter that comes back: its place is in its name, its time is long ago, or not.
        name += f"#{record.partition.number}-{number}"
        time_ms -= dice.choice((0, 10_000, 1_000_000))
        if isinstance(verdict.operation, UpsertEndUser):
            again = UpsertEndUser(external_id=user, properties={f"again{number}": str(number)})
            verdict = Deliver(operation=again, lane=user)
    return PreparedRecord(
        record=record,
        event_id=name,
        message_id=message_id,
        result=verdict,
        time_ms=time_ms,
        replayed=replayed,
    )


def _again(twin: PreparedRecord, event: PreparedRecord) -> PreparedRecord:
    """Return a second record with the name of an earlier one."""
    return PreparedRecord(
        record=event.record,
        event_id=twin.event_id,
        message_id=twin.message_id,
        result=twin.result,
        time_ms=twin.time_ms,
        replayed=twin.replayed,
    )


def _verdict(dice: Random, user: str, number: int, operation: WantedBy) -> PreparationResult:
    """Return what should become of a random event."""
    match dice.randrange(20):
        case 0:
            return Skip("unsupported_type")
        case 1:
            return Invalid("undecodable", "")
        case kind:
            return Deliver(operation=operation(dice, user, number, kind), lane=user)


def wootric_operation(dice: Random, user: str, number: int, kind: int) -> Operation:
    """Return a random operation of each type that Wootric knows."""
    email = dice.choice((None, f"{user}@example.com"))
    match kind:
        case 2:
            return DeleteEndUser(external_id=user)
        case 3:
            return UpsertEndUser(external_id=user, properties={POISON: str(number)})
        case 4 | 5 | 6 | 7:
            return PageView(url="u", random=str(number), external_id=user, email=email)
        case 8 | 9 | 10:
            at = dice.choice((1, number))  # some are as like as two peas
            properties = {"plan": str(number)} if dice.random() < 0.3 else {}
            return CreateResponse(
                external_id=user, email=email, score=9, created_at=at, properties=properties
            )
        case 11 | 12:
            return CreateDecline(external_id=user, email=email, created_at=dice.choice((1, number)))
        case _:
            names = ("plan", "seats")
            properties = {dice.choice(names): str(dice.randrange(3)) for _ in range(2)}
            return UpsertEndUser(external_id=user, email=email, properties=properties)
