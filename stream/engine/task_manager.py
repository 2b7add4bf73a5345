"""The flow: every event that is under way, from its poll to its settlement.

A pure state machine. It is told what was read, what was committed and how deliveries
ended, each with the time; it answers with the next checkpoint and with what may be sent.
It knows no clock, socket or Kafka. One object holds what is under way: there is no
second buffer to flush when a partition moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from sink.wootric.delivery import Outcome
from stream.engine.checkpoint import Checkpoint, PartitionCheckpoint
from stream.engine.lanes import Lane, PendingRequest
from stream.engine.partition_task import PartitionTask, Settled
from stream.engine.prepare import PreparedRecord
from stream.engine.scheduler import EngineConfig, FairScheduler, QueueClass, ReleaseBudget, Timers
from stream.record import Partition
from stream.state.store import StateStore

RELEASES_PER_TURN_MAX = 2_000
"""Bounds how long one turn of the loop may take."""
NOWHERE: Mapping[Partition, int] = MappingProxyType({})


class TaskManager:
    """What is under way in all owned partitions."""

    def __init__(self, limits: EngineConfig, *, settled: Settled | None = None) -> None:
        """``settled`` is told of each event that settles: which one, how, and why."""
        self._limits = limits
        self._settled = settled
        self._partitions: dict[Partition, PartitionTask] = {}
        self._scheduler: FairScheduler[tuple[PartitionTask, Lane]] = FairScheduler()
        self._timers: Timers[tuple[PartitionTask, PendingRequest]] = Timers()
        self._sequence = 0
        self._arrivals = 0

    @property
    def partitions(self) -> dict[Partition, PartitionTask]:
        """The open partitions."""
        return self._partitions

    @property
    def unsettled(self) -> int:
        """How many consumed events no committed transaction has settled."""
        return sum(partition.unsettled for partition in self._partitions.values())

    @property
    def unsettled_bytes(self) -> int:
        """How many bytes their records have."""
        return sum(partition.unsettled_bytes for partition in self._partitions.values())

    @property
    def under_way(self) -> int:
        """How many operations were released and have no outcome yet."""
        return sum(partition.under_way for partition in self._partitions.values())

    @property
    def in_doubt(self) -> int:
        """How many operations may have been executed, and nobody knows yet."""
        return sum(len(partition.in_doubt) for partition in self._partitions.values())

    def open(
        self, partition: Partition, state: StateStore, next_offset: int, now: float, *, opening: int
    ) -> None:
        """Begin with a partition whose ledger was restored up to its barrier.

        ``opening`` is the number of its assignment: what is said of an earlier one does not
        count for this one.
        """
        flow = PartitionTask(
            partition,
            state,
            next_offset,
            self._limits,
            assignment_epoch=opening,
            settled=self._settled,
        )
        self._partitions[partition] = flow
        for when, work in flow.restore(now):
            self._timers.add(when, (flow, work))

    def close(self, partition: Partition) -> int:
        """Forget a partition that is no longer ours.

        Returns how many consumed events are relinquished to its next owner.
        """
        flow = self._partitions.pop(partition, None)
        return 0 if flow is None else flow.close()

    def stop_releasing(self, partitions: Iterable[Partition]) -> None:
        """Release nothing more of these partitions; what is under way may finish."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition].releasing = False

    def admit(self, judged: Sequence[PreparedRecord], now_ms: int) -> list[PreparedRecord]:
        """Take over events in the order of their offsets; return those that were new.

        After a pause records may come again that were on their way when it began.
        """
        admitted: list[PreparedRecord] = []
        for event in judged:
            flow = self._partitions.get(event.record.partition)
            if flow is not None and event.record.offset >= flow.offsets.next_offset:
                admitted.append(event)
                self._arrivals += 1
                self._queue(flow, flow.admit(event, now_ms, arrival=self._arrivals))
        return admitted

    def reached(self, partition: Partition, offset: int) -> None:
        """Note that everything before ``offset`` was read, control records included."""
        flow = self._partitions.get(partition)
        if flow is not None:
            self._queue(flow, flow.on_partition_end(offset))

    def due(self, now: float) -> float | None:
        """Wake what has waited long enough; return when the next one is due, or None."""
        for flow, work in self._timers.pop(now):
            if not flow.closed:
                self._queue(flow, flow.on_timer(work))
        return self._timers.next()

    def checkpoint(self, now_ms: int, capacity: ReleaseBudget) -> Checkpoint:
        """Release what there is room for, and return what the next transaction commits."""
        self._release(capacity, now_ms)
        self._sequence += 1
        return Checkpoint(
            sequence=self._sequence,
            shares={partition: flow.share() for partition, flow in self._partitions.items()},
        )

    def has_news(self, capacity: ReleaseBudget) -> bool:
        """Whether a checkpoint now would say more than the last one."""
        api = capacity.api > 0 and capacity.requests >= 1
        if self._scheduler.next(api=api, pixel=capacity.pages > 0) is not None:
            return True
        return any(flow.has_news() for flow in self._partitions.values())

    def committed(
        self,
        checkpoint: Checkpoint,
        started_at: float,
        ledger_ends: Mapping[Partition, int] = NOWHERE,
    ) -> list[PendingRequest]:
        """Take a checkpoint as committed; return what may be sent from now on.

        ``started_at`` is when its transaction began: the lease counts from then.
        ``ledger_ends`` says where the ledgers ended then, at the least.
        """
        sendable: list[PendingRequest] = []
        for partition, share in self.held(checkpoint).items():
            flow = self._partitions[partition]
            sendable += flow.committed(share, started_at, ledger_ends.get(partition))
        return sendable

    def held(self, checkpoint: Checkpoint) -> dict[Partition, PartitionCheckpoint]:
        """Return the shares of the partitions that are still open as they were then."""
        return {
            partition: share
            for partition, share in checkpoint.shares.items()
            if partition in self._partitions
            and self._partitions[partition].assignment_epoch == share.assignment_epoch
        }

    def may_send(self, work: PendingRequest, now: float) -> bool:
        """Whether bytes of this work may leave now: still ours, and within the lease."""
        flow = self._partitions.get(work.lane.partition)
        return (
            flow is not None
            and flow.has_in_flight(work)
            and now < flow.fenced_at + self._limits.lease_s
        )

    def settle(self, work: PendingRequest, outcome: Outcome, now: float, now_ms: int) -> None:
        """Take over how a delivery ended."""
        flow = self._partitions.get(work.lane.partition)
        if flow is None or not flow.has_in_flight(work):
            return
        step = flow.settle(work, outcome, now, now_ms)
        self._queue(flow, step.ready)
        for when, waiting in step.later:
            self._timers.add(when, (flow, waiting))

    def _queue(self, flow: PartitionTask, lanes: Iterable[Lane]) -> None:
        """Let lanes wait for their turn; one whose next work is another than before, anew."""
        for lane in lanes:
            work = lane.head
            turn = flow.queue_class(lane)
            place = lane.place
            if place is not None and place.holder is not None:
                if lane.queued is work and place.turn is turn:
                    continue
                place.holder = None
            lane.queued = work
            lane.place = self._scheduler.add(turn, work.arrival, (flow, lane))

    def _release(self, room: ReleaseBudget, now_ms: int) -> None:
        """Release the first of each ready lane, in turn, as long as there is room."""
        api, pages, requests = room.api, room.pages, room.requests
        for _ in range(RELEASES_PER_TURN_MAX):
            turn = self._scheduler.next(api=api > 0 and requests >= 1, pixel=pages > 0)
            if turn is None:
                return
            flow, lane = self._scheduler.pop(turn)
            if flow.closed:
                continue
            work, lanes = flow.release(lane, turn, now_ms)
            if work is not None:
                self._scheduler.consume(turn, work.requests)
                requests -= work.requests
                if turn in (QueueClass.PIXEL_ONLY, QueueClass.LOOKUP_THEN_PIXEL):
                    pages -= 1
                else:
                    api -= 1
            self._queue(flow, lanes)


class HaltReason(StrEnum):
    """Why a partition stands still."""

    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    LEDGER_MISSING = "ledger_missing"
    LEDGER_BEHIND = "ledger_behind"
    LEDGER_UNREADABLE = "ledger_unreadable"
    DEAD_LETTERS = "dead_letters"
    REGISTRY_AWAY = "registry_away"
    UNKNOWN_SCHEMA = "unknown_schema"
    OFFSET_GAP = "overstretched"
