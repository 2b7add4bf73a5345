"""All partition tasks of a worker: every event in flight, from its poll to its settlement.

A pure state machine without clock, socket or Kafka. It receives what was read, what was committed
and how deliveries ended, each with the time, and returns the next checkpoint and the requests that
may be sent. All events in flight are held here: there is no second buffer to flush when a partition
moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from sink.delivery import Outcome, QueueClass, ReadOperation
from stream.engine.checkpoint import Checkpoint, PartitionCheckpoint
from stream.engine.lanes import Lane, PendingRequest
from stream.engine.limits import EngineConfig, ReleaseBudget
from stream.engine.partition_task import OnSettled, PartitionTask
from stream.engine.prepare import PreparedRecord
from stream.engine.scheduler import FairScheduler, Timers
from stream.record import Partition
from stream.state.store import StateStore

RELEASES_PER_TICK_MAX = 2_000
"""Limits the duration of one tick of the event loop."""
NO_LEDGER_ENDS: Mapping[Partition, int] = MappingProxyType({})


class TaskManager:
    """The tasks of all owned partitions."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        read_operation: ReadOperation,
        on_settled: OnSettled | None = None,
    ) -> None:
        """``on_settled`` is called with each event that settles, its outcome and the reason."""
        self._config = config
        self._read_operation = read_operation
        self._on_settled = on_settled
        self._partitions: dict[Partition, PartitionTask] = {}
        self._scheduler: FairScheduler[tuple[PartitionTask, Lane]] = FairScheduler()
        self._timers: Timers[tuple[PartitionTask, PendingRequest]] = Timers()
        self._held: dict[Partition, dict[str, Lane]] = {}
        self._sequence = 0
        self._arrivals = 0

    @property
    def partitions(self) -> dict[Partition, PartitionTask]:
        """The open partitions."""
        return self._partitions

    @property
    def unsettled(self) -> int:
        """Number of consumed events that no committed transaction has settled."""
        return sum(partition.unsettled for partition in self._partitions.values())

    @property
    def unsettled_bytes(self) -> int:
        """Size of their records in bytes."""
        return sum(partition.unsettled_bytes for partition in self._partitions.values())

    @property
    def under_way(self) -> int:
        """Number of released operations without an outcome."""
        return sum(partition.under_way for partition in self._partitions.values())

    @property
    def pending_releases(self) -> list[PendingRequest]:
        """Released requests whose intents no committed transaction contains."""
        return [
            request for task in self._partitions.values() for request in task.uncommitted.releases
        ]

    @property
    def in_doubt(self) -> int:
        """Number of operations that may have been executed."""
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
        """Open a partition whose ledger has been restored.

        ``assignment_epoch`` numbers its assignment: results of an earlier assignment are ignored.
        """
        task = PartitionTask(
            partition,
            state,
            next_offset,
            self._config,
            assignment_epoch=assignment_epoch,
            read_operation=self._read_operation,
            on_settled=self._on_settled,
        )
        self._partitions[partition] = task
        for when, request in task.restore(now):
            self._timers.add(when, (task, request))

    def close(self, partition: Partition) -> int:
        """Close a revoked partition; return the number of events left to its next owner."""
        task = self._partitions.pop(partition, None)
        self._held.pop(partition, None)
        return 0 if task is None else task.close()

    def stop_releasing(self, partitions: Iterable[Partition]) -> None:
        """Release no further requests of these partitions; requests in flight may finish."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition].releasing = False

    def hold(self, partition: Partition) -> None:
        """Release nothing new of a partition. Requests in flight finish, and so do those in doubt:
        that they may have been executed cannot be held.
        """
        self._held.setdefault(partition, {})

    def end_hold(self, partition: Partition) -> None:
        """Release again, beginning with what was held."""
        lanes = self._held.pop(partition, {})
        self._queue(self._partitions[partition], lanes.values())

    def admit(self, prepared: Sequence[PreparedRecord], now_ms: int) -> list[PreparedRecord]:
        """Take over events in offset order; return those that were new.

        After a pause, records that were in transit when it began may be read a second time.
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
        """Record that everything before ``offset`` was read, including control records."""
        task = self._partitions.get(partition)
        if task is not None:
            self._queue(task, task.on_partition_end(offset))

    def run_timers(self, now: float) -> float | None:
        """Fire the timers that are due; return when the next one is due, or None."""
        for task, request in self._timers.pop(now):
            if not task.closed:
                self._queue(task, task.on_timer(request))
        return self._timers.next()

    def checkpoint(self, now_ms: int, budget: ReleaseBudget) -> Checkpoint:
        """Release requests within the budget; return the contents of the next transaction."""
        self._release(budget, now_ms)
        self._sequence += 1
        return Checkpoint(
            sequence=self._sequence,
            partitions={
                partition: task.checkpoint() for partition, task in self._partitions.items()
            },
        )

    def has_changes(self, budget: ReleaseBudget) -> bool:
        """Return whether a checkpoint would differ from the last one."""
        limited = budget.limited > 0 and budget.requests >= 1
        if self._scheduler.next(limited=limited, unlimited=budget.unlimited > 0) is not None:
            return True
        return any(task.has_changes() for task in self._partitions.values())

    def on_committed(
        self,
        checkpoint: Checkpoint,
        started_at: float,
        ledger_ends: Mapping[Partition, int] = NO_LEDGER_ENDS,
    ) -> list[PendingRequest]:
        """Apply a committed checkpoint; return the requests that may be sent now.

        ``started_at`` is when its transaction began: the lease counts from then. ``ledger_ends``
        holds lower bounds of the ledgers' end offsets at that time.
        """
        sendable: list[PendingRequest] = []
        for partition, part in self.still_owned(checkpoint).items():
            task = self._partitions[partition]
            sendable += task.on_committed(part, started_at, ledger_ends.get(partition))
        return sendable

    def still_owned(self, checkpoint: Checkpoint) -> dict[Partition, PartitionCheckpoint]:
        """Return the parts of a checkpoint that are still open under the same assignment."""
        return {
            partition: part
            for partition, part in checkpoint.partitions.items()
            if partition in self._partitions
            and self._partitions[partition].assignment_epoch == part.assignment_epoch
        }

    def may_send(self, request: PendingRequest, now: float) -> bool:
        """Return whether bytes may be sent now: the partition is owned and the lease has not
        expired.
        """
        task = self._partitions.get(request.lane.partition)
        return (
            task is not None
            and task.has_in_flight(request)
            and now < task.fenced_at + self._config.lease_s
        )

    def settle(self, request: PendingRequest, outcome: Outcome, now: float, now_ms: int) -> None:
        """Apply the outcome of a delivery. Outcomes of closed partitions are ignored."""
        task = self._partitions.get(request.lane.partition)
        if task is None or not task.has_in_flight(request):
            return
        follow_up = task.settle(request, outcome, now, now_ms)
        self._queue(task, follow_up.ready)
        for when, waiting in follow_up.timers:
            self._timers.add(when, (task, waiting))

    def _queue(self, task: PartitionTask, lanes: Iterable[Lane]) -> None:
        """Queue lanes for release; requeue a lane whose next request or class has changed."""
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
        """Release the first request of each ready lane in scheduler order, within the budget."""
        limited, unlimited, requests = budget.limited, budget.unlimited, budget.requests
        for _ in range(RELEASES_PER_TICK_MAX):
            queue_class = self._scheduler.next(
                limited=limited > 0 and requests >= 1, unlimited=unlimited > 0
            )
            if queue_class is None:
                return
            task, lane = self._scheduler.pop(queue_class)
            if task.closed:
                continue
            held = self._held.get(task.partition)
            if held is not None and lane.current is None:
                held[lane.key] = lane
                continue
            request, lanes = task.release(lane, queue_class, now_ms)
            if request is not None:
                self._scheduler.consume(queue_class, request.api_requests)
                requests -= request.api_requests
                if queue_class in (QueueClass.UNLIMITED, QueueClass.LOOKUP_THEN_UNLIMITED):
                    unlimited -= 1
                else:
                    limited -= 1
            self._queue(task, lanes)


class HaltReason(StrEnum):
    """Why a partition is halted."""

    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    LEDGER_MISSING = "ledger_missing"
    LEDGER_BEHIND = "ledger_behind"
    LEDGER_UNREADABLE = "ledger_unreadable"
    DEAD_LETTERS = "dead_letters"
    REGISTRY_AWAY = "registry_away"
    UNKNOWN_SCHEMA = "unknown_schema"
    OFFSET_GAP = "overstretched"
    PAUSED = "paused"
