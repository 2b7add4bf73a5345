"""The worker's event loop: accept records, decide, commit, send.

It never waits for Kafka: it receives events from the consumer thread and sends commands to it. One
checkpoint is in progress at a time; what happens meanwhile goes into the next one.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from sink.delivery import Sink
from sink.rate_limit import backoff_s
from stream.engine.checkpoint import Checkpoint
from stream.engine.limits import ReleaseBudget
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import HaltReason, TaskManager
from stream.errors import DecodeError
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.input_pause import PauseWatcher
from stream.kafka.protocol import (
    Aborted,
    Assigned,
    Closed,
    Commit,
    Committed,
    ConsumerEvent,
    EndOffsetKnown,
    Failed,
    FinishRevocation,
    Joined,
    Leave,
    LedgerStartKnown,
    PartitionCountKnown,
    PartitionHalted,
    PartitionsLost,
    PausesKnown,
    Records,
    Restored,
    Restoring,
    RetentionKnown,
    RevocationStarted,
)
from stream.kafka.reader import partition_of, read_record
from stream.record import Partition, Record
from stream.runtime.dispatcher import Dispatcher
from stream.runtime.flow_control import FlowController, MissingSchema
from stream.schema_registry.cache import SchemaWait
from stream.telemetry.observer import Observer

log = structlog.get_logger()

CYCLE_MIN_S = 0.01
"""Under load, the minimum time between transactions: each costs the broker some milliseconds
regardless of its size."""
FEW_IN_FLIGHT = 16
"""With at most this many in flight, waiting for more gains nothing."""
CYCLES_AHEAD = 2
"""Commit intervals that a release looks ahead: its transaction, and the tick that notices free
capacity."""
ABORT_BACKOFF_S = 0.05
ABORT_BACKOFF_S_MAX = 1.0
"""The backoff doubles: a rejected write may be rejected until somebody acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorConfig:
    """Limits of the event loop; times in seconds."""

    commit_interval_s: float
    in_flight_records_max: int
    in_flight_bytes_max: int
    dead_letter_pause_s: float
    revoke_timeout_s: float
    drain_wait_s: float


@dataclass(slots=True)
class Drain:
    """Partitions that are being given up: finish, commit, then send ``command``."""

    partitions: tuple[Partition, ...]
    deadline: float
    command: FinishRevocation | Leave


