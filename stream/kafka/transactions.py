"""The transactional producer: a checkpoint is committed completely or not at all.

Error handling follows librdkafka's INTRODUCTION.md, section on transactional producers. The
broker's behaviour was measured on Apache Kafka 4.1.1.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream.codec.dead_letter import DeadLetter
from stream.engine.checkpoint import Checkpoint, LedgerRecord
from stream.errors import CommitAbortedError, FencedError, KafkaUnavailableError, StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import committed
from stream.kafka.producer import produce_blocking
from stream.record import Partition
from stream.state.ledger import REMOTE_ID_HEADER

# Metadata of committed offsets, and end offsets of the ledger.
#
# The metadata is ``instance:epoch:sequence@end``: the worker, its start, its transaction, and a
# lower bound of the ledger partition's end offset at that commit. A ledger that ends below it has
# lost records, including receipts and intents: a worker that restores it would repeat requests.


OFFSET_BEHIND = "ledger partition {} wrote a record at offset {}, but its end was {} before"


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """Metadata of a committed offset: the worker, the transaction, and the ledger's end offset."""

    instance: str
    epoch: int
    sequence: int
    ledger_end: int = 0

    def __str__(self) -> str:
        """Return it in the form stored with the offset."""
        return f"{self.instance}:{self.epoch}:{self.sequence}@{self.ledger_end}"

    @classmethod
    def parse(cls, metadata: str | None) -> Self | None:
        """Parse the metadata of an offset; None if another program wrote it."""
        instance, *rest = (metadata or "").rsplit(":", 2)
        if len(rest) != 2:
            return None
        sequence, _, end = rest[1].partition("@")
        try:
            return cls(instance, int(rest[0]), int(sequence), int(end or 0))
        except ValueError:
            return None

    def same_commit(self, other: "CommitMetadata | None") -> bool:
        """Return whether both belong to the same transaction."""
        own = (self.instance, self.epoch, self.sequence)
        return other is not None and own == (other.instance, other.epoch, other.sequence)


class LedgerEndOffsets:
    """Lower bounds of the ledger partitions' end offsets, and whether one fell below its bound."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self.lost: str | None = None
        """Message that shows that ledger records are lost; None otherwise."""

    def get(self, number: int) -> int:
        """Return the lower bound of a partition's end offset; 0 if unknown."""
        return self._ends.get(number, 0)

    def advance(self, number: int, end: int) -> None:
        """Raise the lower bound of a partition's end offset."""
        self._ends[number] = max(end, self.get(number))

    def on_delivery(self, error: object, message: Any) -> None:
        """Delivery callback. A record below the known end offset means that records were lost.

        The offset of a record that was sent twice may be unknown.
        """
        if error is not None:
            return
        offset = message.offset()
        if offset is None or offset < 0:
            return
        number = message.partition()
        if offset < self.get(number):
            self.lost = OFFSET_BEHIND.format(number, offset, self.get(number))
        self.advance(number, offset + 1)


log = structlog.get_logger()

STALE_GROUP = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)


START_S = 30.0
CALL_MARGIN_S = 1.0
READ_BACK_S = 5.0
"""Short, because the group is not polled meanwhile; the read is repeated."""


class StaleGenerationError(CommitAbortedError):
    """The group's generation has changed since its metadata was captured."""


