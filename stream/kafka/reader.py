"""Bounded reads of topics, for commands and the restore, without joining the group."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.codec.dead_letter import noted
from stream.errors import KafkaUnavailableError, StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig, as_startup_error
from stream.kafka.lag import blocked_text
from stream.kafka.metadata import REQUEST_TIMEOUT_S, Group
from stream.record import Partition, Record
from stream.state.ledger import EVENT, INTENT, REMOTE_ID_HEADER, EventEntry, EventOutcome, decode
from stream.state.store import InMemoryStateStore, RawEntry, StateStore


@contextmanager
def open_reader(config: KafkaConfig) -> Iterator["TopicReader"]:
    """Yield a reader; Kafka errors become messages that say what to do.

    Raises:
        StartupError: Kafka did not respond, rejected a request, or has deleted records that were to
            be read.
    """
    reader: TopicReader | None = None
    try:
        reader = TopicReader(config)
        yield reader
    except KafkaException as error:
        raise as_startup_error(error.args[0]) from error
    finally:
        if reader is not None:
            reader.close()


SCAN_S = 20.0
"""A coordinator looks for expired transactions every 10 s, and a marker takes its time. Source:
transaction.abort.timed.out.transaction.cleanup.interval.ms."""


class TopicReader:
    """Reads committed state only, like any other reader of these topics."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        self.group = Group(config)
        self._idle: list[Consumer] = []

    def close(self) -> None:
        """Close the clients. Call it while the brokers are available."""
        for consumer in self._idle:
            consumer.close()
        self.group.close()

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets; partitions without one are left out.

        Raises:
            KafkaException: no response.
        """
        return {
            one.partition: one.offset for one in self._committed_partitions() if one.offset >= 0
        }

    def metadata(self) -> dict[int, str]:
        """Return the metadata of the committed offsets: see ``stream.kafka.transactions``.

        Raises:
            KafkaException: no response.
        """
        return {
            one.partition: one.metadata or ""
            for one in self._committed_partitions()
            if one.offset >= 0
        }

    def _committed_partitions(self) -> list[TopicPartition]:
        numbers = self.partitions(self.config.topic)
        return self.group.committed([Partition(self.config.topic, n) for n in numbers])

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of a topic.

        Raises:
            StartupError: the topic does not exist.
            KafkaException: no response.
        """
        numbers = self.group.partitions(topic)
        if not numbers:
            raise StartupError(
                f"there is no topic {topic}: check KAFKA__TOPIC, or run "
                "`wootric-stream topics create`",
                exit_code=78,
            )
        return numbers

    def begins(self, topic: str) -> dict[int, int]:
        """Return the first offset of each partition."""
        return self.group.ends(topic, self.partitions(topic), earliest=True)

    def ends(self, topic: str, *, stable: bool = False) -> dict[int, int]:
        """Return the end offset of each partition, including open transactions; with ``stable``
        the offset up to which it can be read now.
        """
        return self.group.ends(topic, self.partitions(topic), stable=stable)

    def read(
        self,
        topic: str,
        *,
        begins: Mapping[int, int] | None = None,
        stops: Mapping[int, int] | None = None,
    ) -> Iterator[Record]:
        """Yield the committed records of all partitions, or of those in ``begins``.

        Reads at least up to the end at the start of the call; with ``stops``, exactly up to there.
        Transactions of workers that have died end meanwhile.

        Raises:
            KafkaException: no response, or records were deleted before they were read.
            StartupError: an open transaction blocks a partition for longer.
        """
        begins = self.begins(topic) if begins is None else begins
        end_offsets = self.group.ends(topic, begins) if stops is None else stops
        reader = self._idle.pop() if self._idle else Consumer(settings.reader(self.config))
        moved_at = time.monotonic()
        try:
            for chunk in read_chunks(reader, topic, begins, end_offsets, exactly=stops is not None):
                yield from map(read_record, chunk.messages)
                if chunk.messages or chunk.reached:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > self.config.transaction_timeout_s + SCAN_S:
                    self._raise_if_blocked(topic, end_offsets)
                    moved_at = time.monotonic()
        finally:
            reader.unassign()
            self._idle.append(reader)

    def _raise_if_blocked(self, topic: str, end_offsets: Mapping[int, int]) -> None:
        blocked = [
            blocked_text(self.config, topic, number, offsets)
            for number, offsets in self.group.blocked(topic, end_offsets).items()
        ]
        if blocked:
            raise StartupError("\n".join(blocked), exit_code=75)

    # Summaries

    def settled(self) -> int:
        """Return the number of records before the committed offsets."""
        return sum(self._committed_so_far().values())

    def caught_up(self) -> bool:
        """Return whether every record is before its partition's committed offset."""
        offsets = self._committed_so_far()
        ends = self.ends(self.config.topic)
        return all(offsets.get(number, 0) >= end for number, end in ends.items() if end > 0)

    def letters(self) -> tuple[list[bytes], list[bytes]]:
        """Return the values of the dead letters and of the parked records."""
        dead, parked = (
            [record.value or b"" for record in self.read(topic) if noted(record) is None]
            for topic in (self.config.dead_letter_topic, self.config.parked_topic)
        )
        return dead, parked

    def open_intents(self) -> int:
        """Return the number of requests in doubt."""
        intents: set[tuple[int, bytes]] = set()
        for record in self._entries(INTENT):
            name = (record.partition.number, record.key or b"")
            if record.value is None:
                intents.discard(name)
            else:
                intents.add(name)
        return len(intents)

    def receipts(self) -> dict[str, EventOutcome]:
        """Return the outcome of each event that has a receipt, by event id."""
        found: dict[str, EventOutcome] = {}
        for record in self._entries(EVENT):
            entry = None if record.value is None else decode(record.value)
            if isinstance(entry, EventEntry):
                found[(record.key or b"").decode().removeprefix(EVENT)] = entry.outcome
        return found

    def _entries(self, kind: str) -> Iterable[Record]:
        prefix = kind.encode()
        for record in self.read(self.config.ledger_topic):
            if record.key is not None and record.key.startswith(prefix):
                yield record

    def _committed_so_far(self) -> dict[int, int]:
        try:
            return self.committed()
        except KafkaException:  # no coordinator yet: nothing is committed
            return {}


