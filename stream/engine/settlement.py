"""What a settled event leaves behind: a receipt, a dead letter, a count, its offset."""

from collections.abc import Callable
from typing import TypeAlias

from sink.delivery import (
    Deferred,
    Delivered,
    EffectClass,
    InDoubt,
    Parked,
    Rejected,
    Skipped,
    next_claim,
)
from stream.codec.dead_letter import DeadLetter, trace_headers
from stream.engine.checkpoint import OffsetTracker, UncommittedChanges
from stream.engine.end_user_cache import UNCHANGED, EndUserCache
from stream.engine.lanes import (
    PendingEvent,
    PendingRequest,
    is_same_operation,
    rebuild_operation,
)
from stream.engine.limits import DeadLetterLimit, EngineConfig, FailedTries
from stream.engine.prepare import replay_of
from stream.state.ledger import EVENT, EventEntry, EventOutcome, encode

OnSettled: TypeAlias = Callable[[PendingEvent, str, str], None]
"""Called with each settled event, its outcome and the reason."""


class Settlement:
    """Settles the events of one partition.

    ``open_events`` maps event ids to their request in flight, None while the event waits in its
    lane. ``duplicates`` holds later events with the same id. Both are shared with the partition's
    task.
    """

    def __init__(
        self,
        *,
        uncommitted: UncommittedChanges,
        offsets: OffsetTracker,
        dead_letter_limit: DeadLetterLimit,
        end_users: EndUserCache,
        config: EngineConfig,
        open_events: dict[str, PendingRequest | None],
        duplicates: dict[str, list[PendingEvent]],
        on_settled: OnSettled | None,
    ) -> None:
        self._uncommitted = uncommitted
        self._offsets = offsets
        self._dead_letter_limit = dead_letter_limit
        self._end_users = end_users
        self._config = config
        self._open_events = open_events
        self._duplicates = duplicates
        self._on_settled = on_settled

    def deliver(self, request: PendingRequest, outcome: Delivered, now_ms: int) -> None:
        """Settle the events of a delivered request and store the user as it is now."""
        self._end_users.store(request, outcome.end_user, now_ms)
        for event in request.events:
            self._dead_letter_limit.record(rejected=False)
            self._receipt(
                event,
                EventOutcome.DELIVERED,
                now_ms,
                request_id=request.request_id,
                remote_id=outcome.remote_id,
                claim=outcome.claim,
                status=outcome.status,
                attempts=outcome.attempts,
            )
            self.settle(event, "delivered", "")

    def skip_request(self, request: PendingRequest, outcome: Skipped, now_ms: int) -> None:
        """Settle the events of a request for which nothing had to be sent.

        An unobservable one in doubt is parked instead: it may have been sent before.
        """
        self._end_users.store(request, outcome.end_user, now_ms)
        if request.in_doubt and request.effect is EffectClass.UNOBSERVABLE:
            detail = f"perhaps sent before this was known: {outcome.reason}"
            self.park(request, Parked(reason="ambiguous", detail=detail), now_ms)
        else:
            self.skip_all(request, outcome.reason, now_ms)

    def skip_all(self, request: PendingRequest, reason: str, now_ms: int) -> None:
        """Settle the events of a request without an effect."""
        for event in request.events:
            self.skip(event, reason, now_ms)

    def skip(self, event: PendingEvent, reason: str, now_ms: int) -> None:
        """Settle an event without an effect, for a reason that depends on what was stored.

        Events skipped by the transform need no receipt: they are skipped again when read again.
        """
        self._receipt(event, EventOutcome.SKIPPED, now_ms, reason=reason)
        if reason == UNCHANGED and event.operation is not None:
            self._end_users.touch(event.operation, event)
        self._dead_letter_limit.record(rejected=False)
        self.settle(event, "skipped", reason)

    def reject_all(self, request: PendingRequest, outcome: Rejected, now_ms: int) -> None:
        """Make a dead letter of each event of a request that was rejected."""
        self._end_users.invalidate(request.operation)
        for event in request.events:
            self.reject(event, outcome, now_ms, request)

    def reject(
        self,
        event: PendingEvent,
        outcome: Rejected,
        now_ms: int,
        request: PendingRequest | None = None,
    ) -> None:
        """Make a dead letter of an event. Without a request it was never sent."""
        self._dead_letter_limit.record(rejected=True)
        self._uncommitted.dead_letters.append(self._dead_letter(event, outcome, now_ms))
        self._receipt(
            event,
            EventOutcome.REJECTED,
            now_ms,
            reason=outcome.reason,
            request_id=request.request_id if request else None,
            status=outcome.status,
            attempts=outcome.attempts,
        )
        self.settle(event, "rejected", outcome.reason)

    def park(self, request: PendingRequest, outcome: Parked, now_ms: int) -> None:
        """Park the events of a request that cannot be completed, or whose effect stays in doubt."""
        if request.effect is not EffectClass.UNOBSERVABLE:
            self._end_users.invalidate(request.operation)
        for event in request.events:
            self._uncommitted.parked.append(self._dead_letter(event, outcome, now_ms))
            self._receipt(
                event,
                EventOutcome.PARKED,
                now_ms,
                reason=outcome.reason,
                request_id=request.request_id or None,
                attempts=outcome.attempts,
            )
            self.settle(event, "parked", outcome.reason)

    def settle(self, event: PendingEvent, outcome: str, reason: str) -> None:
        """Settle an event and its duplicates."""
        self._open_events.pop(event.event_id, None)
        if self._offsets.settle(event.record.offset):
            self._count(event, outcome, reason)
        for duplicate in self._duplicates.pop(event.event_id, ()):
            self._offsets.settle(duplicate.record.offset)
            self._count(duplicate, "duplicate", "message_id")

    def _count(self, event: PendingEvent, outcome: str, reason: str) -> None:
        self._uncommitted.count(outcome, reason, event.record.size)
        if self._on_settled is not None:
            self._on_settled(event, outcome, reason)

    def _receipt(
        self,
        event: PendingEvent,
        outcome: EventOutcome,
        now_ms: int,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        remote_id: int | None = None,
        claim: int | None = None,
        status: int | None = None,
        attempts: int = 0,
    ) -> None:
        entry = EventEntry(
            outcome=outcome,
            reason=reason,
            offset=event.record.offset,
            at_ms=now_ms,
            request_id=request_id,
            remote_id=remote_id,
            status=status,
            attempts=attempts,
        )
        claimed = remote_id
        if claimed is None and claim is not None:
            claimed = next_claim(claim, self._uncommitted.claimed_ids())
        self._uncommitted.put(EVENT + event.event_id, encode(entry), claimed)

    def _dead_letter(
        self, event: PendingEvent, outcome: Rejected | Parked, now_ms: int
    ) -> DeadLetter:
        return DeadLetter(
            key=event.record.key,
            value=event.record.value,
            reason=outcome.reason,
            detail=outcome.detail,
            origin=event.record.partition,
            offset=event.record.offset,
            message_id=event.message_id,
            http_status=outcome.status if isinstance(outcome, Rejected) else None,
            attempts=outcome.attempts,
            failed_at_ms=now_ms,
            app_version=self._config.app_version,
            replay=replay_of(event.record),
            trace=trace_headers(event.record.headers),
        ).fitting(self._config.letter_bytes_max)