class Transactions:
    """The transactional producer of one worker.

    If the response to a commit is lost, the group's committed offsets decide: each carries
    ``CommitMetadata``, which names its transaction. ``ends`` holds the known end offsets of the
    ledger.
    """

    def __init__(self, config: KafkaConfig, *, epoch: int, ends: LedgerEndOffsets) -> None:
        self._config = config
        self._epoch = epoch
        self._ends = ends
        self._producer: Producer | None = None
        self._caller = TimeLimitedCaller()
        self._abandoned: list[Producer] = []  # never freed: a call on them is still running

    def start(self) -> None:
        """Initialize the transactional id; a previous owner can no longer commit.

        Raises:
            StartupError: the coordinator did not respond, or rejected the request.
        """
        try:
            self._producer = self._new_producer()
        except KafkaException as error:
            reason = error.args[0]
            raise StartupError(
                f"the transaction coordinator did not accept {self._config.transactional_id}: "
                f"{reason.str()}; on a small cluster check "
                "transaction.state.log.replication.factor and transaction.state.log.min.isr",
                exit_code=75 if reason.retriable() else 69,
            ) from error

    def commit(self, checkpoint: Checkpoint, group_metadata: Any) -> None:
        """Commit a checkpoint in one transaction.

        Raises:
            CommitAbortedError: nothing of it was committed.
            CommitOutcomeUnknownError: Kafka did not say whether it was committed.
            FencedError: another live worker uses the same transactional id.
            KafkaUnavailableError: the ledger has lost records.
        """
        started = time.monotonic()
        try:
            self._transact(checkpoint, group_metadata)
        except KafkaException as error:
            self._handle_error(error.args[0], checkpoint, time.monotonic() - started)

    @property
    def clients(self) -> tuple[Producer, ...]:
        """The producer, if there is one."""
        return () if self._producer is None else (self._producer,)

    def close(self) -> None:
        """Close the producer; an open transaction is aborted."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _new_producer(self, wait_s: float = START_S) -> Producer:
        producer = Producer(
            settings.producer(self._config, transactional_id=self._config.transactional_id)
        )
        producer.init_transactions(wait_s)
        return producer

    def _transact(self, checkpoint: Checkpoint, group_metadata: Any) -> None:
        producer = self._producer
        if producer is None:
            self._producer = producer = self._new_producer()
        producer.begin_transaction()
        for partition, part in checkpoint.partitions.items():
            self._produce_ledger(producer, partition.number, part.ledger)
            self._produce_letters(producer, self._config.dead_letter_topic, part.dead_letters)
            self._produce_letters(producer, self._config.parked_topic, part.parked)
        offsets = [
            TopicPartition(
                partition.topic,
                partition.number,
                part.offset,
                metadata=str(self._commit_metadata(checkpoint, partition.number)),
            )
            for partition, part in checkpoint.partitions.items()
        ]
        wait_s = self._config.transaction_timeout_s
        self._send_offsets(producer, offsets, group_metadata, wait_s)
        # The commit would flush first as well; the delivery reports carry the ledger's end offsets.
        # The client raises SystemError on overlapping failure reports; the commit then raises the
        # failure itself. A fenced producer must not be replaced: that would fence its successor.
        with suppress(SystemError):
            producer.flush(wait_s)
        if self._ends.lost is not None:
            raise KafkaUnavailableError(f"the ledger has lost records: {self._ends.lost}")
        # Without a timeout the client retries forever; the group is not polled meanwhile.
        try:
            producer.commit_transaction(wait_s)
        except SystemError as defect:
            raise KafkaException(KafkaError(KafkaError._FAIL, str(defect))) from defect

    def _send_offsets(
        self, producer: Producer, offsets: list[TopicPartition], metadata: Any, wait_s: float
    ) -> None:
        """Send offsets; abandon the producer if the call does not return in time."""
        try:
            send_offsets(self._caller, producer, offsets, metadata, wait_s)
        except CallTimeoutError:
            self._abandoned.append(producer)
            self._producer = None
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None

    def _produce_ledger(
        self, producer: Producer, number: int, records: Sequence[LedgerRecord]
    ) -> None:
        topic = self._config.ledger_topic
        # A ledger that was made again begins at 0: its last record may lie beyond the known end.
        first, last = (records[0], records[-1]) if records else (None, None)
        for record in records:
            observed = record is first or record is last
            headers = (
                None
                if record.remote_id is None
                else [(REMOTE_ID_HEADER, str(record.remote_id).encode())]
            )
            produce_blocking(
                producer,
                topic=topic,
                partition=number,
                key=record.key.encode(),
                value=record.value,
                headers=headers,
                **({"on_delivery": self._ends.on_delivery} if observed else {}),
            )

    def _produce_letters(
        self, producer: Producer, topic: str, letters: Iterable[DeadLetter]
    ) -> None:
        for letter in letters:
            produce_blocking(
                producer,
                topic=topic,
                key=letter.record_key,
                value=letter.value,
                headers=letter.headers(),
            )

    def _handle_error(self, error: KafkaError, checkpoint: Checkpoint, took_s: float) -> None:
        """Determine the outcome of a transaction that raised."""
        if error.fatal():
            overdue = took_s >= self._config.transaction_timeout_s
            if (
                error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
                and not overdue
            ):
                raise FencedError(
                    f"another worker has taken the transactional id {self._config.transactional_id}"
                    ": the successor of this one, or one with the same KAFKA__INSTANCE_ID; every "
                    "worker needs its own"
                )
            self._read_back(error, checkpoint)
        elif error.txn_requires_abort():
            self._abort(error, checkpoint)
        else:
            self._read_back(error, checkpoint)

    def _abort(self, error: KafkaError, checkpoint: Checkpoint) -> None:
        producer = self._producer
        assert producer is not None  # noqa: S101
        try:
            producer.flush(2)  # librdkafka #4849: no abort while the first produce is in flight
            producer.abort_transaction(self._config.transaction_timeout_s)
        except KafkaException as failure:
            self._read_back(failure.args[0], checkpoint)
            return
        error_type = StaleGenerationError if error.code() in STALE_GROUP else CommitAbortedError
        raise error_type(error.str())

    def _read_back(self, error: KafkaError, checkpoint: Checkpoint) -> None:
        """Determine the outcome of an unknown commit from the committed offsets.

        A new producer first ends the old transaction, one way or the other. A late EndTxn of the
        old producer cannot affect a later transaction: the new producer has a higher epoch.
        """
        log.warning("commit_unknown", error=error.str(), sequence=checkpoint.sequence)
        old, self._producer = self._producer, None
        try:
            if old is not None:
                _discard(old)
            self._producer = self._new_producer(READ_BACK_S)
            found = self._committed(checkpoint.partitions)
        except KafkaException as failure:
            raise CommitOutcomeUnknownError(checkpoint, failure.args[0].str()) from failure
        metadata = self._commit_metadata(checkpoint)
        if not any(
            metadata.same_commit(CommitMetadata.parse(partition.metadata)) for partition in found
        ):
            raise CommitAbortedError(f"unknown commit found to be aborted: {error.str()}")

    def resolve(self, checkpoint: Checkpoint) -> None:
        """Try again to determine the outcome of a checkpoint.

        Raises:
            CommitOutcomeUnknownError: still unknown.
            CommitAbortedError: nothing of it was committed.
        """
        self._read_back(KafkaError(KafkaError._TIMED_OUT), checkpoint)

    def _committed(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Read the offsets with a separate client: the group may have rejected the consumer."""
        reader = Consumer(settings.reader(self._config))
        try:
            return committed(reader, partitions)
        finally:
            _discard(reader)

    def _commit_metadata(self, checkpoint: Checkpoint, number: int | None = None) -> CommitMetadata:
        end = 0 if number is None else self._ends.get(number)
        return CommitMetadata(self._config.instance_id, self._epoch, checkpoint.sequence, end)


