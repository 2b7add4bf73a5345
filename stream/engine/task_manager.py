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
from stream.engine.partition_task import OnSettled, PartitionTask
from stream.engine.prepare import PreparedRecord
from stream.engine.scheduler import EngineConfig, FairScheduler, QueueClass, ReleaseBudget, Timers
from stream.record import Partition
from stream.state.store import StateStore

RELEASES_PER_TICK_MAX = 2_000
"""Bounds how long one turn of the loop may take."""
NO_LEDGER_ENDS: Mapping[Partition, int] = MappingProxyType({})


class TaskManager:
    """What is under way in all owned partitions."""

    def __init__(self, config: EngineConfig, *, on_settled: OnSettled | None = None) -> None:
        """``settled`` is told of each event that settles: which one, how, and why."""
        self._config = config
        self._on_settled = on_settled
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
        self,
        partition: Partition,
        state: StateStore,
        next_offset: int,
        now: float,
        *,
        assignment_epoch: int,
    ) -> None:
        """Begin with a partition whose ledger was restored up to its barrier.

        ``opening`` is the number of its assignment: what is said of an earlier one does not
        count for this one.
        """
        task = PartitionTask(
            partition,
            state,
            next_offset,
            self._config,
            assignment_epoch=assignment_epoch,
            on_settled=self._on_settled,
        )
        self._partitions[partition] = task
        for when, request in task.restore(now):
            self._timers.add(when, (task, request))

    def close(self, partition: Partition) -> int:
        """Forget a partition that is no longer ours.

        Returns how many consumed events are relinquished to its next owner.
        """
        task = self._partitions.pop(partition, None)
        return 0 if task is None else task.close()

    def stop_releasing(self, partitions: Iterable[Partition]) -> None:
        """Release nothing more of these partitions; what is under way may finish."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition].releasing = False

    def admit(self, prepared: Sequence[PreparedRecord], now_ms: int) -> list[PreparedRecord]:
        """Take over events in the order of their offsets; return those that were new.

        After a pause records may come again that were on their way when it began.
        """
        admitted: list[PreparedRecord] = []
        for event in prepared:
            task = self._partitions.get(event.record.partition)
            if task is not None and event.record.offset >= task.offsets.next_offset:
                admitted.append(event)
                self._arrivals += 1
                self._queue(task, task.admit(event, now_ms, arrival=self._arrivals))
        return admitted

    def on_partition_end(self, partition: Partition, offset: int) -> None:
        """Note that everything before ``offset`` was read, control records included."""
        task = self._partitions.get(partition)
        if task is not None:
            self._queue(task, task.on_partition_end(offset))

    def run_timers(self, now: float) -> float | None:
        """Wake what has waited long enough; return when the next one is due, or None."""
        for task, request in self._timers.pop(now):
            if not task.closed:
                self._queue(task, task.on_timer(request))
        return self._timers.next()

    def checkpoint(self, now_ms: int, budget: ReleaseBudget) -> Checkpoint:
        """Release what there is room for, and return what the next transaction commits."""
        self._release(budget, now_ms)
        self._sequence += 1
        return Checkpoint(
            sequence=self._sequence,
            partitions={
                partition: task.checkpoint() for partition, task in self._partitions.items()
            },
        )

    def has_changes(self, budget: ReleaseBudget) -> bool:
        """Whether a checkpoint now would say more than the last one."""
        api = budget.api > 0 and budget.requests >= 1
        if self._scheduler.next(api=api, pixel=budget.pages > 0) is not None:
            return True
        return any(task.has_changes() for task in self._partitions.values())

    def on_committed(
        self,
        checkpoint: Checkpoint,
        started_at: float,
        ledger_ends: Mapping[Partition, int] = NO_LEDGER_ENDS,
    ) -> list[PendingRequest]:
        """Take a checkpoint as committed; return what may be sent from now on.

        ``started_at`` is when its transaction began: the lease counts from then.
        ``ledger_ends`` says where the ledgers ended then, at the least.
        """
        sendable: list[PendingRequest] = []
        for partition, part in self.still_owned(checkpoint).items():
            task = self._partitions[partition]
            sendable += task.on_committed(part, started_at, ledger_ends.get(partition))
        return sendable

    def still_owned(self, checkpoint: Checkpoint) -> dict[Partition, PartitionCheckpoint]:
        """Return the shares of the partitions that are still open as they were then."""
        return {
            partition: part
            for partition, part in checkpoint.partitions.items()
            if partition in self._partitions
            and self._partitions[partition].assignment_epoch == part.assignment_epoch
        }

    def may_send(self, request: PendingRequest, now: float) -> bool:
        """Whether bytes of this work may leave now: still ours, and within the lease."""
        task = self._partitions.get(request.lane.partition)
        return (
            task is not None
            and task.has_in_flight(request)
            and now < task.fenced_at + self._config.lease_s
        )

    def settle(self, request: PendingRequest, outcome: Outcome, now: float, now_ms: int) -> None:
        """Take over how a delivery ended."""
        task = self._partitions.get(request.lane.partition)
        if task is None or not task.has_in_flight(request):
            return
        follow_up = task.settle(request, outcome, now, now_ms)
        self._queue(task, follow_up.ready)
        for when, waiting in follow_up.timers:
            self._timers.add(when, (task, waiting))

    def _queue(self, task: PartitionTask, lanes: Iterable[Lane]) -> None:
        """Let lanes wait for their turn; one whose next work is another than before, anew."""
        for lane in lanes:
            request = lane.head
            queue_class = task.queue_class(lane)
            entry = lane.queue_entry
            if entry is not None and entry.item is not None:
                if lane.queued_request is request and entry.queue_class is queue_class:
                    continue
                entry.item = None
            lane.queued_request = request
            lane.queue_entry = self._scheduler.add(queue_class, request.arrival, (task, lane))

    def _release(self, budget: ReleaseBudget, now_ms: int) -> None:
        """Release the first of each ready lane, in turn, as long as there is room."""
        api, pages, requests = budget.api, budget.pages, budget.requests
        for _ in range(RELEASES_PER_TICK_MAX):
            queue_class = self._scheduler.next(api=api > 0 and requests >= 1, pixel=pages > 0)
            if queue_class is None:
                return
            task, lane = self._scheduler.pop(queue_class)
            if task.closed:
                continue
            request, lanes = task.release(lane, queue_class, now_ms)
            if request is not None:
                self._scheduler.consume(queue_class, request.api_requests)
                requests -= request.api_requests
                if queue_class in (QueueClass.PIXEL_ONLY, QueueClass.LOOKUP_THEN_PIXEL):
                    pages -= 1
                else:
                    api -= 1
            self._queue(task, lanes)


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
