"""Flow control: limits what is read by memory, and pauses single partitions."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream.engine.partition_task import PartitionTask
from stream.engine.task_manager import HaltReason, TaskManager
from stream.kafka.protocol import InputPause, Pause, StartReading
from stream.record import Partition
from stream.schema_registry.cache import SchemaWait
from stream.telemetry.observer import Observer

AWAITING_REPLAY_RECORDS = 100
"""Records that are read in any case while an intent lacks an event: its lane fills memory until it
opens."""
UNTIL_RELEASED = float("inf")

MissingSchema = Callable[[bytes | None], int | None]
"""Returns the id of the schema that a value waits for, or None."""
WatchPauses = Callable[[Mapping[Partition, int]], None]
"""Receives the assigned partitions, each with its assignment epoch; ``on_pauses`` is to follow."""


class Reader(Protocol):
    """Reads the input; ``fetch_budget`` is how many more records it may hand over."""

    fetch_budget: int

    def command(self, command: Pause | StartReading) -> None:
        """Pause a partition, or read it from an offset."""


class FlowController:
    """Pauses partitions, each for the reasons that hold, and resumes it when the last one ends.

    A partition is paused if its offset gap is too wide, if most of its events become dead letters,
    if its first message waits for a schema, or if the operator pauses it. Messages that wait for a
    schema are buffered here in order. The operator's pause also holds what was read: a rate limit
    may leave thousands of events waiting.
    """

    def __init__(
        self,
        task_manager: TaskManager,
        observer: Observer,
        *,
        in_flight_records_max: int,
        in_flight_bytes_max: int,
        dead_letter_pause_s: float,
        missing_schema: MissingSchema | None,
        clock: Callable[[], float],
    ) -> None:
        self._task_manager = task_manager
        self._observer = observer
        self._unsettled_records_max = in_flight_records_max
        self._unsettled_bytes_max = in_flight_bytes_max
        self._dead_letter_pause_s = dead_letter_pause_s
        self._clock = clock
        self._schema_waits = SchemaWaitQueue(missing_schema)
        self._paused: dict[Partition, dict[HaltReason, float]] = {}
        self._input_pauses: dict[Partition, InputPause | None] = {}
        self.reader: Reader | None = None
        self.watch_pauses: WatchPauses | None = None
        """None: the operator pauses no partition."""

    def buffers(self, partition: Partition, message: Any) -> bool:
        """Buffer a message that waits for a schema or follows one that does; return whether it
        does.
        """
        if not self._schema_waits.add(partition, message):
            return False
        if HaltReason.UNKNOWN_SCHEMA not in self._paused.get(partition, ()):
            self._pause(partition, HaltReason.UNKNOWN_SCHEMA, UNTIL_RELEASED)
        return True

    def release(self, admit: Callable[[list[Any]], None]) -> None:
        """Admit buffered messages of partitions that need not wait any more, and resume them."""
        for partition in self._schema_waits.waiting:
            held = self._schema_waits.release(partition)
            if held:
                self._observer.released(partition)
                del self._paused[partition][HaltReason.UNKNOWN_SCHEMA]
                admit(held)
                self._resume_if_free(partition)

    def explain(self, waiting: SchemaWait) -> None:
        """Report why partitions wait for a schema."""
        for partition, schema_id in self._schema_waits.waiting.items():
            if not waiting.is_unknown:
                reason = HaltReason.REGISTRY_AWAY
            elif schema_id == waiting.schema_id:
                reason = HaltReason.UNKNOWN_SCHEMA
            else:
                continue
            self._observer.on_schema_wait(partition, reason, waiting.detail)

    def watch(self, assignments: Mapping[Partition, int]) -> None:
        """Ask whether the operator pauses one of the assigned partitions."""
        if self.watch_pauses is not None:
            self.watch_pauses(dict(assignments))

    def open(self, partition: Partition) -> None:
        """Read an opened partition, once it is known that the operator does not pause it."""
        self._paused[partition] = {HaltReason.PAUSED: UNTIL_RELEASED}
        self._check_input_pause(partition, self._task_manager.partitions[partition])

    def on_pauses(self, pauses: Mapping[Partition, InputPause | None]) -> None:
        """Pause and resume assigned partitions as the operator does."""
        self._input_pauses.update(pauses)
        for partition, pause in pauses.items():
            self._observer.on_input_pause(partition, pause)
            task = self._task_manager.partitions.get(partition)
            if task is not None:
                self._check_input_pause(partition, task)

    def forget(self, partition: Partition) -> None:
        """Drop the state of a revoked partition."""
        self._schema_waits.drop(partition)
        self._paused.pop(partition, None)
        self._input_pauses.pop(partition, None)

    def update(self, *, leaving: bool) -> None:
        """Update the fetch budget; pause partitions over a limit and resume those below it."""
        if self.reader is None:
            return
        budget = self._free_records()
        if any(task.awaiting_replay for task in self._task_manager.partitions.values()):
            budget = max(budget, AWAITING_REPLAY_RECORDS)
        self.reader.fetch_budget = 0 if leaving else budget
        now = self._clock()
        for partition, task in self._task_manager.partitions.items():
            self._check_dead_letters(partition, task, now)
            self._check_offset_gap(partition, task)
            if self._is_held(partition):
                self._check_input_pause(partition, task)

    def _check_dead_letters(self, partition: Partition, task: PartitionTask, now: float) -> None:
        until = self._paused.get(partition, {}).get(HaltReason.DEAD_LETTERS)
        if until is None and task.dead_letter_limit.exceeded:
            self._observer.on_dead_letter_limit(partition, self._dead_letter_pause_s)
            self._pause(partition, HaltReason.DEAD_LETTERS, now + self._dead_letter_pause_s)
        elif until is not None and now >= until:
            task.dead_letter_limit.reset()
            self._end_pause(partition, HaltReason.DEAD_LETTERS)

    def _check_offset_gap(self, partition: Partition, task: PartitionTask) -> None:
        is_paused = HaltReason.OFFSET_GAP in self._paused.get(partition, ())
        if task.offset_gap_exceeded and not is_paused:
            self._observer.on_offset_gap(partition, task.offsets.commit_offset)
            self._pause(partition, HaltReason.OFFSET_GAP, UNTIL_RELEASED)
        elif is_paused and not task.offset_gap_exceeded:
            self._end_pause(partition, HaltReason.OFFSET_GAP)

    def _check_input_pause(self, partition: Partition, task: PartitionTask) -> None:
        """Hold a partition that the operator pauses, or of which that is not known yet.

        It is read on only while an intent lacks one of its events: the request is in doubt.
        """
        is_held = self._is_held(partition)
        if is_held:
            self._task_manager.hold(partition)
        else:
            self._task_manager.end_hold(partition)
        is_paused = HaltReason.PAUSED in self._paused.get(partition, ())
        if is_held and not task.awaiting_replay and not is_paused:
            self._pause(partition, HaltReason.PAUSED, UNTIL_RELEASED)
        elif is_paused and (task.awaiting_replay or not is_held):
            self._end_pause(partition, HaltReason.PAUSED)

    def _is_held(self, partition: Partition) -> bool:
        unknown = self.watch_pauses is not None and partition not in self._input_pauses
        return unknown or self._input_pauses.get(partition) is not None

    def _free_records(self) -> int:
        """Return how many more records fit into memory, assuming the current average size.

        What the operator's pause holds does not count: it would starve the other partitions.
        """
        flowing = [
            task
            for partition, task in self._task_manager.partitions.items()
            if HaltReason.PAUSED not in self._paused.get(partition, ())
        ]
        records = sum(task.unsettled for task in flowing)
        size = sum(task.unsettled_bytes for task in flowing)
        budget = self._unsettled_records_max - records - len(self._schema_waits)
        if size == 0:
            return budget
        return min(budget, (self._unsettled_bytes_max - size) * records // size)

    def _pause(self, partition: Partition, reason: HaltReason, until: float) -> None:
        self._paused.setdefault(partition, {})[reason] = until
        if self.reader is not None:
            self.reader.command(Pause(partition))

    def _end_pause(self, partition: Partition, reason: HaltReason) -> None:
        del self._paused[partition][reason]
        self._resume_if_free(partition)

    def _resume_if_free(self, partition: Partition) -> None:
        """Resume a partition that no reason pauses any more."""
        if self._paused[partition]:
            return
        del self._paused[partition]
        self._observer.released(partition)
        task = self._task_manager.partitions[partition]
        if self.reader is not None:
            self.reader.command(
                StartReading(partition, task.offsets.next_offset, task.assignment_epoch)
            )


# Messages that wait for a schema, by partition; later messages of the partition wait too. Partition
# ends are queued as well: one that overtook them would let the commit offset pass the waiting
# messages.


class SchemaWaitQueue:
    """Messages, as the client returned them, that cannot be prepared yet."""

    def __init__(self, missing: MissingSchema | None) -> None:
        self._missing = missing
        self._held: dict[Partition, list[Any]] = {}
        self._first: dict[Partition, int] = {}

    def __len__(self) -> int:
        """Return the number of waiting messages."""
        return sum(map(len, self._held.values()))

    def __contains__(self, partition: Partition) -> bool:
        """Return whether a partition waits."""
        return partition in self._held

    @property
    def waiting(self) -> dict[Partition, int]:
        """The waiting partitions, each with the id of the first schema it needs."""
        return dict(self._first)

    def add(self, partition: Partition, message: Any) -> bool:
        """Queue a message if it has to wait or follows one that does; return whether it was queued.

        Every schema id is requested as soon as it is seen: a hundred take no longer than one.
        """
        if self._missing is None:
            return False
        schema_id = None if message.error() is not None else self._missing(message.value())
        held = self._held.get(partition)
        if held is not None:
            held.append(message)
        elif schema_id is not None:
            self._held[partition] = [message]
            self._first[partition] = schema_id
        else:
            return False
        return True

    def release(self, partition: Partition) -> list[Any]:
        """Remove and return a partition's messages in order; empty if the first still waits."""
        held = self._held.get(partition, [])
        if self._missing is None or not held or self._missing(held[0].value()) is not None:
            return []
        return self.drop(partition)

    def drop(self, partition: Partition) -> list[Any]:
        """Remove a partition and return its messages."""
        self._first.pop(partition, None)
        return self._held.pop(partition, [])
