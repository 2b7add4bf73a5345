"""Consumer thread: owns the consumer and the transactional producer.

Every call on the two clients is made on this thread, because group metadata, ownership and the
transaction have to be consistent. The thread only passes records on, so that the event loop never
waits for Kafka.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, assert_never

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.engine.checkpoint import Checkpoint
from stream.engine.task_manager import HaltReason
from stream.errors import CommitAbortedError, FencedError, KafkaUnavailableError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig, log_client_error
from stream.kafka.group_member import FatalGroupError, FetchControl, Membership, partitions_of
from stream.kafka.metadata import Group
from stream.kafka.metadata_poller import MetadataPoller
from stream.kafka.protocol import (
    DELETED_UNREAD,
    Aborted,
    Assigned,
    Closed,
    Commit,
    Committed,
    ConsumerCommand,
    ConsumerEvent,
    Failed,
    FinishRevocation,
    Joined,
    Leave,
    PartitionHalted,
    PartitionsLost,
    Pause,
    Records,
    RevocationStarted,
    StartReading,
)
from stream.kafka.restore import ChangelogRestorer
from stream.kafka.transactions import (
    CommitOutcomeUnknownError,
    LedgerEndOffsets,
    StaleGenerationError,
    Transactions,
)
from stream.kafka.unassigned import UnassignedWatcher
from stream.record import Partition
from stream.state.store import StateStoreProvider

log = structlog.get_logger()

CHUNK_RECORDS_MAX = 250
IN_TRANSIT_MAX = 500
"""Maximum number of messages that wait for the event loop: more would delay its sending."""
POLL_IDLE_S = 0.05
COMMAND_WAIT_S = 0.005
BUFFER_FULL_WAIT_S = 0.005
REJOIN_S_MIN = 30.0
"""A worker that the group rejects twice within this time has a duplicate, and ends instead."""
BUFFER_FULL_S_MAX = 1.0
"""How long polling is skipped while the buffer is full, before all partitions are paused: a pause
discards prefetched records."""
RESOLVE_EVERY_S = 0.5
OUT_OF_RANGE = f"the next offset is no longer in the topic: {DELETED_UNREAD}"


class ConsumerThread(threading.Thread):
    """Reads the input, commits checkpoints and reports to the event loop.

    ``on_event`` is called on this thread and must not block. The event loop sets three attributes:
    ``fetch_budget`` is how many more records may be in flight, ``accepted`` the number of messages
    it has taken over so far, and ``has_work`` whether a commit is likely to follow soon.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        epoch: int,
        on_event: Callable[[ConsumerEvent], None],
        state_store_provider: StateStoreProvider | None = None,
    ) -> None:
        """Without a ``state_store_provider``, partitions are restored into memory."""
        super().__init__(name="kafka-member", daemon=True)
        self.fetch_budget = CHUNK_RECORDS_MAX
        self.accepted = 0
        self.has_work = False
        self.polled_at = time.monotonic()
        self._config = config
        self._emit = on_event
        self._commands: queue.SimpleQueue[ConsumerCommand] = queue.SimpleQueue()
        self._consumer = self._new_consumer()
        self._fetch_control = FetchControl(self._consumer)
        self._group = Group(config)
        watched = state_store_provider is not None
        self._metadata_poller = MetadataPoller(
            config, group=self._group, on_event=on_event, watch_ledger_start=watched
        )
        self._unassigned_watcher = UnassignedWatcher(
            config,
            group=self._group,
            topic=config.topic,
            on_failure=lambda error: on_event(Failed(error)),
        )
        self._ledger_ends = ledger_ends = LedgerEndOffsets()
        self._credentials = CredentialRefresher(config)
        self._restorer = ChangelogRestorer(
            config,
            group=self._group,
            ends=ledger_ends,
            on_event=on_event,
            state_store_provider=state_store_provider,
        )
        self._transactions = Transactions(config, epoch=epoch, ends=ledger_ends)
        self._group_metadata: Any = None
        self._membership = Membership()
        self._owned: dict[Partition, int] = {}
        self._assignments = 0
        self._rebalances = 0
        self._revoking = False
        self._leaving = False
        self._rejoined_at = -math.inf
        self._full_since: float | None = None
        self._handed_over = 0
        self._unresolved: tuple[Checkpoint, float] | None = None
        self._resolve_at = 0.0

    def command(self, command: ConsumerCommand) -> None:
        """Queue a command. Thread-safe."""
        self._commands.put(command)

    def start_transactions(self) -> None:
        """Fence a previous owner of the transactional id. Call it before the thread starts.

        Raises:
            StartupError: the coordinator did not accept the producer.
        """
        self._transactions.start()

    def run(self) -> None:
        """Take part in the group until ``Leave`` or a fatal error."""
        self._metadata_poller.start()
        self._unassigned_watcher.start()
        try:
            self._join()
            while not self._leaving:
                self._run_once()
        except KafkaException as error:
            self._emit(
                Failed(KafkaUnavailableError(f"Kafka failed permanently: {error.args[0].str()}"))
            )
        except Exception as error:  # noqa: BLE001  the thread's entry point: nothing may vanish
            self._emit(Failed(error))
        finally:
            self._close()

    def _run_once(self) -> None:
        try:
            polled = self._poll()
        except FatalGroupError as error:
            if not self._leaving:
                self._rejoin(str(error))
            return
        if self._membership.removed and not self._leaving:
            self._rejoin("the group removed this member and took it in again")
            return
        self._resolve()
        clients = (self._consumer, *self._group.clients, *self._transactions.clients)
        self._credentials.refresh(clients)
        command = self._next_command(COMMAND_WAIT_S if self._expects_commit and not polled else 0.0)
        while command is not None and not self._leaving:
            self._execute(command)
            command = self._next_command(0.0)

    @property
    def _expects_commit(self) -> bool:
        """Whether a commit may follow: of records in flight or of those just handed over."""
        return self.has_work or self._handed_over > self.accepted

    def _next_command(self, wait_s: float) -> ConsumerCommand | None:
        try:
            return self._commands.get(timeout=wait_s) if wait_s else self._commands.get_nowait()
        except queue.Empty:
            return None

    def _poll(self) -> bool:
        """Hand over the next chunk within the budget; return whether a message was received."""
        rebalances = self._rebalances
        in_transit = self._handed_over - self.accepted
        budget = min(self.fetch_budget - in_transit, CHUNK_RECORDS_MAX, IN_TRANSIT_MAX - in_transit)
        if budget <= 0 and not self._pause_fetching():
            return True
        if budget > 0:
            self._resume_fetching()
        # While a commit may follow at any moment, wait for commands instead of records.
        expects_commit = self._expects_commit and not self._fetch_control.all_paused
        first = self._consumer.poll(0.0 if expects_commit else POLL_IDLE_S)
        self.polled_at = time.monotonic()
        if first is not None:
            messages = [first]
            if budget > 1:
                messages += self._consumer.consume(budget - 1, 0)
            self._hand_over(messages)
        if self._group_metadata is None and self._owned and rebalances == self._rebalances:
            # Nothing was revoked or lost in this poll: the metadata matches the assignment.
            self._capture_group_metadata()
        return first is not None

    def _pause_fetching(self) -> bool:
        """Wait for buffer space. Return True if the consumer must be polled anyway.

        Polling keeps the group membership. All partitions are paused first, so the poll returns no
        records.
        """
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        if not self._fetch_control.all_paused and now - self._full_since < BUFFER_FULL_S_MAX:
            command = self._next_command(BUFFER_FULL_WAIT_S)
            if command is not None:
                self._execute(command)
            return False
        self._fetch_control.pause_all()
        return True

    def _resume_fetching(self) -> None:
        self._full_since = None
        self._fetch_control.release()

    def _hand_over(self, messages: list[Any]) -> None:
        accepted_messages = []
        for message in messages:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                if Partition(message.topic(), message.partition()) in self._fetch_control:
                    accepted_messages.append(message)
            else:
                self._on_client_error(error, message)
        if accepted_messages:
            self._handed_over += len(accepted_messages)
            self._emit(Records(accepted_messages))

    def _on_client_error(self, error: KafkaError, message: Any) -> None:
        """Handle an error that the consumer returns in place of a record."""
        if error.code() in settings.OFFSET_ERRORS:
            partition = Partition(message.topic(), message.partition())
            if partition in self._fetch_control:
                self._fetch_control.forget(partition)
                self._emit(PartitionHalted(partition, HaltReason.OFFSET_OUT_OF_RANGE, OUT_OF_RANGE))
        elif error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID) or error.fatal():
            raise FatalGroupError(error.str())
        elif not error.retriable() and error.code() != KafkaError._MAX_POLL_EXCEEDED:
            log_client_error(error)

    # Client

    def _new_consumer(self) -> Consumer:
        return Consumer({**settings.consumer(self._config), "error_cb": log_client_error})

    def _join(self) -> None:
        self._consumer.subscribe(
            [self._config.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _rejoin(self, reason: str) -> None:
        """Join with a new client; the owned partitions are lost until the group assigns them again.

        A coordinator that fails between accepting a static member and responding rejects it from
        then on, and the client cannot recover. The client reports no lost partitions when it is
        closed (confluent-kafka 2.16.1, measured).
        """
        now = time.monotonic()
        if now - self._rejoined_at < REJOIN_S_MIN:
            raise FencedError(
                f"the group keeps rejecting {self._config.instance_id}: its "
                "coordinator fails, or another worker has the same KAFKA__INSTANCE_ID; every "
                f"worker needs its own ({reason})"
            )
        self._rejoined_at = now
        log.warning("rejoining_group", error=reason)
        self._lose_partitions(list(self._owned))
        self._close_clients(self._consumer.close)
        self._consumer = self._new_consumer()
        self._fetch_control, self._membership = FetchControl(self._consumer), Membership()
        self._full_since = None
        self._join()

    def _close_clients(self, close: Callable[[], object]) -> None:
        try:
            close()
        except Exception as error:  # noqa: BLE001  a client in a bad state raises anything
            log.warning("close_failed", error=str(error))

    # Commands

    def _execute(self, command: ConsumerCommand) -> None:
        match command:
            case Commit(checkpoint):
                self._commit(checkpoint)
            case StartReading(partition, offset, assignment_epoch):
                if self._owned.get(partition) == assignment_epoch:
                    self._fetch_control.start(partition, offset)
            case Pause(partition):
                self._fetch_control.stop(partition)
            case FinishRevocation():
                self._revoking = False
            case Leave():
                self._leaving = True
                self._revoking = False
            case _:
                assert_never(command)

    def _commit(self, checkpoint: Checkpoint) -> None:
        """Commit a checkpoint if all its partitions are still assigned; report the result.

        A partition that was revoked and assigned again has a new assignment: decisions made in the
        earlier one may be behind what has been committed since.
        """
        started_at = time.monotonic()
        try:
            checkpoints = checkpoint.partitions.items()
            if any(
                self._owned.get(partition) != part.assignment_epoch
                for partition, part in checkpoints
            ):
                raise CommitAbortedError("a partition of the checkpoint is no longer assigned")
            if self._group_metadata is None:
                raise CommitAbortedError("the group is rebalancing")
            self._transactions.commit(checkpoint, self._group_metadata)
        except StaleGenerationError as error:
            self._group_metadata = None
            self._emit(Aborted(checkpoint=checkpoint, reason=str(error)))
            return
        except CommitAbortedError as error:
            self._emit(Aborted(checkpoint=checkpoint, reason=str(error)))
            return
        except CommitOutcomeUnknownError as error:
            log.warning("commit_unresolved", error=str(error), sequence=checkpoint.sequence)
            self._unresolved = (checkpoint, started_at)
            self._resolve_at = time.monotonic() + RESOLVE_EVERY_S
            return
        self._committed(checkpoint, started_at)

    def _resolve(self) -> None:
        """Ask for the outcome of an unknown commit until Kafka responds. The engine waits
        meanwhile.
        """
        if self._unresolved is None or time.monotonic() < self._resolve_at:
            return
        checkpoint, started_at = self._unresolved
        try:
            self._transactions.resolve(checkpoint)
        except CommitOutcomeUnknownError as error:
            log.warning("commit_unresolved", error=str(error), sequence=checkpoint.sequence)
            self._resolve_at = time.monotonic() + RESOLVE_EVERY_S
            return
        except CommitAbortedError as error:
            self._emit(Aborted(checkpoint=checkpoint, reason=str(error)))
        else:
            self._committed(checkpoint, started_at)
        self._unresolved = None

    def _committed(self, checkpoint: Checkpoint, started_at: float) -> None:
        took_s = time.monotonic() - started_at
        ledger_ends = {
            partition: self._ledger_ends.get(partition.number)
            for partition in checkpoint.partitions
        }
        self._emit(
            Committed(
                checkpoint=checkpoint, started_at=started_at, took_s=took_s, ledger_ends=ledger_ends
            )
        )

    # Rebalances: called by the client, in this thread, from within poll

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._capture_group_metadata()
        partitions = partitions_of(assigned)
        self._assignments += 1
        for partition in partitions:
            self._owned[partition] = self._assignments
        self._metadata_poller.own(self._owned)
        # The restorer determines where reading starts; this offset is never read from. A logical
        # offset could be resolved after the seek and override it.
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in assigned])
        if assigned:
            consumer.pause(assigned)
        self._metadata_poller.request_partition_count()
        self._unassigned_watcher.look()
        self._emit(Joined())
        if partitions:
            self._emit(Assigned(partitions, self._assignments))
            self._restorer.restore(partitions, self._assignments)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._capture_group_metadata()
        self._rebalances += 1
        partitions = partitions_of(revoked)
        if self._membership.removed:
            self._lose_partitions(partitions)
        else:
            self._drain(partitions)
            self._drop_partitions(partitions)
        consumer.incremental_unassign(revoked)

    def _drain(self, partitions: Sequence[Partition]) -> None:
        """Let the event loop finish and commit what it has of these partitions."""
        if not partitions or self._leaving:
            return
        self._revoking = True
        self._emit(RevocationStarted(partitions))
        while self._revoking:
            command = self._next_command(0.1)
            if command is not None:
                self._execute(command)
            self._resolve()

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._lose_partitions(partitions_of(lost))
        consumer.incremental_unassign(lost)

    def _lose_partitions(self, partitions: Sequence[Partition]) -> None:
        self._group_metadata = None
        self._rebalances += 1
        self._drop_partitions(partitions)
        if partitions:
            self._emit(PartitionsLost(partitions))

    def _drop_partitions(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._owned.pop(partition, None)
            self._fetch_control.forget(partition)
        self._metadata_poller.own(self._owned)
        self._restorer.forget(partitions)

    def _capture_group_metadata(self) -> None:
        """Store the group metadata. Only valid when it matches the known assignment."""
        self._group_metadata = self._membership.group_metadata(
            self._consumer, owns=bool(self._owned)
        )

    def _close(self) -> None:
        self._leaving = True
        self._restorer.close()
        self._unassigned_watcher.close()
        self._metadata_poller.close()
        self._close_clients(self._transactions.close)
        self._close_clients(self._consumer.close)
        self._emit(Closed())
