"""The flow of one partition: its lanes, and what becomes of the events in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import assert_never

from sink.wootric.delivery import (
    Deferred,
    Delivered,
    Delivery,
    EndUser,
    InDoubt,
    Outcome,
    Parked,
    Rejected,
    Skipped,
    estimated_requests,
)
from sink.wootric.operations import EffectClass, PageView
from stream.engine.checkpoint import PartitionCheckpoint, UncommittedChanges
from stream.engine.end_user_cache import EndUserCache
from stream.engine.lanes import (
    Lane,
    PendingEvent,
    PendingRequest,
    read_intent,
    rebuild_operation,
    write_intent,
)
from stream.engine.offsets import DeadLetterLimit, OffsetTracker
from stream.engine.prepare import Invalid, PreparedRecord
from stream.engine.scheduler import NEEDS_LOOKUP, EngineConfig, QueueClass, classify
from stream.engine.settlement import Settled, Settlement
from stream.record import Partition, Record
from stream.state.ledger import EVENT, intent_key, read_event
from stream.state.store import StateStore
from stream.transform import Deliver, Skip

NOT_SCHEDULED = float("-inf")
UNKNOWN_USER = EndUser(id=0)
"""Stands for a user whose entry has not been read yet."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What follows: lanes that have something to release, and works that wait."""

    ready: Sequence[Lane] = ()
    later: Sequence[tuple[float, PendingRequest]] = field(default=())