class CommitOutcomeUnknownError(Exception):
    """Kafka did not say whether a commit succeeded: call ``resolve`` before any other commit."""

    def __init__(self, checkpoint: Checkpoint, detail: str) -> None:
        super().__init__(detail)
        self.checkpoint = checkpoint


def _discard(client: Producer | Consumer) -> None:
    """Close a client that may hang, without waiting; its errors are ignored."""

    def close() -> None:
        with suppress(KafkaException):
            client.close()

    threading.Thread(target=close, name="discarded-client", daemon=True).start()


# Client calls with a time limit


Calls: TypeAlias = "queue.SimpleQueue[Callable[[], object]]"
Answers: TypeAlias = "queue.SimpleQueue[BaseException | None]"


class CallTimeoutError(Exception):
    """The call did not return in time and may never return: do not use its client again."""


class TimeLimitedCaller:
    """Runs calls one at a time on a separate thread, with a time limit.

    The thread is reused. A thread whose call does not return is abandoned.
    """

    def __init__(self) -> None:
        self._calls: Calls | None = None
        self._answers: Answers = queue.SimpleQueue()

    def call_with_timeout(self, wait_s: float, call: Callable[[], object]) -> None:
        """Run a call; return when it has returned, or raise what it raised.

        Raises:
            CallTimeoutError: it takes longer than ``wait_s``.
        """
        if self._calls is None:
            self._calls, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
            queues = (self._calls, self._answers)
            threading.Thread(
                target=_run_calls, args=queues, name="bounded-calls", daemon=True
            ).start()
        self._calls.put(call)
        try:
            error = self._answers.get(timeout=wait_s)
        except queue.Empty:
            self._calls = None
            raise CallTimeoutError from None
        if error is not None:
            raise error


def send_offsets(
    caller: TimeLimitedCaller,
    producer: Producer,
    offsets: list[TopicPartition],
    group_metadata: Any,
    wait_s: float,
) -> None:
    """Send offsets to the open transaction.

    The client may ignore its own timeout and hang forever (librdkafka #5456), which it does when
    all brokers were unavailable since its last transaction (librdkafka #5511).

    Raises:
        KafkaException: the coordinator did not accept them.
        CallTimeoutError: the call has not returned; the producer must be neither used nor freed.
    """
    call = partial(producer.send_offsets_to_transaction, offsets, group_metadata, wait_s)
    caller.call_with_timeout(wait_s + CALL_MARGIN_S, call)


def _run_calls(calls: Calls, answers: Answers) -> None:
    while True:
        try:
            calls.get()()
        except BaseException as error:  # noqa: BLE001  raised in the caller
            answers.put(error)
        else:
            answers.put(None)
