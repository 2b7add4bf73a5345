"""Pending requests: an operation, its events, and the lane in which it waits."""

import hashlib
from collections import deque
from collections.abc import Callable, Container, Sequence
from enum import Enum, auto
from typing import Any

from msgspec import Struct, field

from sink.delivery import Delivery, EffectClass, EndUser, Operation, QueueClass, ReadOperation
from stream.engine.limits import FailedTries
from stream.engine.scheduler import QueueEntry
from stream.errors import DecodeError
from stream.record import Partition, Record
from stream.state.ledger import IntentEntry, Member, decode, encode

NOT_SCHEDULED = float("-inf")
EVENTS_MAX = 1_000
"""Keeps an intent, which names all events, well below the record size limit."""


class PendingEvent(Struct, frozen=True, kw_only=True, gc=False):
    """A consumed event that is not settled yet.

    ``operation`` is what this event alone requests; None for an invalid record. ``time_ms`` is when
    the event happened. ``replayed`` marks an event that came back from the dead letters, ``forced``
    one that wins over newer data. ``arrival`` numbers the events of all partitions in the order in
    which they were read.
    """

    record: Record
    event_id: str
    message_id: str | None = None
    time_ms: int = 0
    replayed: bool = False
    forced: bool = False
    operation: Operation | None = None
    arrival: int = 0


class RequestState(Enum):
    """Where a request is between its first event and its outcome."""

    QUEUED = auto()
    """It waits in its lane."""
    INTENT_PENDING = auto()
    """It is released, and no transaction with its intent has committed yet."""
    SENT = auto()
    """Its intent is committed: the sink has it."""
    IN_DOUBT = auto()
    """It may have been executed, and waits until that can be looked up."""
    AWAITING_REPLAY = auto()
    """Its intent was found in the ledger, and not all of its events have been read again."""


class PendingRequest(Struct, kw_only=True, eq=False):
    """One operation in its lane, from its first event to its outcome.

    ``expected`` maps the event ids of an intent found in the ledger to their offsets, until those
    events have been read again; ``operation_hash`` is that of its operation. ``in_doubt_since`` is
    None while no attempt may have been executed. ``api_requests`` is the estimated number of
    requests under the rate limit. ``queue_class`` is None until it has been determined from the
    user's entry.
    """

    lane: "Lane"
    operation: Operation | None
    events: list[PendingEvent] = field(default_factory=list)
    state: RequestState = RequestState.QUEUED
    expected: dict[str, int] = field(default_factory=dict)
    request_id: str = ""
    operation_hash: str | None = None
    known: EndUser | None = None
    effect: EffectClass | None = None
    in_doubt_since: float | None = None
    no_merge: bool = False
    forbidden_count: int = 0
    failed_tries: FailedTries | None = None
    not_before: float = NOT_SCHEDULED
    api_requests: int = 0
    queue_class: QueueClass | None = None

    @property
    def arrival(self) -> int:
        """Arrival number of its oldest event; 0 for a request found in the ledger."""
        return self.events[0].arrival if self.events else 0

    @property
    def in_doubt(self) -> bool:
        """Whether an attempt may have been executed: its effect is looked up before another."""
        return self.in_doubt_since is not None

    @property
    def is_blocked(self) -> bool:
        """Whether it cannot be released now, whatever the time."""
        return self.state not in (RequestState.QUEUED, RequestState.IN_DOUBT)

    def give_up_expected(self, next_offset: int) -> None:
        """Stop waiting for events below an offset: they are gone, and have no bytes any more."""
        for name in [name for name, at in self.expected.items() if at < next_offset]:
            record = Record(self.lane.partition, self.expected.pop(name), 0, None, None)
            self.events.append(PendingEvent(record=record, event_id=name))

    def require_operation(self) -> Operation:
        """Return the operation.

        Raises:
            ValueError: the events of an intent have not been read again yet.
        """
        if self.operation is None:
            raise ValueError("the operation has not been rebuilt from its events yet")
        return self.operation

    @property
    def is_unlimited(self) -> bool:
        """Whether no rate limit counts it."""
        return self.operation is not None and self.operation.unlimited

    def merge(self, event: PendingEvent) -> bool:
        """Merge the operation of a later event into this one; return whether that is possible."""
        if self.no_merge or self.operation is None or len(self.events) >= EVENTS_MAX:
            return False
        merged = None if event.operation is None else self.operation.merge(event.operation)
        if merged is None:
            return False
        self.operation = merged
        self.events.append(event)
        return True

    def assign_request_id(self) -> None:
        """Derive the request id from the event ids: it is the same on every attempt."""
        self.effect = self.require_operation().effect
        digest = hashlib.blake2b(digest_size=15)
        for event in self.events:
            digest.update(event.event_id.encode())
            digest.update(b"\0")
        self.request_id = digest.hexdigest()

    def delivery(self, may_send: Callable[[], bool], claimed: Container[int]) -> Delivery:
        """Return the delivery of this request; ``may_send`` and ``claimed`` are as there."""
        return Delivery(
            request_id=self.request_id,
            operation=self.require_operation(),
            may_send=may_send,
            known=self.known,
            in_doubt=self.in_doubt,
            refused=self.forbidden_count,
            claimed=claimed,
        )

    def split(self) -> list["PendingRequest"]:
        """Return one request per event; none of them merges again.

        Each inherits the count of 403 responses: otherwise each would open the circuit for all.
        """
        return [
            PendingRequest(
                lane=self.lane,
                operation=event.operation,
                events=[event],
                no_merge=True,
                forbidden_count=self.forbidden_count,
            )
            for event in self.events
        ]


