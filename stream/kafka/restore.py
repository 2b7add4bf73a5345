"""Restore of partitions: the ledger is applied before the input is read.

The order matters: first the stable committed offset, then the ledger's end offset with open
transactions included, then the ledger up to that offset without aborted records. The restored state
then contains every intent and receipt committed before the offset, and every intent for which a
predecessor may still send a request.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
)

from sink.rate_limit import backoff_s
from stream.engine.task_manager import HaltReason
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.fencing import fence
from stream.kafka.metadata import REQUEST_TIMEOUT_S, Group, committed
from stream.kafka.protocol import (
    DELETED_UNREAD,
    Failed,
    PartitionHalted,
    Restored,
    Restoring,
)
from stream.kafka.reader import apply_changelog, read_chunks
from stream.kafka.transactions import CommitMetadata, LedgerEndOffsets
from stream.record import Partition
from stream.state.store import (
    InMemoryStateStore,
    LedgerPartitionInfo,
    OpenedStore,
    StateStoreProvider,
)

log = structlog.get_logger()

DEAD_INSTANCE_WAIT_S = 0.5
"""How long an open transaction may block a restore before dead instances are fenced."""
RETRY_MISSING_S = 5.0
LEDGER_MISSING = (
    "the ledger has fewer partitions than the input: add the missing ones; this one then opens "
    "automatically"
)
OUT_OF_RANGE = f"the committed offset is outside of the topic ({{}}): {DELETED_UNREAD}"
LEDGER_BEHIND = (
    "the ledger ends at {} when the offset was committed: records of it are gone, and with them "
    "what is known of requests and duplicates; restore the topic, or continue without them with "
    "`wootric-stream offsets reset --accept-ledger-loss`"
)
STABLE_S = 0.3
"""Timeout of one request for stable offsets."""

PROGRESS_S = 1.0

OnEvent = Callable[[Restored | Restoring | PartitionHalted | Failed], None]


class ChangelogRestorer:
    """Restores assignments, each on its own thread; other partitions continue meanwhile."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: Group,
        ends: LedgerEndOffsets,
        on_event: OnEvent,
        state_store_provider: StateStoreProvider | None = None,
    ) -> None:
        self._state_store_provider = state_store_provider
        self._config = config
        self._group = group
        self._ends = ends
        self._emit = on_event
        self._closed = threading.Event()
        self._wanted: dict[Partition, int] = {}

    def restore(self, partitions: Sequence[Partition], assignment_epoch: int) -> None:
        """Start a restore. For each partition, ``Restored`` or ``PartitionHalted`` is emitted."""
        self._wanted.update(dict.fromkeys(partitions, assignment_epoch))
        threading.Thread(
            target=self._run,
            args=(list(partitions), assignment_epoch),
            name=f"restore-{assignment_epoch}",
            daemon=True,
        ).start()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Stop restoring revoked partitions."""
        for partition in partitions:
            self._wanted.pop(partition, None)

    def close(self) -> None:
        """Stop all restores."""
        self._closed.set()

    def _is_wanted(self, assignment_epoch: int, partition: Partition) -> bool:
        return self._wanted.get(partition) == assignment_epoch and not self._closed.is_set()

    def _run(self, remaining: list[Partition], assignment_epoch: int) -> None:
        attempt = 0
        halted: set[Partition] = set()
        while not self._closed.is_set():
            remaining = [
                partition
                for partition in remaining
                if self._wanted.get(partition) == assignment_epoch
            ]
            if not remaining:
                return
            wait_s = RETRY_MISSING_S
            try:
                restore = PartitionRestore(
                    self._config,
                    remaining,
                    assignment_epoch,
                    group=self._group,
                    ends=self._ends,
                    on_event=self._emit,
                    wanted=partial(self._is_wanted, assignment_epoch),
                    state_store_provider=self._state_store_provider,
                )
            except Exception as error:  # noqa: BLE001  settings that the client rejects
                self._emit(Failed(error))
                return
            try:
                restore.run()
            except KafkaException as error:
                attempt += 1
                log.warning("restore_failed", error=error.args[0].str(), attempt=attempt)
                wait_s = backoff_s(attempt, initial_s=0.1, max_s=5.0)
            except Exception as error:  # noqa: BLE001  the thread's entry point
                self._emit(Failed(error))
                return
            finally:
                restore.close()
            for partition in set(restore.missing) - halted:
                halted.add(partition)
                self._emit(PartitionHalted(partition, HaltReason.LEDGER_MISSING, LEDGER_MISSING))
            remaining = restore.remaining
            self._closed.wait(wait_s if remaining else 0)


class PartitionRestore:
    """One restore of some partitions."""

    def __init__(
        self,
        config: KafkaConfig,
        partitions: Sequence[Partition],
        assignment_epoch: int,
        *,
        group: Group,
        ends: LedgerEndOffsets,
        on_event: OnEvent,
        wanted: Callable[[Partition], bool],
        state_store_provider: StateStoreProvider | None = None,
    ) -> None:
        self._config = config
        self._assignment_epoch = assignment_epoch
        self._emit = on_event
        self._wanted = wanted
        self._state_store_provider = state_store_provider
        self._reader = Consumer(settings.restorer(config))
        self._group = group
        self._ends = ends
        self._started_at = time.monotonic()
        self._partitions = {partition.number: partition for partition in partitions}
        self._starts: dict[int, int] = {}
        self._end_offsets: dict[int, int] = {}
        self._opened: dict[int, OpenedStore] = {}
        self._entries: Counter[int] = Counter()
        self._reported_at = self._started_at
        self._dead_instances_fenced = False
        self.missing: list[Partition] = []
        """Input partitions without a ledger partition."""

    @property
    def remaining(self) -> list[Partition]:
        """The partitions that are not restored yet."""
        return [*self._partitions.values(), *self.missing]

    def run(self) -> None:
        """Restore all partitions.

        Raises:
            KafkaException: Kafka did not respond; the ``remaining`` partitions have to be retried.
        """
        self._drop_missing()
        if not self._partitions:
            return
        offsets = self._committed()
        end_offsets = self._group.ends(self._config.ledger_topic, offsets)
        lows, highs = (
            self._group.ends(self._config.topic, offsets, earliest=earliest)
            for earliest in (True, False)
        )
        for number, (offset, commit) in offsets.items():
            start = lows[number] if offset < 0 else offset
            end_offset = end_offsets[number]
            if commit is not None and end_offset < commit.ledger_end:
                detail = f"{end_offset}, but it reached {commit.ledger_end}"
                self._halt(number, HaltReason.LEDGER_BEHIND, LEDGER_BEHIND.format(detail))
            elif lows[number] <= start <= highs[number]:
                self._starts[number] = start
                self._end_offsets[number] = end_offset
                self._ends.advance(number, end_offset)
            else:
                detail = f"{start}, not within {lows[number]} to {highs[number]}"
                self._halt(number, HaltReason.OFFSET_OUT_OF_RANGE, OUT_OF_RANGE.format(detail))
        self._restore()

    def _drop_missing(self) -> None:
        """Leave out partitions without a ledger partition, until it exists."""
        existing = set(self._group.partitions(self._config.ledger_topic))
        for number in self._partitions.keys() - existing:
            self.missing.append(self._partitions.pop(number))

    def close(self) -> None:
        """Close the client and the stores that were not handed over."""
        self._reader.close()
        for number in list(self._opened):
            self._opened.pop(number).state.close()

    def _close_revoked(self) -> None:
        """Close stores of revoked partitions: another thread may wait for them."""
        for number, partition in list(self._partitions.items()):
            if not self._wanted(partition):
                del self._partitions[number]
                opened = self._opened.pop(number, None)
                if opened is not None:
                    opened.state.close()

    def _committed(self) -> dict[int, tuple[int, CommitMetadata | None]]:
        """Return the stable committed offsets with their metadata.

        Fences dead instances if an open transaction blocks the offsets.
        """
        started_at = time.monotonic()
        self._reader.list_topics(self._config.topic, timeout=REQUEST_TIMEOUT_S)
        while True:
            try:
                found = committed(self._reader, self._partitions.values(), timeout_s=STABLE_S)
            except KafkaException as error:
                all_revoked = not any(
                    self._wanted(partition) for partition in self._partitions.values()
                )
                if error.args[0].code() != KafkaError._TIMED_OUT or all_revoked:
                    raise
                if time.monotonic() - started_at > DEAD_INSTANCE_WAIT_S:
                    self._fence_dead_instances()
            else:
                return {
                    one.partition: (one.offset, CommitMetadata.parse(one.metadata)) for one in found
                }

    def _halt(self, number: int, reason: HaltReason, detail: str) -> None:
        """Report that a partition cannot start: continuing would lose or repeat something."""
        self._emit(PartitionHalted(self._partitions.pop(number), reason, detail))

    def _restore(self) -> None:
        topic = self._config.ledger_topic
        begin_offsets = self._group.ends(topic, self._end_offsets, earliest=True)
        self._open(begin_offsets)
        positions = {number: opened.covered for number, opened in self._opened.items()}
        end_offsets = {number: self._end_offsets[number] for number in positions}
        last_progress_at = time.monotonic()
        for chunk in read_chunks(self._reader, topic, positions, end_offsets):
            self._close_revoked()
            if not self._partitions:
                return
            states = {number: opened.state for number, opened in self._opened.items()}
            positions.update(apply_changelog(states, chunk.messages, self._entries))
            for number in chunk.reached:
                self._hand_over(number)
            self._report_progress(positions)
            if chunk.messages or chunk.reached:
                last_progress_at = time.monotonic()
            elif time.monotonic() - last_progress_at > DEAD_INSTANCE_WAIT_S:
                self._fence_dead_instances()
                last_progress_at = time.monotonic()

    def _open(self, begin_offsets: dict[int, int]) -> None:
        """Open the stores, each with the offset from which the ledger has to be read."""
        self._close_revoked()
        begin_offsets = {
            number: begin_offset
            for number, begin_offset in begin_offsets.items()
            if number in self._partitions
        }
        if self._state_store_provider is None:
            for number, begin_offset in begin_offsets.items():
                self._opened[number] = OpenedStore(InMemoryStateStore(), begin_offset, warm=False)
            return
        cluster_id = self._group.cluster_id()
        topic_id = self._group.topic_id(self._config.ledger_topic)
        topic_config = self._group.topic_config(self._config.ledger_topic)
        retention_ms = int(topic_config["retention.ms"])
        for number, begin_offset in begin_offsets.items():
            ledger_partition = LedgerPartitionInfo(
                cluster_id=cluster_id,
                topic_id=topic_id,
                number=number,
                begin=begin_offset,
                end=self._end_offsets[number],
                tombstones_kept_s=int(topic_config["delete.retention.ms"]) / 1000,
                kept_s=math.inf if retention_ms < 0 else retention_ms / 1000,
            )
            self._opened[number] = self._state_store_provider.open(ledger_partition)

    def _hand_over(self, number: int) -> None:
        """Hand over a partition whose ledger was read up to its end offset."""
        partition = self._partitions.pop(number, None)
        if partition is None:
            return
        state, _, warm = self._opened[number]
        state.save(self._end_offsets[number])
        del self._opened[number]
        self._emit(
            Restored(
                partition=partition,
                assignment_epoch=self._assignment_epoch,
                state=state,
                next_offset=self._starts[number],
                entries=self._entries[number],
                warm=warm,
                took_s=time.monotonic() - self._started_at,
            )
        )

    def _report_progress(self, positions: Mapping[int, int]) -> None:
        now = time.monotonic()
        if now < self._reported_at + PROGRESS_S:
            return
        self._reported_at = now
        for number, partition in self._partitions.items():
            remaining = max(0, self._end_offsets[number] - positions[number])
            self._emit(Restoring(partition, self._entries[number], remaining))

    def _fence_dead_instances(self) -> None:
        """Abort open transactions of instances that are no longer in the group.

        Otherwise a worker that died inside a transaction blocks its successors for the transaction
        timeout plus the coordinator's scan, together 20 s.
        """
        if self._dead_instances_fenced:
            return
        found = self._group.committed(self._partitions.values())
        commits = [CommitMetadata.parse(offset.metadata) for offset in found]
        instance_ids = {commit.instance for commit in commits if commit is not None}
        dead_instances = instance_ids - self._group.instance_ids() - {self._config.instance_id}
        for instance_id in dead_instances:
            log.info("fencing_dead_instance", gone=instance_id)
            fence(self._config, instance_id)
        self._dead_instances_fenced = bool(dead_instances)