# Messages of the client as records


def partition_of(message: Any) -> Partition:
    """Return the partition of a message."""
    return Partition(message.topic(), message.partition())


def read_record(message: Any, partition: Partition | None = None) -> Record:
    """Convert a message. ``partition`` avoids creating it again if the caller has it."""
    return Record(
        partition=partition or partition_of(message),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
    )


def headers_of(message: Any) -> tuple[tuple[str, bytes | None], ...]:
    """Return a message's headers; empty if a header's name is not UTF-8.

    In that case the client raises, and returns a broken list on the next call (measured,
    confluent-kafka 2.16.1). Kafka itself accepts any bytes as a name.
    """
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return ()
    return tuple(headers) if headers else ()


# Restoring ledger records


def apply_changelog(
    states: Mapping[int, StateStore], messages: Iterable[Message], counts: Counter[int]
) -> dict[int, int]:
    """Apply ledger records to the states of their partitions, and count them.

    Returns the offset after the last one of each partition.
    """
    entries: dict[int, list[RawEntry]] = {number: [] for number in states}
    last: dict[int, Message] = {}
    for message in messages:
        number: Any = message.partition()
        key: Any = message.key()
        if number not in entries or key is None:
            continue
        value: Any = message.value()
        headers = headers_of(message)
        entries[number].append((key, value, _remote_id(headers) if headers else None))
        last[number] = message
    ends = {number: (message.offset() or 0) + 1 for number, message in last.items()}
    for number, end in ends.items():
        states[number].apply_changelog(entries[number], end)
        counts[number] += len(entries[number])
    return ends


