"""The loop: take, decide, commit, send.

It lives on the event loop and never waits for Kafka: the member's thread tells what
happened, the loop answers with commands. One checkpoint is under way at a time; what
happens meanwhile is in the next one.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from sink.wootric.sink import WootricSink
from stream.engine.checkpoint import Checkpoint
from stream.engine.prepare import PreparedRecord
from stream.engine.scheduler import ReleaseBudget
from stream.engine.schema_wait import MissingSchema
from stream.engine.task_manager import HaltReason, TaskManager
from stream.errors import DecodeError
from stream.kafka.consumer_thread import ConsumerThread
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
    Records,
    Restored,
    Restoring,
    RetentionKnown,
    RevocationStarted,
    StartReading,
)
from stream.kafka.reader import partition_of, read_record
from stream.record import Partition, Record
from stream.runtime.dispatcher import Dispatcher
from stream.runtime.flow_control import FlowController
from stream.schema_registry.cache import SchemaWait
from stream.telemetry.observer import Observer

log = structlog.get_logger()

CYCLE_MIN_S = 0.01
"""Under load a transaction carries what came together in this time: each costs the broker
some milliseconds, however little is in it."""
FEW_IN_FLIGHT = 16
"""With so little under way nothing is gained by waiting for more."""
CYCLES_AHEAD = 2
"""How far a release looks ahead: its transaction and the turn that notices that there is room."""
ABORT_BACKOFF_S = 0.05
ABORT_BACKOFF_S_MAX = 1.0
"""The wait doubles: a write that is refused may be refused until somebody acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorConfig:
    """The loop's own bounds; times in seconds."""

    commit_interval_s: float
    in_flight_max: int
    in_flight_records_max: int
    in_flight_bytes_max: int
    dead_letter_pause_s: float
    revoke_timeout_s: float
    drain_wait_s: float


@dataclass(slots=True)
class Drain:
    """Partitions that are being given up: finish, commit, then say ``answer``."""

    partitions: tuple[Partition, ...]
    deadline: float
    command: FinishRevocation | Leave


class Processor:
    """Drives the flow between the group member and the sink."""

    def __init__(
        self,
        *,
        task_manager: TaskManager,
        sink: WootricSink,
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
            in_flight_max=config.in_flight_max,
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
        """Take a notice over from the member's thread."""
        self._loop.call_soon_threadsafe(self._run_guarded, self._dispatch, event)

    def schemas_changed(self) -> None:
        """Go on with the partitions whose first message waits no longer."""
        self._run_guarded(self._flow_control.release, self._admit)
        self._request_tick()

    def schema_waits(self, waiting: SchemaWait) -> None:
        """Say of the partitions that wait for a schema why they stand still."""
        self._flow_control.explain(waiting)

    async def run(self, consumer_thread: ConsumerThread) -> None:
        """Process until told to stop.

        Raises:
            StreamError: the member is beyond repair.
        """
        self._consumer_thread = self._flow_control.reader = consumer_thread
        consumer_thread.start()
        try:
            await self._closed
        finally:
            await self._dispatcher.stop()
            for partition in tuple(self._task_manager.partitions):
                self._task_manager.close(partition)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Finish what is under way, commit it, and leave the group."""
        if self._drain is not None and isinstance(self._drain.command, Leave):
            return
        log.info("draining", under_way=self._task_manager.under_way)
        partitions = tuple(self._task_manager.partitions)
        self._begin_drain(partitions, self._config.drain_wait_s, Leave())

    # What the member tells

    def _dispatch(self, event: ConsumerEvent) -> None:  # noqa: C901, PLR0912  one case a notice
        match event:
            case Records(messages):
                self._accept(messages)
            case Committed(checkpoint=checkpoint):
                self._committed(event, checkpoint)
            case Aborted(reason=reason):
                self._committing = None
                self._next_commit_at = self._clock() + min(
                    ABORT_BACKOFF_S * 2 ** min(self._aborts, 10), ABORT_BACKOFF_S_MAX
                )
                self._aborts += 1
                self._observer.aborted(reason)
            case Joined():
                self._observer.joined()
            case Assigned(partitions, assignment_epoch):
                self._assignments.update(dict.fromkeys(partitions, assignment_epoch))
                self._observer.rebalanced("assigned", len(self._assignments))
                self._update_rate_share()
            case PartitionCountKnown(partitions=count):
                self._input_partitions = count
                self._update_rate_share()
            case Restoring(partition, entries, remaining):
                if partition in self._assignments:
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
            case EndOffsetKnown(partition, offset):
                self._observer.on_end_offset(partition, offset)
            case RetentionKnown(retention_ms):
                self._observer.on_retention(retention_ms)
            case Failed(error):
                self._failure = error
                self._send(Leave())  # who tells of it may not be who has to end
            case Closed():
                if not self._closed.done():
                    self._closed.set_result(None)
            case _:
                assert_never(event)
        self._request_tick()

    def _accept(self, messages: list[Any]) -> None:
        if self._consumer_thread is not None:
            self._consumer_thread.has_work = (
                True  # before they count as taken, or it sleeps on them
            )
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
        self._send(StartReading(partition, restored.next_offset, restored.assignment_epoch))

    def _admit(self, messages: list[Any]) -> None:
        """Judge and admit a chunk; an end of partition is where the reading has got to.

        What needs a schema that is not known yet is held, and all of its partition behind it.
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
        self._update_rate_share()

    def _update_rate_share(self) -> None:
        """Take the part of the account's rate that our partitions are of the input's."""
        if self._input_partitions:
            owned = min(len(self._assignments), self._input_partitions)
            self._sink.share(owned, self._input_partitions)

    # The turn

    def _request_tick(self) -> None:
        """Let a turn follow soon; many reasons make one turn."""
        if self._committing is None:
            self._schedule_tick(self._clock())

    def _schedule_tick(self, when: float) -> None:
        """Let the next turn be at ``when`` at the latest."""
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            wait_s = max(0.0, when - self._clock())
            self._timer = self._loop.call_later(wait_s, self._run_guarded, self._tick)

    def _tick(self) -> None:
        """Commit if there is something to say, or a fence is due; else wait for it."""
        self._timer = None
        self._timer_at = float("inf")
        if self._closed.done() or self._failure is not None:
            return
        now = self._clock()
        self._observer.on_tick(now)
        due = self._task_manager.run_timers(now)
        drain = self._drain
        # A commit that Kafka does not answer must not keep a worker from leaving.
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

    # Giving partitions up

    @property
    def _leaving(self) -> bool:
        return self._drain is not None and isinstance(self._drain.command, Leave)

    def _begin_drain(
        self, partitions: tuple[Partition, ...], wait_s: float, command: FinishRevocation | Leave
    ) -> None:
        if self._leaving:
            # The answer is to leave: once these went, no commit would be taken for the others.
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

    # Small steps

    def _run_guarded(self, step: Callable[..., None], *args: Any) -> None:
        """Take a step. A defect in it ends the worker: to go on would be to commit past what it
        left half done, records among it that nobody took over.
        """
        try:
            step(*args)
        except Exception as error:  # noqa: BLE001  the loop would log it and go on
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._send(Leave())

    def _send(self, command: Commit | StartReading | FinishRevocation | Leave) -> None:
        if self._consumer_thread is not None:
            self._consumer_thread.command(command)

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)
