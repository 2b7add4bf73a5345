"""State machine of one partition: its lanes, releases and outcomes."""

from collections.abc import Callable, Sequence
from typing import assert_never

from sink.delivery import (
    Deferred,
    Delivered,
    Delivery,
    EffectClass,
    EndUser,
    InDoubt,
    Outcome,
    Parked,
    QueueClass,
    ReadOperation,
    Rejected,
    Skipped,
)
from stream.engine.checkpoint import OffsetTracker, PartitionCheckpoint, UncommittedChanges
from stream.engine.end_user_cache import EndUserCache
from stream.engine.lanes import (
    NOT_SCHEDULED,
    FollowUp,
    Lane,
    PendingEvent,
    PendingRequest,
    RequestState,
    read_intent,
    write_intent,
)
from stream.engine.limits import AttemptLimit, DeadLetterLimit, EngineConfig, FailedTries
from stream.engine.prepare import Invalid, PreparedRecord
from stream.engine.settlement import (
    SUSPENDED,
    OnSettled,
    Settlement,
    attempts_exhausted,
    cannot_look_up,
)
from stream.record import Deliver, Partition, Skip
from stream.state.ledger import EVENT, intent_key, read_event
from stream.state.store import StateStore


class PartitionTask:
    """State machine of one partition, from the poll of its events to their settlement."""

    def __init__(
        self,
        partition: Partition,
        state: StateStore,
        next_offset: int,
        config: EngineConfig,
        *,
        assignment_epoch: int,
        read_operation: ReadOperation,
        on_settled: OnSettled | None = None,
    ) -> None:
        self.partition = partition
        self.assignment_epoch = assignment_epoch
        self.offsets = OffsetTracker(next_offset)
        self.uncommitted = UncommittedChanges(state)
        self.in_doubt: set[PendingRequest] = set()
        self.releasing = True
        self.closed = False
        self.fenced_at = NOT_SCHEDULED
        self.dead_letter_limit = DeadLetterLimit(config.dead_letter_limit)
        self.under_way = 0
        self.unsettled_bytes = 0  # of the records that no committed transaction has settled
        self._end_users = EndUserCache(
            self.uncommitted, unchanged_resend_after_s=config.unchanged_resend_after_s
        )
        self._attempt_limit = AttemptLimit(
            attempts_max=config.attempts_max, over_s=config.attempts_over_s
        )
        self._config = config
        self._read_operation = read_operation
        self.committed_offset: int | None = None
        self._lanes: dict[str, Lane] = {}
        self._open_events: dict[str, PendingRequest | None] = {}
        self._duplicates: dict[str, list[PendingEvent]] = {}
        self._awaiting_replay: set[PendingRequest] = set()
        self._settlement = Settlement(
            uncommitted=self.uncommitted,
            offsets=self.offsets,
            dead_letter_limit=self.dead_letter_limit,
            end_users=self._end_users,
            config=config,
            open_events=self._open_events,
            duplicates=self._duplicates,
            on_settled=on_settled,
        )

    @property
    def unsettled(self) -> int:
        """Number of consumed events that no committed transaction has settled."""
        return len(self.offsets) + self.uncommitted.events

    @property
    def offset_gap_exceeded(self) -> bool:
        """Whether too much has settled above the commit offset to read on.

        False while an intent still lacks one of its events: reading continues until it is found.
        """
        return not self.awaiting_replay and self.offsets.span > self._config.offset_gap_max

    @property
    def awaiting_replay(self) -> bool:
        """Whether an intent still lacks one of its events: reading must not stop."""
        return bool(self._awaiting_replay)

    def has_changes(self) -> bool:
        """Return whether a checkpoint would differ from the last committed one."""
        return bool(self.uncommitted) or self.offsets.commit_offset != self.committed_offset

    def has_in_flight(self, request: PendingRequest) -> bool:
        """Return whether the request is in flight here."""
        lane = self._lanes.get(request.lane.key)
        return not self.closed and lane is request.lane and lane.current is request

    # Events

    def restore(self, now: float) -> list[tuple[float, PendingRequest]]:
        """Return the requests that the previous owner left in doubt, with the times to check them.

        Each blocks its lane until then. Page views cannot be looked up, so they need no wait.
        """
        requests = []
        for lane_key, value in self.uncommitted.state.intents().items():
            lane = self._lanes[lane_key] = Lane(lane_key, self.partition)
            request = read_intent(lane, value, self._read_operation)
            request.in_doubt_since = now
            lane.current = request
            self.in_doubt.add(request)
            self._awaiting_replay.add(request)
            self._open_events.update(dict.fromkeys(request.expected, request))
            observable = request.effect is not EffectClass.UNOBSERVABLE
            requests.append((now + self._config.takeover_wait_s if observable else now, request))
        return requests

    def admit(self, event: PreparedRecord, now_ms: int, *, arrival: int = 0) -> list[Lane]:
        """Take over the next event; return the lanes that are ready to release.

        ``arrival`` numbers it among the events of all partitions.
        """
        record = event.record
        if record.offset < self.offsets.next_offset:
            return []
        self.offsets.add(record.offset, record.timestamp_ms)
        self.unsettled_bytes += record.size
        pending = PendingEvent(
            record=record,
            event_id=event.event_id,
            message_id=event.message_id,
            time_ms=event.time_ms,
            replayed=event.replayed,
            forced=event.forced,
            operation=event.result.operation if isinstance(event.result, Deliver) else None,
            arrival=arrival,
        )
        if event.event_id in self._open_events:
            return self._admit_duplicate(pending) + self._drop_missing_events()
        receipt_value = self.uncommitted.get(EVENT + event.event_id)
        if receipt_value is not None:
            receipt = read_event(receipt_value)
            is_redelivery = receipt is not None and receipt.offset == record.offset
            self._settlement.settle(
                pending, "duplicate", "redelivered" if is_redelivery else "message_id"
            )
            return self._drop_missing_events()
        match event.result:
            case Skip(reason):
                self.dead_letter_limit.record(rejected=False)
                self._settlement.settle(pending, "skipped", reason)
            case Invalid(reason, detail):
                self._settlement.reject(
                    pending, Rejected(reason=reason, detail=detail, attempts=0), now_ms
                )
            case Deliver(lane=lane_key, operation=operation):
                lane = self._lanes.get(lane_key)
                if lane is None:
                    skip_reason = self._end_users.skip_reason(operation, pending, now_ms)
                    if skip_reason is not None:
                        self._settlement.skip(pending, skip_reason, now_ms)
                        return self._drop_missing_events()
                    lane = self._lanes[lane_key] = Lane(lane_key, self.partition)
                self._open_events[event.event_id] = None
                lane.add(pending)
                return self._ready(lane) + self._drop_missing_events()
            case _:
                assert_never(event.result)
        return self._drop_missing_events()

    def _admit_duplicate(self, pending: PendingEvent) -> list[Lane]:
        """Add an event to the intent that names it, or to the pending event with the same id."""
        request = self._open_events[pending.event_id]
        if request is None or request.expected.pop(pending.event_id, None) is None:
            self._duplicates.setdefault(pending.event_id, []).append(pending)
            return []
        request.events.append(pending)
        return self._ready(request.lane) if self._is_complete(request) else []

    def on_partition_end(self, offset: int) -> list[Lane]:
        """Record that everything before ``offset`` was read; return the lanes that are ready.

        An event of an intent that was not found is no longer in the input: it is settled anyway,
        without its bytes.
        """
        self.offsets.advance_to(offset)
        return self._drop_missing_events()

    def _drop_missing_events(self) -> list[Lane]:
        """Stop waiting for events of intents below the next offset; return lanes that are ready."""
        lanes = []
        for request in tuple(self._awaiting_replay):
            request.give_up_expected(self.offsets.next_offset)
            if self._is_complete(request):
                lanes += self._ready(request.lane)
        return lanes

    def _is_complete(self, request: PendingRequest) -> bool:
        """Return whether all events of an intent have been read again or are known to be gone."""
        if request.expected:
            return False
        self._awaiting_replay.discard(request)
        request.state = RequestState.IN_DOUBT
        return True

    # Releases

    def on_timer(self, request: PendingRequest) -> list[Lane]:
        """End the request's wait; return its lane if it is ready."""
        request.not_before = NOT_SCHEDULED
        return self._drop_missing_events() + self._ready(request.lane)

    def queue_class(self, lane: Lane) -> QueueClass:
        """Estimate the class of the lane's next request."""
        return self._end_users.queue_class(lane.head)

    def release(
        self, lane: Lane, queue_class: QueueClass, now_ms: int
    ) -> tuple[PendingRequest | None, list[Lane]]:
        """Release the lane's next request into the next transaction, if it is of this class.

        Returns the released request and the lanes that have more to release. A request that would
        change nothing at Wootric is settled immediately.
        """
        if not self.releasing or not self._ready(lane):
            return None, []
        if lane.current is not None:
            return self._release_in_doubt(lane.current, now_ms)
        while lane.waiting:
            request = lane.waiting[0]
            if request is not lane.queued_request and not self._may_release(request, queue_class):
                return None, self._ready(lane)
            reason = self._end_users.skip_reason(
                request.require_operation(), request.events[0], now_ms
            )
            if reason is None:
                known = self._end_users.get(request.require_operation(), now_ms)
                request.queue_class = request.require_operation().queue_class(known)
                if request.queue_class is not queue_class:
                    return None, [lane]
                lane.waiting.popleft()
                replayed = request.events[0].replayed  # somebody wants it tried
                if self._attempt_limit.suspends(lane.key, queue_class, now_ms) and not replayed:
                    self._settlement.park(request, SUSPENDED, now_ms)
                    continue
                self._open_intent(request, known, now_ms)
                return request, []
            lane.waiting.popleft()
            self._settlement.skip_all(request, reason, now_ms)
        self._remove_if_empty(lane)
        return None, []

    def _may_release(self, request: PendingRequest, queue_class: QueueClass) -> bool:
        """Return whether the request may be released in the class of the one before it."""
        return request.not_before <= NOT_SCHEDULED and self.queue_class(request.lane) is queue_class

    def _release_in_doubt(
        self, request: PendingRequest, now_ms: int
    ) -> tuple[PendingRequest | None, list[Lane]]:
        """Release a request that checks for its effect first. A page view has none to check."""
        parked = cannot_look_up(request, resend_unobservable=self._config.resend_unobservable)
        if parked is not None:
            self._settlement.park(request, parked, now_ms)
            return None, list(self._close_intent(request).ready)
        request.known = None
        self._send(request)
        return request, []

    def _open_intent(self, request: PendingRequest, known: EndUser | None, now_ms: int) -> None:
        """Assign the request id and add the intent to the next transaction."""
        request.assign_request_id()
        request.known = known
        request.lane.current = request
        for event in request.events:
            self._open_events[event.event_id] = request
        intent = write_intent(request, instance=self._config.instance, now_ms=now_ms)
        self.uncommitted.put(intent_key(request.lane.key), intent)
        self._send(request)

    def _send(self, request: PendingRequest) -> None:
        request.state = RequestState.INTENT_PENDING
        request.queue_class = None
        request.api_requests = request.require_operation().estimated_requests(
            request.known, in_doubt=request.in_doubt
        )
        self.uncommitted.releases.append(request)
        self.under_way += 1

    def delivery(self, request: PendingRequest, may_send: Callable[[], bool]) -> Delivery:
        """Return the delivery of a committed release."""
        claimed = self.uncommitted.claimed_ids() if request.in_doubt else frozenset()
        return request.delivery(may_send, claimed)

    # Outcomes

    def settle(
        self, request: PendingRequest, outcome: Outcome, now: float, now_ms: int
    ) -> FollowUp:
        """Apply the outcome of a delivery; return what follows."""
        self.under_way -= 1
        match outcome:
            case Delivered():
                self._settlement.deliver(request, outcome, now_ms)
            case Skipped():
                self._settlement.skip_request(request, outcome, now_ms)
            case Rejected():
                if len(request.events) > 1 and all(m.operation for m in request.events):
                    return self._requeue(request, request.split(), now)
                self._settlement.reject_all(request, outcome, now_ms)
            case Parked():
                self._settlement.park(request, outcome, now_ms)
            case InDoubt() | Deferred():
                return self._plan_next_try(request, outcome, now, now_ms)
            case _:
                assert_never(outcome)
        self._attempt_limit.served(request.lane.key)
        return self._close_intent(request)

    def _plan_next_try(
        self, request: PendingRequest, outcome: InDoubt | Deferred, now: float, now_ms: int
    ) -> FollowUp:
        """Return when a request is tried again, or settle it if it is not.

        A request in doubt blocks its lane until a late effect can be excluded. An effect that
        cannot be looked up is decided at once.
        """
        unobservable = request.effect is EffectClass.UNOBSERVABLE
        if isinstance(outcome, InDoubt) and unobservable and not self._config.resend_unobservable:
            parked = Parked(reason="ambiguous", detail=outcome.detail, attempts=outcome.attempts)
            self._settlement.park(request, parked, now_ms)
            return self._close_intent(request)
        when: float | None = NOT_SCHEDULED
        if outcome.isolated:
            tries = request.failed_tries = request.failed_tries or FailedTries(now)
            tries.add(outcome.requests)
            when = self._attempt_limit.next_at(tries, request.lane.key, now, now_ms)
        if when is None:
            self._settlement.park(request, attempts_exhausted(outcome, tries), now_ms)
            return self._close_intent(request)
        if isinstance(outcome, InDoubt):
            if unobservable:
                return self._keep_in_doubt(request, now, max(when, now))
            self._end_users.invalidate(request.operation)
            quiet_until = outcome.sent_at + self._config.quiet_s
            return self._keep_in_doubt(request, now, max(when, quiet_until))
        when = max(when, outcome.retry_at)
        request.forbidden_count += outcome.refused
        if request.in_doubt:
            return self._keep_in_doubt(request, now, when)
        return self._requeue(request, [request], when)

    def _keep_in_doubt(self, request: PendingRequest, now: float, until: float) -> FollowUp:
        if request.in_doubt_since is None:
            request.in_doubt_since = now
        request.state = RequestState.IN_DOUBT
        request.not_before = until
        self.in_doubt.add(request)
        return FollowUp(timers=[(until, request)])

    def _requeue(
        self, request: PendingRequest, requests: list[PendingRequest], when: float
    ) -> FollowUp:
        """Close the intent of a request that was not executed and put it back into its lane."""
        lane = request.lane
        lane.current = None
        self.in_doubt.discard(request)
        self.uncommitted.put(intent_key(lane.key), None)
        for event in request.events:
            self._open_events[event.event_id] = None
        request.state = RequestState.QUEUED
        lane.requeue(requests)
        request = lane.waiting[0]
        request.not_before = when
        return FollowUp(ready=self._ready(lane), timers=[(when, request)])

    def _close_intent(self, request: PendingRequest) -> FollowUp:
        lane = request.lane
        lane.current = None
        self.in_doubt.discard(request)
        self.uncommitted.put(intent_key(lane.key), None)
        self._remove_if_empty(lane)
        return FollowUp(ready=self._ready(lane))

    # Transactions

    def checkpoint(self) -> PartitionCheckpoint:
        """Return this partition's part of the next transaction."""
        return self.uncommitted.checkpoint(self.offsets.commit_offset, self.assignment_epoch)

    def on_committed(
        self, checkpoint: PartitionCheckpoint, started_at: float, covered: int | None = None
    ) -> Sequence[PendingRequest]:
        """Apply a committed checkpoint; return the requests that may be sent.

        ``covered`` is a lower bound of the ledger's end offset, if known.
        """
        self.fenced_at = started_at
        self.committed_offset = checkpoint.offset
        self.unsettled_bytes -= checkpoint.settled_bytes
        self.uncommitted.on_committed(checkpoint, covered)
        for request in checkpoint.releases:
            request.state = RequestState.SENT
        return checkpoint.releases

    def close(self) -> int:
        """Close the state store; return the number of consumed events that were not settled."""
        self.closed = True
        self.fenced_at = NOT_SCHEDULED
        self.uncommitted.state.close()
        return self.unsettled

    # Lanes

    def _ready(self, lane: Lane) -> list[Lane]:
        """Return the lane if its next request may be released."""
        if len(lane.waiting) > 1:
            self._end_users.promote(lane)
        if lane.current is None and not lane.waiting:
            return []
        request = lane.head
        return [] if request.is_blocked or request.not_before > NOT_SCHEDULED else [lane]

    def _remove_if_empty(self, lane: Lane) -> None:
        if lane.current is None and not lane.waiting:
            lane.queued_request = None  # avoids a reference cycle
            self._lanes.pop(lane.key, None)