def _remote_id(headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    return next((int(value or 0) for name, value in headers if name == REMOTE_ID_HEADER), None)


# Reading committed records up to an end offset.
#
# A read never ends inside a transaction: the client reports the end of a partition at the last
# stable offset, and the end offsets include open transactions.


CHUNK_RECORDS_MAX = 5_000
CHUNK_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next records, and the partitions that were read up to their end offset.

    It is empty if nothing arrived in time: an open transaction may block the read.
    """

    messages: Sequence[Message]
    reached: Sequence[int]


def read_chunks(
    reader: Consumer,
    topic: str,
    begins: Mapping[int, int],
    end_offsets: Mapping[int, int],
    *,
    exactly: bool = False,
) -> Iterator[Chunk]:
    """Yield the records of partitions from their begin offsets up to at least their end offsets.

    A partition's end is known only from its end-of-partition event: the last offsets may be control
    records, which are not returned. With ``exactly``, the end offsets lie between transactions: no
    record after them is returned, and the end-of-partition event is not awaited.

    Raises:
        KafkaException: Kafka does not respond, or has deleted records that were to be read.
    """
    remaining = {
        number: end_offset
        for number, end_offset in end_offsets.items()
        if not exactly or begins[number] < end_offset
    }
    reader.list_topics(
        topic, timeout=REQUEST_TIMEOUT_S
    )  # without a known leader, reading starts 0.5 s later
    reader.assign([TopicPartition(topic, number, begins[number]) for number in remaining])
    while remaining:
        messages = []
        reached = []
        first = reader.poll(CHUNK_WAIT_S)  # consume() would wait the full time
        polled = [] if first is None else [first, *reader.consume(CHUNK_RECORDS_MAX - 1, 0)]
        for message in polled:
            if not exactly and message.error() is None:  # the common case in a restore
                if message.partition() in remaining:
                    messages.append(message)
                continue
            number, position = _position(message)
            end_offset = remaining.get(number)
            if end_offset is None:
                continue
            ended = message.error() is not None
            if not ended and (position <= end_offset or not exactly):
                messages.append(message)
            if position >= end_offset and (ended or exactly):
                del remaining[number]
                reached.append(number)
                reader.incremental_unassign([TopicPartition(topic, number)])
        yield Chunk(messages, reached)


def _position(message: Message) -> tuple[int, int]:
    """Return the partition of a message, and the offset up to which it has been read.

    Raises:
        KafkaException: an error that retrying does not resolve.
    """
    error, number, offset = message.error(), message.partition(), message.offset()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        if not error.retriable():
            raise KafkaException(error)
        return -1, -1
    if number is None or offset is None:
        return -1, -1
    return number, offset + 1 if error is None else offset


# What a worker would start with. Nothing is written or committed


POLL_RECORDS_MAX = 500


class CommittedReader:
    """Reads committed records only. Use it as a context manager, while the brokers are available.

    Inside the block, ``KafkaException`` becomes ``KafkaUnavailableError``.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._group = Group(config)
        self._reader = Consumer({**settings.reader(config), "client.id": "wootric-dry-run"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._group.close()
        if isinstance(error, KafkaException):
            text = f"{error.args[0].str()}; run `wootric-stream doctor`"
            raise KafkaUnavailableError(f"Kafka could not be read: {text}") from error

    def starts(self) -> dict[Partition, int]:
        """Return where a worker would start reading: the committed offset, else the first offset.

        Raises:
            StartupError: the topic does not exist, or has lost records that were to be read.
        """
        topic = self._config.topic
        numbers = self._group.partitions(topic)
        if not numbers:
            raise StartupError(f"there is no topic {topic}", exit_code=78)
        lows = self._group.ends(topic, numbers, earliest=True)
        found = self._group.committed([Partition(topic, number) for number in numbers])
        starts = {}
        for one in found:
            low = lows[one.partition]
            if 0 <= one.offset < low:
                raise StartupError(
                    f"the committed offset of partition {one.partition} is no longer in the "
                    f"topic ({one.offset}, it begins at {low}): set it manually",
                    exit_code=78,
                )
            starts[Partition(topic, one.partition)] = max(one.offset, low)
        return starts

    def states(self, partitions: Iterable[Partition]) -> dict[Partition, InMemoryStateStore]:
        """Return the restored state of each partition; empty where there is no ledger yet."""
        topic = self._config.ledger_topic
        states = {partition: InMemoryStateStore() for partition in partitions}
        by_number = {partition.number: state for partition, state in states.items()}
        numbers = by_number.keys() & set(self._group.partitions(topic))
        messages = self._read(topic, self._group.ends(topic, numbers, earliest=True))
        while batch := list(islice(messages, POLL_RECORDS_MAX)):
            apply_changelog(by_number, batch, Counter())
        return states

    def blocked(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return how many offsets of each partition lie behind an open transaction, if any."""
        numbers = {partition.number: partition for partition in partitions}
        ends = self._group.ends(self._config.topic, numbers)
        found = self._group.blocked(self._config.topic, ends)
        return {numbers[number]: offsets for number, offsets in found.items()}

    def records(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """Yield the input from these offsets to its current end, or to an open transaction."""
        begins = {partition.number: offset for partition, offset in starts.items()}
        for message in self._read(self._config.topic, begins):
            yield read_record(message)

    def _read(self, topic: str, begins: Mapping[int, int]) -> Iterator[Message]:
        ends = self._group.ends(topic, begins, stable=True)
        for chunk in read_chunks(self._reader, topic, begins, ends, exactly=True):
            yield from chunk.messages
