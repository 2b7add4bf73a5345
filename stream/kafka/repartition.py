"""Exactly-once copy from one topic to the input: read, convert and write in transactions.

Every cycle begins and ends without an open transaction, and all state is in Kafka: after any
failure both clients are recreated, and the committed offsets say where to continue. Records of
partitions that were revoked are never written: the group metadata is that of the last callback, and
the coordinator rejects an old generation.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from sink.rate_limit import backoff_s
from stream.codec.dead_letter import DeadLetter
from stream.errors import FencedError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig, log_client_error
from stream.kafka.group_member import Membership, partitions_of
from stream.kafka.metadata import Describer, committed
from stream.kafka.producer import produce_blocking
from stream.kafka.transactions import CallTimeoutError, TimeLimitedCaller, send_offsets
from stream.kafka.unassigned import UnassignedWatcher
from stream.record import Partition, Record

log = structlog.get_logger()

CHUNK_RECORDS_MAX = 500
POLL_S = 0.2
START_S = 30.0
RETRY_S = 0.5
RETRY_S_MAX = 5.0
FENCED_ERRORS = frozenset(
    {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.FENCED_INSTANCE_ID}
)

OutputRecord: TypeAlias = tuple[bytes | None, bytes] | DeadLetter | None
"""Key and value for the input, a dead letter, or nothing."""


class RepartitionObserver(Protocol):
    """Callbacks, called on the thread."""

    def joined(self) -> None:
        """The group has assigned partitions, perhaps none."""

    def transferred(self, outputs: Sequence[OutputRecord]) -> None:
        """A transaction with these records was committed."""

    def aborted(self, reason: str) -> None:
        """A transaction was aborted, or Kafka failed; it is retried."""

    def lag(self, partition: Partition, records: int | None) -> None:
        """Number of records left to read; None when the partition is no longer owned."""


class Repartitioner(threading.Thread):
    """One member of the bridge's own group.

    ``on_end`` is called on the thread when it ends, with the error that ended it, if any.
    ``config`` names the group, the instance, and the topics that are written to.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        source: str,
        record_bytes_max: int,
        convert: Callable[[Record], OutputRecord],
        observer: RepartitionObserver,
        on_end: Callable[[BaseException | None], object],
    ) -> None:
        super().__init__(name="kafka-rekey", daemon=True)
        self.polled_at = time.monotonic()
        self._config = config
        self._source = source
        self._record_bytes_max = record_bytes_max
        self._convert = convert
        self._observer = observer
        self._on_end = on_end
        self._stopping = threading.Event()
        self._group_metadata: Any = None
        self._positions: dict[Partition, int] = {}
        self._membership = Membership()
        self._describer = Describer(config)
        self._unassigned_watcher = UnassignedWatcher(
            config, group=self._describer, topic=source, on_failure=on_end
        )
        self._caller = TimeLimitedCaller()
        self._abandoned: list[Producer] = []  # never freed: a call on them is still running

    def stop(self) -> None:
        """Finish the current transaction, and end."""
        self._stopping.set()

    def run(self) -> None:
        """Transfer until ``stop()``, or until another member takes over."""
        failure: BaseException | None = None
        self._unassigned_watcher.start()
        try:
            self._run()
        except Exception as error:  # noqa: BLE001  the thread's entry point: nothing may vanish
            failure = error
        self._unassigned_watcher.close()
        self._on_end(failure)

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                self._session()
            except KafkaException as error:
                if error.args[0].code() in FENCED_ERRORS:
                    raise FencedError(
                        f"another bridge uses {self._config.transactional_id}: give each its own "
                        "KAFKA__INSTANCE_ID"
                    ) from error
                self._observer.aborted(error.args[0].str())
                attempt = 1 if time.monotonic() - started_at > RETRY_S_MAX else attempt + 1
                self._stopping.wait(backoff_s(attempt, initial_s=RETRY_S, max_s=RETRY_S_MAX))

    def _session(self) -> None:
        """Transfer with one pair of clients.

        Raises:
            KafkaException: the clients are unusable; no transaction is half done.
        """
        self._group_metadata, self._positions, self._membership = None, {}, Membership()
        producer = Producer(
            settings.repartition_producer(self._config, record_bytes_max=self._record_bytes_max)
        )
        # Abort a predecessor's open transaction before its offsets are read.
        producer.init_transactions(START_S)
        consumer = Consumer({**settings.consumer(self._config), "error_cb": log_client_error})
        try:
            credentials = CredentialRefresher(self._config)
            consumer.subscribe(
                [self._source],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not self._stopping.is_set():
                messages = consumer.consume(CHUNK_RECORDS_MAX, POLL_S)
                self.polled_at = time.monotonic()
                credentials.refresh((producer, consumer, self._describer))
                records = [r for m in messages if (r := self._record(m)) is not None]
                if records:
                    self._transfer(producer, records)
                self._report_lag(consumer)
        finally:
            for client in (producer, consumer):
                if client not in self._abandoned:
                    with suppress(KafkaException, RuntimeError):
                        client.close()

    def _record(self, message: Message) -> Record | None:
        """Return a record of an owned partition; None if it was transferred already."""
        error = message.error()
        if error is not None:
            self._on_client_error(error, message)
            return None
        partition = Partition(message.topic() or "", message.partition() or 0)
        offset = message.offset() or 0
        position = self._positions.get(partition)
        if position is None or offset < position:
            return None
        return Record(partition, offset, message.timestamp()[1], message.key(), message.value())

    def _on_client_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            partition = Partition(message.topic() or "", message.partition() or 0)
            if partition in self._positions:
                self._positions[partition] = max(self._positions[partition], message.offset() or 0)
        elif error.code() in settings.OFFSET_ERRORS:
            log.error(
                "partition_halted",
                partition=message.partition(),
                reason="offset_out_of_range",
                detail="records were deleted before they were read; set the offset manually",
            )
        elif error.fatal() or error.code() in FENCED_ERRORS:
            raise KafkaException(error)
        elif not error.retriable():
            log_client_error(error)

    def _transfer(self, producer: Producer, records: Sequence[Record]) -> None:
        """Write the converted records and their offsets in one transaction."""
        if self._group_metadata is None:  # continuing would lose these records
            raise KafkaException(KafkaError(KafkaError._STATE, "the group is rebalancing"))
        outputs = [self._convert(record) for record in records]
        offsets = {record.partition: record.next_offset for record in records}
        positions = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        wait_s = self._config.transaction_timeout_s
        producer.begin_transaction()
        for output in outputs:
            self._produce(producer, output)
        try:
            send_offsets(self._caller, producer, positions, self._group_metadata, wait_s)
        except CallTimeoutError:
            self._abandoned.append(producer)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
        producer.commit_transaction()
        self._positions.update(offsets)
        self._observer.transferred(outputs)

    def _produce(self, producer: Producer, output: OutputRecord) -> None:
        if isinstance(output, DeadLetter):
            produce_blocking(
                producer,
                topic=self._config.dead_letter_topic,
                value=output.value,
                key=output.record_key,
                headers=dict(output.headers()),
            )
        elif output is not None:
            key, value = output
            produce_blocking(producer, topic=self._config.topic, value=value, key=key)

    # Rebalances: called by the client, in this thread, from within consume

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._capture_group_metadata(consumer)
        partitions = partitions_of(assigned)
        starts = []
        for one in committed(consumer, partitions) if partitions else ():
            self._positions[Partition(one.topic, one.partition)] = max(0, one.offset)
            start = one.offset if one.offset >= 0 else OFFSET_BEGINNING
            starts.append(TopicPartition(one.topic, one.partition, start))
        consumer.incremental_assign(starts)
        self._unassigned_watcher.look()
        log.info("rebalanced", change="assigned", owned=len(self._positions))
        self._observer.joined()

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._capture_group_metadata(consumer)
        self._drop_partitions(consumer, revoked)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._group_metadata = None
        self._drop_partitions(consumer, lost)

    def _drop_partitions(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions_of(partitions):
            self._positions.pop(partition, None)
            self._observer.lag(partition, None)
        consumer.incremental_unassign(partitions)
        log.info("rebalanced", change="given up", owned=len(self._positions))

    def _capture_group_metadata(self, consumer: Consumer) -> None:
        """Store the group metadata; without it the next transfer begins a new session."""
        owns = bool(self._positions)
        self._group_metadata = self._membership.group_metadata(consumer, owns=owns)

    def _report_lag(self, consumer: Consumer) -> None:
        for partition, position in self._positions.items():
            with suppress(KafkaException):
                _, high = consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
                self._observer.lag(partition, max(0, high - position))