# Requests that are parked


SUSPENDED = Parked(
    reason="attempts_exhausted", detail="not tried: another one of this user failed", attempts=0
)


def attempts_exhausted(outcome: InDoubt | Deferred, tries: FailedTries) -> Parked:
    """Return the outcome of a request whose tries are spent."""
    reason = outcome.detail if isinstance(outcome, InDoubt) else outcome.reason
    return Parked(
        reason="attempts_exhausted",
        detail=f"{tries.requests} requests failed while others were served, the last: {reason}",
        attempts=outcome.attempts,
    )


def cannot_look_up(request: PendingRequest, *, resend_unobservable: bool) -> Parked | None:
    """Return the outcome of a request in doubt whose effect cannot be looked up; None if it can.

    An operation that the ledger does not hold is rebuilt from its events.
    """
    if request.operation is None:
        operation = rebuild_operation(request.events)
        if operation is None:
            return Parked(reason="operation_lost", detail="its events no longer request anything")
        if not is_same_operation(request, operation):
            detail = "its events no longer request what may have been sent"
            return Parked(reason="operation_changed", detail=detail)
        request.operation = operation
    if request.effect is EffectClass.UNOBSERVABLE and not resend_unobservable:
        return Parked(reason="ambiguous", detail="the worker that had it in flight ended")
    return None