class Processor:
    """Drives the engine between the consumer thread and the sink."""

    def __init__(
        self,
        *,
        task_manager: TaskManager,
        sink: Sink,
        prepare: Callable[[Record], PreparedRecord],
        config: ProcessorConfig,
        observer: Observer,
        missing_schema: MissingSchema | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._task_manager = task_manager
        self._sink = sink
        self._prepare = prepare
        self._config = config
        self._observer = observer
        self._clock = clock
        self._wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._dispatcher = Dispatcher(
            task_manager,
            sink,
            observer,
            look_ahead_s=config.commit_interval_s * CYCLES_AHEAD,
            clock=clock,
            now_ms=self._now_ms,
            on_settled=self._request_tick,
            on_failure=self._fail,
        )
        self._assignments: dict[Partition, int] = {}
        self._input_partitions = 0
        self._flow_control = FlowController(
            task_manager,
            observer,
            in_flight_records_max=config.in_flight_records_max,
            in_flight_bytes_max=config.in_flight_bytes_max,
            dead_letter_pause_s=config.dead_letter_pause_s,
            missing_schema=missing_schema,
            clock=clock,
        )
        self._committing: Checkpoint | None = None
        self._next_commit_at = 0.0
        self._aborts = 0
        self._fenced_at = 0.0
        self._drain: Drain | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._failure: BaseException | None = None
        self._consumer_thread: ConsumerThread | None = None

    def on_event(self, event: ConsumerEvent) -> None:
        """Receive an event from the consumer thread. Thread-safe."""
        self._loop.call_soon_threadsafe(self._run_guarded, self._dispatch, event)

    def schemas_changed(self) -> None:
        """Resume partitions whose first message no longer waits for a schema."""
        self._run_guarded(self._flow_control.release, self._admit)
        self._request_tick()

    def schema_waits(self, waiting: SchemaWait) -> None:
        """Report why partitions wait for a schema."""
        self._flow_control.explain(waiting)

    async def run(
        self, consumer_thread: ConsumerThread, pause_watcher: PauseWatcher | None = None
    ) -> None:
        """Process until ``stop()``. Without a ``pause_watcher``, the operator pauses nothing.

        Raises:
            StreamError: the consumer thread cannot recover.
        """
        self._consumer_thread = self._flow_control.reader = consumer_thread
        consumer_thread.start()
        if pause_watcher is not None:
            self._flow_control.watch_pauses = pause_watcher.watch
            pause_watcher.start()
        try:
            await self._closed
        finally:
            if pause_watcher is not None:
                pause_watcher.close()
            await self._dispatcher.stop()
            for partition in tuple(self._task_manager.partitions):
                self._task_manager.close(partition)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Finish requests in flight, commit, and leave the group."""
        if self._drain is not None and isinstance(self._drain.command, Leave):
            return
        log.info("draining", under_way=self._task_manager.under_way)
        partitions = tuple(self._task_manager.partitions)
        self._begin_drain(partitions, self._config.drain_wait_s, Leave())

    # Events of the consumer thread

    def _dispatch(self, event: ConsumerEvent) -> None:  # noqa: C901, PLR0912  one case per event
        match event:
            case Records(messages):
                self._accept(messages)
            case Committed(checkpoint=checkpoint):
                self._committed(event, checkpoint)
            case Aborted(reason=reason):
                self._committing = None
                self._aborts += 1
                self._next_commit_at = self._clock() + backoff_s(
                    self._aborts, initial_s=ABORT_BACKOFF_S, max_s=ABORT_BACKOFF_S_MAX
                )
                self._observer.aborted(reason)
            case Joined():
                self._observer.joined()
            case Assigned(partitions, assignment_epoch):
                self._assigned(partitions, assignment_epoch)
            case PartitionCountKnown(partitions=count):
                self._input_partitions = count
                self._update_rate_share()
                self._observer.on_kafka_answer()
            case Restoring(partition, entries, remaining):
                if (
                    partition in self._assignments
                    and partition not in self._task_manager.partitions
                ):
                    self._observer.restoring(partition, entries, remaining)
            case Restored():
                self._open(event)
            case LedgerStartKnown(partition, offset):
                if partition in self._task_manager.partitions:
                    self._task_manager.partitions[partition].uncommitted.state.trim(offset)
            case RevocationStarted(partitions):
                self._observer.rebalanced("revoked", len(self._assignments) - len(partitions))
                self._begin_drain(
                    tuple(partitions), self._config.revoke_timeout_s, FinishRevocation()
                )
            case PartitionsLost(partitions):
                self._close(partitions)
                self._observer.rebalanced("lost", len(self._assignments))
            case PartitionHalted(partition, reason, detail):
                self._observer.halted(partition, reason, detail)
            case EndOffsetKnown(partition, offset, log_end):
                self._observer.on_end_offset(partition, offset, log_end)
            case RetentionKnown(retention_ms):
                self._observer.on_retention(retention_ms)
            case PausesKnown(asked, pauses):
                current = [one for one in asked if asked[one] == self._assignments.get(one)]
                self._flow_control.on_pauses({one: pauses.get(one) for one in current})
            case Failed(error):
                self._failure = error
                self._send(Leave())  # the failed thread may not be the consumer thread
            case Closed():
                if not self._closed.done():
                    self._closed.set_result(None)
            case _:
                assert_never(event)
        self._request_tick()

    def _assigned(self, partitions: Sequence[Partition], assignment_epoch: int) -> None:
        self._assignments.update(dict.fromkeys(partitions, assignment_epoch))
        self._flow_control.watch(self._assignments)
        self._observer.rebalanced("assigned", len(self._assignments))
        self._observer.opening(partitions)
        self._update_rate_share()

    def _accept(self, messages: list[Any]) -> None:
        if self._consumer_thread is not None:
            self._consumer_thread.has_work = True  # before `accepted`, or the thread would sleep
            self._consumer_thread.accepted += len(messages)
        self._admit(messages)

    def _open(self, restored: Restored) -> None:
        partition = restored.partition
        if self._assignments.get(partition) != restored.assignment_epoch or self._leaving:
            restored.state.close()
            return
        try:
            self._task_manager.open(
                partition,
                restored.state,
                restored.next_offset,
                self._clock(),
                assignment_epoch=restored.assignment_epoch,
            )
        except DecodeError as error:
            self._task_manager.close(partition)
            self._observer.halted(partition, HaltReason.LEDGER_UNREADABLE, error.detail)
            return
        self._observer.restored(restored, self._task_manager.partitions[partition])
        self._flow_control.open(partition)

    def _admit(self, messages: list[Any]) -> None:
        """Prepare and admit a chunk of messages.

        A message that needs an unknown schema is buffered, and so are all later ones of its
        partition.
        """
        with self._observer.busy("admit"):
            now_ms = self._now_ms()
            prepared: list[PreparedRecord] = []
            ends: dict[Partition, int] = {}
            for message in messages:
                partition = partition_of(message)
                if partition not in self._task_manager.partitions:
                    continue
                if self._flow_control.buffers(partition, message):
                    continue
                if message.error() is not None:
                    ends[partition] = message.offset()
                else:
                    prepared.append(self._prepare(read_record(message, partition)))
            admitted = self._task_manager.admit(prepared, now_ms)
            for partition, offset in ends.items():
                self._task_manager.on_partition_end(partition, offset)
            self._observer.consumed(admitted)
            self._flow_control.update(leaving=self._leaving)

    def _committed(self, event: Committed, checkpoint: Checkpoint) -> None:
        with self._observer.busy("settle"):
            self._committing = None
            self._aborts = 0
            requests = self._task_manager.on_committed(
                checkpoint, event.started_at, event.ledger_ends
            )
            checkpoints = self._task_manager.still_owned(checkpoint).values()
            self._observer.committed(checkpoint, checkpoints, event.took_s)
            for request in requests:
                self._dispatcher.send(request)
            self._flow_control.update(leaving=self._leaving)

    def _close(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._assignments.pop(partition, None)
            self._flow_control.forget(partition)
            self._observer.closed(partition, self._task_manager.close(partition))
        self._flow_control.watch(self._assignments)
        self._update_rate_share()

    def _update_rate_share(self) -> None:
        """Set this worker's share of the account's rate limit to its share of the partitions."""
        if self._input_partitions:
            owned = min(len(self._assignments), self._input_partitions)
            self._sink.share(owned, self._input_partitions)

    # Ticks

    def _request_tick(self) -> None:
        """Schedule a tick soon; several requests cause one tick."""
        if self._committing is None:
            self._schedule_tick(self._clock())

    def _schedule_tick(self, when: float) -> None:
        """Schedule the next tick no later than ``when``."""
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            wait_s = max(0.0, when - self._clock())
            self._timer = self._loop.call_later(wait_s, self._run_guarded, self._tick)

    def _tick(self) -> None:
        """Commit if there are changes or a fence is due; otherwise schedule the next tick."""
        self._timer = None
        self._timer_at = float("inf")
        if self._closed.done() or self._failure is not None:
            return
        now = self._clock()
        self._observer.on_tick(now)
        due = self._task_manager.run_timers(now)
        drain = self._drain
        # A commit without a response must not keep a worker from leaving.
        may_end = drain is not None and (self._committing is None or now >= drain.deadline)
        if drain is not None and may_end and self._drained(now):
            self._end_drain(drain)
        if self._consumer_thread is not None:
            self._consumer_thread.has_work = self._task_manager.unsettled > 0
        self._schedule_tick(
            min(now + self._config.commit_interval_s, due if due is not None else float("inf"))
        )
        if self._committing is not None or not self._task_manager.partitions:
            return
        budget = ReleaseBudget(0, 0) if self._leaving else self._dispatcher.capacity()
        fence_due = (
            self._task_manager.under_way
            and now >= self._fenced_at + self._config.commit_interval_s / 2
        )
        if not fence_due and not self._task_manager.has_changes(budget):
            return
        if now < self._next_commit_at:
            self._schedule_tick(self._next_commit_at)
            return
        with self._observer.busy("checkpoint"):
            self._committing = self._task_manager.checkpoint(self._now_ms(), budget)
        self._fenced_at = now
        small = self._task_manager.under_way <= FEW_IN_FLIGHT
        self._next_commit_at = now if small else now + CYCLE_MIN_S
        self._send(Commit(self._committing))

    # Drain

    @property
    def _leaving(self) -> bool:
        return self._drain is not None and isinstance(self._drain.command, Leave)

    def _begin_drain(
        self, partitions: tuple[Partition, ...], wait_s: float, command: FinishRevocation | Leave
    ) -> None:
        if self._leaving:
            # The worker is leaving: once these are revoked, commits for the others are rejected.
            assert self._drain is not None  # noqa: S101
            self._drain.deadline = min(self._drain.deadline, self._clock() + wait_s)
            self._request_tick()
            return
        self._task_manager.stop_releasing(partitions)
        self._drain = Drain(partitions, self._clock() + wait_s, command)
        self._flow_control.update(leaving=self._leaving)
        self._request_tick()

    def _drained(self, now: float) -> bool:
        assert self._drain is not None  # noqa: S101
        if now >= self._drain.deadline:
            return True
        tasks = [
            self._task_manager.partitions.get(partition) for partition in self._drain.partitions
        ]
        return not any(task and (task.under_way or task.has_changes()) for task in tasks)

    def _end_drain(self, drain: Drain) -> None:
        self._close(drain.partitions)
        self._send(drain.command)
        if isinstance(drain.command, FinishRevocation):
            self._drain = None

    # Helpers

    def _run_guarded(self, step: Callable[..., None], *args: Any) -> None:
        """Run ``step``; stop the worker on any exception.

        Continuing could commit offsets of records that the failed step did not finish.
        """
        try:
            step(*args)
        except Exception as error:  # noqa: BLE001  the loop would only log it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._send(Leave())

    def _send(self, command: Commit | FinishRevocation | Leave) -> None:
        if self._consumer_thread is not None:
            self._consumer_thread.command(command)

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)
