"""Pending requests: an operation, its events, and the lane in which it waits."""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from sink.wootric.delivery import EndUser
from sink.wootric.operations import (
    EffectClass,
    Operation,
    PageView,
    UpsertEndUser,
    from_fields,
    to_fields,
)
from stream.engine.scheduler import QueueClass, QueueEntry
from stream.errors import DecodeError
from stream.record import Partition, Record
from stream.state.ledger import IntentEntry, Member, decode, encode

EVENTS_MAX = 1_000
"""Keeps an intent, which names all events, well below the record size limit."""
PROPERTIES_MERGED_MAX = 5_000
"""Each merge copies all properties: without a limit the total time grew quadratically."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
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


@dataclass(slots=True, kw_only=True, eq=False)
class PendingRequest:
    """One operation in its lane, from its first event to its outcome.

    ``expected`` maps the event ids of an intent found in the ledger to their offsets, until those
    events have been read again. ``sending`` is True from the release to the outcome.
    ``api_requests`` is the estimated number of API requests. ``queue_class`` is None until it has
    been determined from the user's entry.
    """

    lane: "Lane"
    operation: Operation | None
    events: list[PendingEvent] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)
    request_id: str = ""
    known: EndUser | None = None
    effect: EffectClass | None = None
    sending: bool = False
    in_doubt: bool = False
    in_doubt_since: float = 0.0
    no_merge: bool = False
    forbidden_count: int = 0
    not_before: float = float("-inf")
    api_requests: int = 0
    queue_class: QueueClass | None = None

    @property
    def arrival(self) -> int:
        """Arrival number of its oldest event; 0 for a request found in the ledger."""
        return self.events[0].arrival if self.events else 0

    def require_operation(self) -> Operation:
        """Return the operation.

        Raises:
            ValueError: the events of an intent have not been read again yet.
        """
        if self.operation is None:
            raise ValueError("the operation has not been rebuilt from its events yet")
        return self.operation

    @property
    def is_page(self) -> bool:
        """Whether it is sent to the pixel, which has its own circuit and no rate limit."""
        return isinstance(self.operation, PageView)

    def assign_request_id(self) -> None:
        """Derive the request id from the event ids: it is the same on every attempt."""
        self.effect = self.require_operation().effect
        digest = hashlib.blake2b(digest_size=15)
        for event in self.events:
            digest.update(event.event_id.encode())
            digest.update(b"\0")
        self.request_id = digest.hexdigest()

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


@dataclass(slots=True, eq=False)
class Lane:
    """The requests of one end user in input order, at most one of them in flight."""

    key: str
    partition: Partition
    waiting: deque[PendingRequest] = field(default_factory=deque)
    current: PendingRequest | None = None
    queue_entry: QueueEntry[Any] | None = None
    """The lane's entry in the scheduler; ``queued_request`` is the request that it was made for."""
    queued_request: PendingRequest | None = None

    def add(self, event: PendingEvent) -> None:
        """Add the event's operation; merge an identify into a waiting one of the same identity.

        An identify may skip page views on its way to the previous identify (they follow that one in
        any case), never a response, a decline or a delete. A replayed identify is not merged:
        whether it is stale is known only when it is released.
        """
        if isinstance(event.operation, UpsertEndUser) and not event.replayed:
            for request in reversed(self.waiting):
                if isinstance(request.operation, PageView):
                    continue
                if can_merge(request, event.operation):
                    request.operation = merge(request.operation, event.operation)
                    request.events.append(event)
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

    def find_page_view(self) -> int:
        """Return the position of the first page view that may be promoted; 0 for none."""
        if self.current is not None or self.waiting[0].is_page:
            return 0
        return next(
            (position for position, request in enumerate(self.waiting) if request.is_page), 0
        )

    def promote(self, position: int) -> None:
        """Move the request at a position to the front."""
        request = self.waiting[position]
        del self.waiting[position]
        self.waiting.appendleft(request)

    def requeue(self, requests: Sequence[PendingRequest]) -> None:
        """Put requests that were not executed back to the front.

        Identifies that have arrived meanwhile are merged into them where possible.
        """
        rest = self.waiting
        self.waiting = deque(requests)
        while rest:
            later = rest.popleft()
            if isinstance(later.operation, UpsertEndUser) and not later.no_merge:
                for event in later.events:
                    self.add(event)
            else:
                self.waiting.append(later)


def rebuild_operation(events: Sequence[PendingEvent]) -> Operation | None:
    """Return the operation of an intent, rebuilt from its events in input order.

    Returns None if none of the events requests an operation any more.
    """
    operation: Operation | None = None
    for event in sorted(events, key=lambda event: event.record.offset):
        if isinstance(event.operation, UpsertEndUser):
            operation = merge(operation, event.operation)
        else:
            operation = event.operation
    return operation


def can_merge(request: PendingRequest, later: UpsertEndUser) -> bool:
    """Return whether a later identify may be merged into a waiting request."""
    earlier = request.operation
    return (
        isinstance(earlier, UpsertEndUser)
        and not request.no_merge
        and len(request.events) < EVENTS_MAX
        and len(earlier.properties) < PROPERTIES_MERGED_MAX
        and earlier.external_id == later.external_id
        and earlier.email == later.email
        and earlier.phone_number == later.phone_number
    )


def merge(earlier: Operation | None, later: UpsertEndUser) -> UpsertEndUser:
    """Merge two identifies: the later value wins, field by field."""
    if not isinstance(earlier, UpsertEndUser):
        return later
    created = later.external_created_at
    return replace(
        earlier,
        external_created_at=earlier.external_created_at if created is None else created,
        properties={**earlier.properties, **later.properties},
    )


# Intents: written before anything is sent, read by the next owner


OPERATION_BYTES_MAX = 256 * 1024
"""Of a larger operation only the hash is stored. It is rebuilt from its events, which are read
again."""


def write_intent(request: PendingRequest, *, instance: str, now_ms: int) -> bytes:
    """Return the ledger value of a request that has its id."""
    body = orjson.dumps(to_fields(request.require_operation()), option=orjson.OPT_SORT_KEYS)
    return encode(
        IntentEntry(
            request_id=request.request_id,
            effect=request.require_operation().effect,
            members=tuple(Member(event.event_id, event.record.offset) for event in request.events),
            operation=body.decode() if len(body) <= OPERATION_BYTES_MAX else None,
            operation_hash=hashlib.sha256(body).hexdigest(),
            first_attempt_at_ms=now_ms,
            instance=instance,
        )
    )


def read_intent(lane: Lane, value: bytes) -> PendingRequest:
    """Return the request of an intent that a previous owner left open, without its events.

    Raises:
        DecodeError: the value is not an intent.
    """
    intent = decode(value)
    if not isinstance(intent, IntentEntry):
        raise DecodeError("not_an_intent", "the ledger holds another entry under an intent's key")
    try:
        operation = (
            None if intent.operation is None else from_fields(orjson.loads(intent.operation))
        )
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise DecodeError("unknown_operation", "a newer version wrote this intent") from error
    return PendingRequest(
        lane=lane,
        operation=operation,
        expected={member.event_id: member.offset for member in intent.members},
        request_id=intent.request_id,
        effect=intent.effect,
        in_doubt=True,
        not_before=float("inf"),
    )