class PartitionTask:
    """What is under way in one partition."""

    def __init__(
        self,
        partition: Partition,
        state: StateStore,
        next_offset: int,
        limits: EngineConfig,
        *,
        assignment_epoch: int,
        settled: Settled | None = None,
    ) -> None:
        self.partition = partition
        self.assignment_epoch = assignment_epoch
        self.offsets = OffsetTracker(next_offset)
        self.unsaved = UncommittedChanges(state)
        self.in_doubt: set[PendingRequest] = set()
        self.releasing = True
        self.closed = False
        self.fenced_at = NOT_SCHEDULED
        self.brake = DeadLetterLimit(limits.dead_letter_limit)
        self.under_way = 0
        self.unsettled_bytes = 0
        """The bytes of the records that no committed transaction has settled."""
        self._users = EndUserCache(
            self.unsaved, unchanged_resend_after_s=limits.unchanged_resend_after_s
        )
        self._limits = limits
        self.committed_offset: int | None = None
        self._lanes: dict[str, Lane] = {}
        self._open: dict[str, PendingRequest | None] = {}
        self._twins: dict[str, list[PendingEvent]] = {}
        self._awaiting: set[PendingRequest] = set()
        self._settlement = Settlement(
            unsaved=self.unsaved,
            offsets=self.offsets,
            brake=self.brake,
            users=self._users,
            limits=limits,
            under_way=self._open,
            twins=self._twins,
            settled=settled,
        )

    @property
    def unsettled(self) -> int:
        """How many consumed events no committed transaction has settled."""
        return len(self.offsets) + self.unsaved.events

    @property
    def offset_gap_exceeded(self) -> bool:
        """Whether too much has settled above the watermark to read on.

        An intent that still lacks one of its events lets reading go on until that is found.
        """
        return not self._awaiting and self.offsets.span > self._limits.offset_gap_max

    @property
    def awaiting_replay(self) -> bool:
        """Whether an intent still lacks one of its events: reading has to go on."""
        return bool(self._awaiting)

    def has_news(self) -> bool:
        """Whether a checkpoint now would say more than the last committed one."""
        return bool(self.unsaved) or self.offsets.commit_offset != self.committed_offset

    def has_in_flight(self, work: PendingRequest) -> bool:
        """Whether the work is under way here."""
        lane = self._lanes.get(work.lane.key)
        return not self.closed and lane is work.lane and lane.current is work

    # From the ledger and from the input

    def restore(self, now: float) -> list[tuple[float, PendingRequest]]:
        """Return what the last owner left in doubt, each with the time to look at it.

        Each holds its lane until then. Page views cannot be looked for: no need to wait.
        """
        works = []
        for lane_key, value in self.unsaved.state.intents().items():
            lane = self._lanes[lane_key] = Lane(lane_key, self.partition)
            work = read_intent(lane, value)
            work.in_doubt_since = now
            lane.current = work
            self.in_doubt.add(work)
            self._awaiting.add(work)
            self._open.update(dict.fromkeys(work.expected, work))
            observable = work.effect is not EffectClass.UNOBSERVABLE
            works.append((now + self._limits.takeover_wait_s if observable else now, work))
        return works

    def admit(self, event: PreparedRecord, now_ms: int, *, arrival: int = 0) -> list[Lane]:
        """Take over the next event; return the lanes that have something to release.

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
        if event.event_id in self._open:
            return self._admit_again(pending) + self._passed()
        settled = self.unsaved.get(EVENT + event.event_id)
        if settled is not None:
            receipt = read_event(settled)
            again = receipt is not None and receipt.offset == record.offset
            self._settlement.done(pending, "duplicate", "redelivered" if again else "message_id")
            return self._passed()
        match event.result:
            case Skip(reason):
                self.brake.note(refused=False)
                self._settlement.done(pending, "skipped", reason)
            case Invalid(reason, detail):
                self._settlement.reject(
                    pending, Rejected(reason=reason, detail=detail, attempts=0), now_ms
                )
            case Deliver(lane=lane_key, operation=operation):
                lane = self._lanes.get(lane_key)
                if lane is None:
                    needless = self._users.skip_reason(operation, pending, now_ms)
                    if needless is not None:
                        self._settlement.skip(pending, needless, now_ms)
                        return self._passed()
                    lane = self._lanes[lane_key] = Lane(lane_key, self.partition)
                self._open[event.event_id] = None
                lane.add(pending)
                return self._ready(lane) + self._passed()
            case _:
                assert_never(event.result)
        return self._passed()

    def _admit_again(self, pending: PendingEvent) -> list[Lane]:
        """Join an event to the intent that names it, or to its twin that is under way."""
        work = self._open[pending.event_id]
        if work is None or work.expected.pop(pending.event_id, None) is None:
            self._twins.setdefault(pending.event_id, []).append(pending)
            return []
        work.members.append(pending)
        return self._ready(work.lane)

    def on_partition_end(self, offset: int) -> list[Lane]:
        """Note that everything before ``offset`` was read; return the lanes that may go on.

        A member of an intent that was not among it is gone from the input: it is settled
        all the same, without its bytes.
        """
        self.offsets.reached(offset)
        return self._passed()

    def _passed(self) -> list[Lane]:
        """Give up members of intents that reading has passed; return lanes that may go on."""
        lanes = []
        for work in tuple(self._awaiting):
            gone = [name for name, at in work.expected.items() if at < self.offsets.next_offset]
            for name in gone:
                record = Record(self.partition, work.expected.pop(name), 0, None, None)
                work.members.append(PendingEvent(record=record, event_id=name))
            if not work.expected:
                self._awaiting.discard(work)
                lanes += self._ready(work.lane)
        return lanes

    # Releasing

    def on_timer(self, work: PendingRequest) -> list[Lane]:
        """Return the work's lane if the work's waiting is over."""
        work.not_before = NOT_SCHEDULED
        return self._passed() + self._ready(work.lane)

    def queue_class(self, lane: Lane) -> QueueClass:
        """Return whose turn the lane's next work waits for, as far as a glance tells."""
        work = lane.head
        operation = work.operation
        if work.turn is not None:
            return work.turn
        if operation is None or work.in_doubt:
            return QueueClass.PIXEL_ONLY if work.is_page else QueueClass.API_UPDATE
        turn = classify(operation, None)
        if turn in NEEDS_LOOKUP and self._users.present(operation):
            return classify(operation, UNKNOWN_USER)
        return turn

    def release(
        self, lane: Lane, turn: QueueClass, now_ms: int
    ) -> tuple[PendingRequest | None, list[Lane]]:
        """Release the lane's next work into the coming transaction, if it is its turn.

        Returns what was released and the lanes that have more. What would change nothing
        at Wootric is settled on the spot.
        """
        if not self.releasing or not self._ready(lane):
            return None, []
        if lane.current is not None:
            return self._release_in_doubt(lane.current, now_ms)
        while lane.waiting:
            work = lane.waiting[0]
            if work is not lane.queued and not self._may_release(work, turn):
                return None, self._ready(lane)
            reason = self._users.skip_reason(work.planned, work.members[0], now_ms)
            if reason is None:
                known = self._users.get(work.planned, now_ms)
                work.turn = classify(work.planned, known)
                if work.turn is not turn:
                    return None, [lane]
                lane.waiting.popleft()
                self._intend(work, known, now_ms)
                return work, []
            lane.waiting.popleft()
            self._settlement.skip_all(work, reason, now_ms)
        self._forget(lane)
        return None, []

    def _may_release(self, work: PendingRequest, turn: QueueClass) -> bool:
        """Whether the lane's next work may be released in the turn of the one before it."""
        return work.not_before <= NOT_SCHEDULED and self.queue_class(work.lane) is turn

    def _release_in_doubt(
        self, work: PendingRequest, now_ms: int
    ) -> tuple[PendingRequest | None, list[Lane]]:
        """Let a work look for its effect, behind a fresh fence; a page view has none."""
        if work.operation is None:
            work.operation = rebuild_operation(work.members)
        if work.operation is None:
            parked = Parked(reason="operation_lost", detail="its events ask for nothing any more")
            self._settlement.park(work, parked, now_ms)
            return None, list(self._close_intent(work).ready)
        if work.effect is EffectClass.UNOBSERVABLE and not self._limits.resend_pages:
            detail = "the worker that had it under way ended"
            self._settlement.park(work, Parked(reason="ambiguous", detail=detail), now_ms)
            return None, list(self._close_intent(work).ready)
        work.known = None
        self._send(work)
        return work, []

    def _intend(self, work: PendingRequest, known: EndUser | None, now_ms: int) -> None:
        """Freeze the work and let its intent be in the next transaction."""
        work.assign_request_id()
        work.known = known
        work.lane.current = work
        for member in work.members:
            self._open[member.event_id] = work
        intent = write_intent(work, instance=self._limits.instance, now_ms=now_ms)
        self.unsaved.put(intent_key(work.lane.key), intent)
        self._send(work)

    def _send(self, work: PendingRequest) -> None:
        work.sending = True
        work.turn = None
        work.requests = estimated_requests(work.planned, work.known, in_doubt=work.in_doubt)
        self.unsaved.releases.append(work)
        self.under_way += 1

    def delivery(self, work: PendingRequest, may_send: Callable[[], bool]) -> Delivery:
        """Return the delivery of a release that was committed."""
        return Delivery(
            request_id=work.request_id,
            operation=work.planned,
            may_send=may_send,
            known=work.known,
            in_doubt=work.in_doubt,
            refused=work.forbidden_count,
            claimed=self.unsaved.claimed() if work.in_doubt else frozenset(),
        )

    # Settling

    def settle(self, work: PendingRequest, outcome: Outcome, now: float, now_ms: int) -> FollowUp:
        """Take over how a delivery ended; return what follows."""
        self.under_way -= 1
        work.sending = False
        match outcome:
            case Delivered():
                self._settlement.deliver(work, outcome, now_ms)
            case Skipped():
                self._users.store(work, outcome.end_user, now_ms)
                if work.in_doubt and work.effect is EffectClass.UNOBSERVABLE:
                    detail = f"sent perhaps, before it was found out: {outcome.reason}"
                    self._settlement.park(work, Parked(reason="ambiguous", detail=detail), now_ms)
                else:
                    self._settlement.skip_all(work, outcome.reason, now_ms)
            case Rejected():
                if len(work.members) > 1 and all(m.operation for m in work.members):
                    return self._requeue(work, work.split(), now)
                self._settlement.reject_all(work, outcome, now_ms)
            case Parked():
                self._settlement.park(work, outcome, now_ms)
            case InDoubt():
                return self._mark_in_doubt(work, outcome, now, now_ms)
            case Deferred():
                work.forbidden_count += outcome.refused
                if work.in_doubt:
                    return self._keep_in_doubt(work, outcome.retry_at)
                return self._requeue(work, [work], outcome.retry_at)
            case _:
                assert_never(outcome)
        return self._close_intent(work)

    def _mark_in_doubt(
        self, work: PendingRequest, outcome: InDoubt, now: float, now_ms: int
    ) -> FollowUp:
        """Close the lane until a late effect can be excluded; decide at once for pages."""
        if work.effect is EffectClass.UNOBSERVABLE:
            if self._limits.resend_pages:
                return self._keep_in_doubt(work, now)
            parked = Parked(reason="ambiguous", detail=outcome.detail, attempts=outcome.attempts)
            self._settlement.park(work, parked, now_ms)
            return self._close_intent(work)
        self._users.invalidate(work.operation)
        if not work.in_doubt:
            work.in_doubt_since = now
        return self._keep_in_doubt(work, outcome.sent_at + self._limits.quiet_s)

    def _keep_in_doubt(self, work: PendingRequest, until: float) -> FollowUp:
        work.in_doubt = True
        work.not_before = until
        self.in_doubt.add(work)
        return FollowUp(later=[(until, work)])

    def _requeue(self, work: PendingRequest, works: list[PendingRequest], when: float) -> FollowUp:
        """Disarm what was not executed: back into its lane, where it may merge again."""
        lane = work.lane
        lane.current = None
        self.in_doubt.discard(work)
        self.unsaved.put(intent_key(lane.key), None)
        for member in work.members:
            self._open[member.event_id] = None
        lane.put_back(works)
        work = lane.waiting[0]
        work.not_before = when
        return FollowUp(ready=self._ready(lane), later=[(when, work)])

    def _close_intent(self, work: PendingRequest) -> FollowUp:
        lane = work.lane
        lane.current = None
        self.in_doubt.discard(work)
        self.unsaved.put(intent_key(lane.key), None)
        self._forget(lane)
        return FollowUp(ready=self._ready(lane))

    # The transaction

    def share(self) -> PartitionCheckpoint:
        """Return this partition's part of the next transaction."""
        return self.unsaved.share(self.offsets.commit_offset, self.assignment_epoch)

    def committed(
        self, share: PartitionCheckpoint, started_at: float, covered: int | None = None
    ) -> Sequence[PendingRequest]:
        """Take the share as committed; return the works that may be sent.

        ``covered`` is where this partition's ledger ended at the least, if that is known.
        """
        self.fenced_at = started_at
        self.committed_offset = share.offset
        self.unsettled_bytes -= share.settled_bytes
        self.unsaved.committed(share, covered)
        return share.releases

    def close(self) -> int:
        """Forget everything; return how many consumed events were not settled."""
        self.closed = True
        self.fenced_at = NOT_SCHEDULED
        self.unsaved.state.close()
        return self.unsettled

    # Small steps

    def _ready(self, lane: Lane) -> list[Lane]:
        """Return the lane if its next work may be released."""
        if len(lane.waiting) > 1:
            self._promote_page_view(lane)
        if lane.current is not None:
            work = lane.current
            asleep = work.sending or not work.in_doubt or bool(work.expected)
        elif lane.waiting:
            work = lane.waiting[0]
            asleep = False
        else:
            return []
        return [] if asleep or work.not_before > NOT_SCHEDULED else [lane]

    def _promote_page_view(self, lane: Lane) -> None:
        """Let a page view go before what waits for the API, if that changes nothing of it."""
        position = lane.passing()
        if position:
            page, earlier = lane.waiting[position], islice(lane.waiting, position)
            if isinstance(page.operation, PageView) and self._users.unaffected_by(
                page.operation, (work.operation for work in earlier)
            ):
                lane.bring_forward(position)

    def _forget(self, lane: Lane) -> None:
        if lane.current is None and not lane.waiting:
            lane.queued = None  # it names its lane: without this, both would be a cycle
            self._lanes.pop(lane.key, None)