class Lane(Struct, eq=False):
    """The requests of one end user in input order, at most one of them in flight."""

    key: str
    partition: Partition
    waiting: deque[PendingRequest] = field(default_factory=deque)
    current: PendingRequest | None = None
    queue_entry: QueueEntry[Any] | None = None
    """The lane's entry in the scheduler; ``queued_request`` is the request that it was made for."""
    queued_request: PendingRequest | None = None

    def add(self, event: PendingEvent) -> None:
        """Add the event's operation; merge it into a waiting one where that is possible.

        An operation that writes the profile may skip unlimited ones on its way to the previous
        profile (they follow that one in any case), never others. A replayed one is not merged:
        whether it is stale is known only when it is released.
        """
        operation = event.operation
        if operation is not None and operation.writes_profile and not event.replayed:
            for request in reversed(self.waiting):
                if request.is_unlimited:
                    continue
                if request.merge(event):
                    return
                break
        request = PendingRequest(
            lane=self, operation=event.operation, events=[event], no_merge=event.replayed
        )
        self.waiting.append(request)

    @property
    def head(self) -> PendingRequest:
        """The request that the lane releases next."""
        return self.waiting[0] if self.current is None else self.current

    def find_unlimited(self) -> int:
        """Return the position of the first request that no rate limit counts; 0 for none.

        0 as well if the lane's next request is in flight, or is itself such a one.
        """
        if self.current is not None or self.waiting[0].is_unlimited:
            return 0
        return next(
            (position for position, request in enumerate(self.waiting) if request.is_unlimited), 0
        )

    def promote(self, position: int) -> None:
        """Move the request at a position to the front."""
        request = self.waiting[position]
        del self.waiting[position]
        self.waiting.appendleft(request)

    def requeue(self, requests: Sequence[PendingRequest]) -> None:
        """Put requests that were not executed back to the front.

        Operations that have arrived meanwhile are merged into them where possible.
        """
        rest = self.waiting
        self.waiting = deque(requests)
        while rest:
            later = rest.popleft()
            operation = later.operation
            if operation is not None and operation.writes_profile and not later.no_merge:
                for event in later.events:
                    self.add(event)
            else:
                self.waiting.append(later)


class FollowUp(Struct, frozen=True):
    """Lanes that are ready to release, and requests that wait until a time."""

    ready: Sequence[Lane] = ()
    timers: Sequence[tuple[float, PendingRequest]] = ()


def rebuild_operation(events: Sequence[PendingEvent]) -> Operation | None:
    """Return the operation of an intent, rebuilt from its events in input order.

    Returns None if none of the events requests an operation any more.
    """
    operation: Operation | None = None
    for event in sorted(events, key=lambda event: event.record.offset):
        merged = None
        if operation is not None and event.operation is not None:
            merged = operation.merge(event.operation)
        operation = event.operation if merged is None else merged
    return operation


# Intents: written before anything is sent, read by the next owner


OPERATION_BYTES_MAX = 256 * 1024
"""Of a larger operation only the hash is stored. It is rebuilt from its events, which are read
again."""


def write_intent(request: PendingRequest, *, instance: str, now_ms: int) -> bytes:
    """Return the ledger value of a request that has its id."""
    operation = request.require_operation()
    body = operation.to_bytes()
    return encode(
        IntentEntry(
            request_id=request.request_id,
            effect=operation.effect,
            members=tuple(Member(event.event_id, event.record.offset) for event in request.events),
            operation=body.decode() if len(body) <= OPERATION_BYTES_MAX else None,
            operation_hash=hashlib.sha256(body).hexdigest(),
            first_attempt_at_ms=now_ms,
            instance=instance,
        )
    )


def read_intent(lane: Lane, value: bytes, read_operation: ReadOperation) -> PendingRequest:
    """Return the request of an intent that a previous owner left open, without its events.

    Raises:
        DecodeError: the value is not an intent.
    """
    intent = decode(value)
    if not isinstance(intent, IntentEntry):
        raise DecodeError("not_an_intent", "the ledger holds another entry under an intent's key")
    try:
        text = intent.operation
        operation = None if text is None else read_operation(text.encode())
    except ValueError as error:
        raise DecodeError("unknown_operation", "a newer version wrote this intent") from error
    return PendingRequest(
        lane=lane,
        operation=operation,
        state=RequestState.AWAITING_REPLAY,
        expected={member.event_id: member.offset for member in intent.members},
        request_id=intent.request_id,
        operation_hash=intent.operation_hash,
        effect=intent.effect,
        not_before=float("inf"),
    )


def is_same_operation(request: PendingRequest, operation: Operation) -> bool:
    """Return whether a rebuilt operation is the one that the request's intent was written for."""
    return hashlib.sha256(operation.to_bytes()).hexdigest() == request.operation_hash
