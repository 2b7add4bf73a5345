"""What is left of an event when it is settled: a receipt, a dead letter, a count, its offset."""

from collections.abc import Callable
from typing import TypeAlias

from sink.wootric.delivery import (
    Delivered,
    Parked,
    Rejected,
)
from sink.wootric.operations import DeleteEndUser, EffectClass
from stream.codec.dead_letter import DeadLetter, trace_headers
from stream.engine.checkpoint import UncommittedChanges
from stream.engine.end_user_cache import UNCHANGED, EndUserCache
from stream.engine.lanes import PendingEvent, PendingRequest
from stream.engine.offsets import DeadLetterLimit, OffsetTracker
from stream.engine.prepare import replay_of
from stream.engine.scheduler import EngineConfig
from stream.state.ledger import EVENT, EventEntry, EventOutcome, encode

Settled: TypeAlias = Callable[[PendingEvent, str, str], None]
"""Told of an event that settles: its outcome and the reason."""


class Settlement:
    """Settles the events of one partition.

    ``under_way`` holds the works by the ids of their events, None for one that waits in its lane;
    ``twins`` what came meanwhile under the same id. Both are the task's as well.
    """

    def __init__(
        self,
        *,
        unsaved: UncommittedChanges,
        offsets: OffsetTracker,
        brake: DeadLetterLimit,
        users: EndUserCache,
        limits: EngineConfig,
        under_way: dict[str, PendingRequest | None],
        twins: dict[str, list[PendingEvent]],
        settled: Settled | None,
    ) -> None:
        self._unsaved = unsaved
        self._offsets = offsets
        self._brake = brake
        self._users = users
        self._limits = limits
        self._open = under_way
        self._twins = twins
        self._settled = settled

    def deliver(self, work: PendingRequest, outcome: Delivered, now_ms: int) -> None:
        """Settle what was done at Wootric, and remember what it holds now."""
        if isinstance(work.operation, DeleteEndUser):
            self._users.invalidate(work.operation, work.members)
        else:
            self._users.store(work, outcome.end_user, now_ms)
        for member in work.members:
            self._brake.note(refused=False)
            self._receipt(
                member,
                EventOutcome.DELIVERED,
                now_ms,
                request_id=work.request_id,
                remote_id=outcome.remote_id,
                status=outcome.status,
                attempts=outcome.attempts,
            )
            self.done(member, "delivered", "")

    def skip_all(self, work: PendingRequest, reason: str, now_ms: int) -> None:
        """Settle all events of a work without an effect."""
        for member in work.members:
            self.skip(member, reason, now_ms)

    def skip(self, event: PendingEvent, reason: str, now_ms: int) -> None:
        """Settle without an effect, for a reason that depends on what Wootric held then.

        What the transform skips needs no receipt: it is skipped again when it is read again.
        """
        self._receipt(event, EventOutcome.SKIPPED, now_ms, reason=reason)
        if reason == UNCHANGED and event.operation is not None:
            self._users.touch(event.operation, event)
        self._brake.note(refused=False)
        self.done(event, "skipped", reason)

    def reject_all(self, work: PendingRequest, outcome: Rejected, now_ms: int) -> None:
        """Make a dead letter of each event of a work that Wootric refused."""
        self._users.invalidate(work.operation)
        for member in work.members:
            self.reject(member, outcome, now_ms, work)

    def reject(
        self,
        event: PendingEvent,
        outcome: Rejected,
        now_ms: int,
        work: PendingRequest | None = None,
    ) -> None:
        """Make a dead letter of an event; without a work it was never sent."""
        self._brake.note(refused=True)
        self._unsaved.dead_letters.append(self._letter(event, outcome, now_ms))
        self._receipt(
            event,
            EventOutcome.REJECTED,
            now_ms,
            reason=outcome.reason,
            request_id=work.request_id if work else None,
            status=outcome.status,
            attempts=outcome.attempts,
        )
        self.done(event, "rejected", outcome.reason)

    def park(self, work: PendingRequest, outcome: Parked, now_ms: int) -> None:
        """Park the events of a work whose effect is in doubt and cannot be looked for."""
        if work.effect is not EffectClass.UNOBSERVABLE:
            self._users.invalidate(work.operation)
        for member in work.members:
            self._unsaved.parked.append(self._letter(member, outcome, now_ms))
            self._receipt(
                member,
                EventOutcome.PARKED,
                now_ms,
                reason=outcome.reason,
                request_id=work.request_id,
                attempts=outcome.attempts,
            )
            self.done(member, "parked", outcome.reason)

    def done(self, event: PendingEvent, outcome: str, reason: str) -> None:
        """Settle an event, and what came in the meantime with the same id."""
        self._open.pop(event.event_id, None)
        if self._offsets.settle(event.record.offset):
            self._count(event, outcome, reason)
        for twin in self._twins.pop(event.event_id, ()):
            self._offsets.settle(twin.record.offset)
            self._count(twin, "duplicate", "message_id")

    def _count(self, event: PendingEvent, outcome: str, reason: str) -> None:
        self._unsaved.count(outcome, reason, event.record.size)
        if self._settled is not None:
            self._settled(event, outcome, reason)

    def _receipt(
        self,
        event: PendingEvent,
        outcome: EventOutcome,
        now_ms: int,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        remote_id: int | None = None,
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
        self._unsaved.put(EVENT + event.event_id, encode(entry), remote_id)

    def _letter(self, event: PendingEvent, outcome: Rejected | Parked, now_ms: int) -> DeadLetter:
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
            app_version=self._limits.app_version,
            replay=replay_of(event.record),
            trace=trace_headers(event.record.headers),
        ).fitting(self._limits.letter_bytes_max)
