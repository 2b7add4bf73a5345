"""Bounded reads of topics for commands and the restore, as a member of no group."""

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
from stream.kafka.config import KafkaConfig
from stream.kafka.errors import as_startup_error
from stream.kafka.metadata import REQUEST_TIMEOUT_S, Group, committed
from stream.record import Partition, Record
from stream.state.ledger import EVENT, INTENT, REMOTE_ID_HEADER, EventEntry, EventOutcome, decode
from stream.state.store import InMemoryStateStore, RawEntry, StateStore


@contextmanager
def open_reader(config: KafkaConfig) -> Iterator["TopicReader"]:
    """Yield a survey; what Kafka refuses becomes a message that says what to do.

    Raises:
        StartupError: Kafka gave no answer, refused, or has deleted what was to be read.
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


class TopicReader:
    """Looks at committed state only, as any reader of these topics would."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        self.group = Group(config)
        self._offsets = Consumer({**settings.reader(config), "isolation.level": "read_uncommitted"})
        self._idle: list[Consumer] = []

    def close(self) -> None:
        """Ask nothing more; to be called while the brokers are there."""
        for consumer in (self._offsets, *self._idle):
            consumer.close()
        self.group.close()

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets; a partition without one is left out.

        Raises:
            KafkaException: no answer.
        """
        return {
            one.partition: one.offset for one in self._committed_partitions() if one.offset >= 0
        }

    def metadata(self) -> dict[int, str]:
        """Return what the committed offsets say beside themselves: see
        ``stream.kafka.transactions``.

        Raises:
            KafkaException: no answer.
        """
        return {
            one.partition: one.metadata or ""
            for one in self._committed_partitions()
            if one.offset >= 0
        }

    def _committed_partitions(self) -> list[TopicPartition]:
        numbers = self.partitions(self.config.topic)
        return committed(self._offsets, [Partition(self.config.topic, n) for n in numbers])

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions.

        Raises:
            StartupError: there is no such topic.
            KafkaException: no answer.
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
        """Return where each partition begins."""
        return self.group.ends(topic, self.partitions(topic), earliest=True)

    def ends(self, topic: str) -> dict[int, int]:
        """Return where each partition ends, open transactions included."""
        return self.group.ends(topic, self.partitions(topic))

    def read(
        self,
        topic: str,
        *,
        begins: Mapping[int, int] | None = None,
        stops: Mapping[int, int] | None = None,
    ) -> Iterator[Record]:
        """Yield the committed records of a topic: of all partitions, or of those in ``begins``.

        Up to the end as it is when the reading begins, and perhaps a little more; with
        ``stops``, up to there and no further.

        Raises:
            KafkaException: no answer, or records were deleted before they were read.
        """
        begins = self.begins(topic) if begins is None else begins
        end_offsets = self.group.ends(topic, begins) if stops is None else stops
        reader = self._idle.pop() if self._idle else Consumer(settings.reader(self.config))
        try:
            for chunk in read_chunks(reader, topic, begins, end_offsets, exactly=stops is not None):
                yield from map(read_record, chunk.messages)
        finally:
            reader.unassign()
            self._idle.append(reader)

    # What follows from that

    def settled(self) -> int:
        """Return how many records lie before the committed offsets."""
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
        """Return how many requests are in doubt."""
        intents: set[tuple[int, bytes]] = set()
        for record in self._entries(INTENT):
            name = (record.partition.number, record.key or b"")
            if record.value is None:
                intents.discard(name)
            else:
                intents.add(name)
        return len(intents)

    def receipts(self) -> dict[str, EventOutcome]:
        """Return how the events ended that have a receipt, by their id."""
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
        except KafkaException:  # the coordinator is being looked for: nothing is committed yet
            return {}


# What a message of the client is as a record; the one place that knows its ways


def partition_of(message: Any) -> Partition:
    """Return the partition that a message lies in."""
    return Partition(message.topic(), message.partition())


def read_record(message: Any, partition: Partition | None = None) -> Record:
    """Return the record that a message is; ``partition`` is its own, for who has it already."""
    return Record(
        partition=partition or partition_of(message),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
    )


def headers_of(message: Any) -> tuple[tuple[str, bytes | None], ...]:
    """Return a message's headers; none of them where the name of one is no UTF-8.

    Then the client raises, and returns a broken list when it is asked again (measured,
    confluent-kafka 2.16.1). Kafka itself takes any bytes for a name.
    """
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return ()
    return tuple(headers) if headers else ()


# Records of the ledger, taken over into the states of their partitions


def apply_changelog(
    states: Mapping[int, StateStore], messages: Iterable[Message], counts: Counter[int]
) -> dict[int, int]:
    """Take records of the ledger over into the states of their partitions, and count them.

    Returns the offset behind the last one of each partition.
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


# Reading committed records up to a barrier, as a member of no group.
#
# What is read ends where no transaction is half: an end of a partition is reported only where
# the last stable offset is, and the barrier is taken with open transactions included.


CHUNK_RECORDS_MAX = 5_000
CHUNK_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records that came next, and the partitions that were read up to their barrier.

    Nothing in it says that nothing came in time: perhaps an open transaction is in the way.
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
    """Yield what partitions hold from where they begin up to their barriers, at least.

    Only the end of a partition tells that its barrier is reached: the tail before it is
    control records, which are not handed out. ``exactly`` is for barriers that lie between
    transactions: nothing behind them is handed out, and nobody waits for an end.

    Raises:
        KafkaException: Kafka gives no answer, or has deleted what was to be read.
    """
    remaining = {
        number: end_offset
        for number, end_offset in end_offsets.items()
        if not exactly or begins[number] < end_offset
    }
    reader.list_topics(
        topic, timeout=REQUEST_TIMEOUT_S
    )  # without a leader it would wait half a second
    reader.assign([TopicPartition(topic, number, begins[number]) for number in remaining])
    while remaining:
        messages = []
        reached = []
        first = reader.poll(CHUNK_WAIT_S)  # consume() would wait all of it for more
        polled = [] if first is None else [first, *reader.consume(CHUNK_RECORDS_MAX - 1, 0)]
        for message in polled:
            if not exactly and message.error() is None:  # most of a restore is this
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
    """Return the partition that a message is about, and how far it is read with it.

    Raises:
        KafkaException: it tells of trouble that does not pass by itself.
    """
    error, number, offset = message.error(), message.partition(), message.offset()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        if not error.retriable():
            raise KafkaException(error)
        return -1, -1
    if number is None or offset is None:
        return -1, -1
    return number, offset + 1 if error is None else offset


# What a worker would begin with, read as a member of no group. Nothing is written or committed


POLL_RECORDS_MAX = 500
CHUNK_S_MAX = 1.0


class CommittedReader:
    """Reads committed records only. Use as a context manager, while the brokers are there.

    What is asked within raises ``KafkaUnavailableError`` where Kafka gives no answer.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._group = Group(config)
        consumer_config = {**settings.reader(config), "client.id": "wootric-dry-run"}
        self._reader = Consumer(consumer_config)
        # An open transaction, a dead worker's perhaps, holds back stable offsets.
        self._offsets = Consumer({**consumer_config, "isolation.level": "read_uncommitted"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._offsets.close()
        self._group.close()
        if isinstance(error, KafkaException):
            text = f"{error.args[0].str()}; `wootric-stream doctor` looks closer"
            raise KafkaUnavailableError(f"Kafka could not be read: {text}") from error

    def starts(self) -> dict[Partition, int]:
        """Return where a worker would begin to read: the committed offset, else the beginning.

        Raises:
            StartupError: the topic is not there, or has lost what was to be read.
        """
        topic = self._config.topic
        numbers = self._group.partitions(topic)
        if not numbers:
            raise StartupError(f"there is no topic {topic}", exit_code=78)
        lows = self._group.ends(topic, numbers, earliest=True)
        found = committed(self._offsets, [Partition(topic, number) for number in numbers])
        starts = {}
        for one in found:
            low = lows[one.partition]
            if 0 <= one.offset < low:
                raise StartupError(
                    f"the committed offset of partition {one.partition} is not in the topic any "
                    f"more ({one.offset}, it begins at {low}): set it by hand",
                    exit_code=78,
                )
            starts[Partition(topic, one.partition)] = max(one.offset, low)
        return starts

    def states(self, partitions: Iterable[Partition]) -> dict[Partition, InMemoryStateStore]:
        """Return the fold of each partition's ledger; empty where there is no ledger yet."""
        topic = self._config.ledger_topic
        states = {partition: InMemoryStateStore() for partition in partitions}
        by_number = {partition.number: state for partition, state in states.items()}
        numbers = by_number.keys() & set(self._group.partitions(topic))
        messages = self._read(topic, self._group.ends(topic, numbers, earliest=True))
        while batch := list(islice(messages, POLL_RECORDS_MAX)):
            apply_changelog(by_number, batch, Counter())
        return states

    def records(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """Yield the input from there to its end as it is now."""
        begins = {partition.number: offset for partition, offset in starts.items()}
        for message in self._read(self._config.topic, begins):
            yield read_record(message)

    def _read(self, topic: str, begins: Mapping[int, int]) -> Iterator[Message]:
        ends = self._group.ends(topic, begins)
        remaining = {number: end for number, end in ends.items() if begins[number] < end}
        self._reader.list_topics(topic, timeout=REQUEST_TIMEOUT_S)
        self._reader.assign([TopicPartition(topic, number, begins[number]) for number in remaining])
        while remaining:
            for message in self._reader.consume(POLL_RECORDS_MAX, CHUNK_S_MAX):
                number, error = message.partition() or 0, message.error()
                if number not in remaining:
                    continue
                if error is None:
                    yield message
                elif error.code() != KafkaError._PARTITION_EOF:
                    _check(error)
                    continue
                # An end is told where the last stable offset is: an open transaction is no news.
                if error is not None or (message.offset() or 0) + 1 >= remaining[number]:
                    del remaining[number]
                    self._reader.incremental_unassign([TopicPartition(topic, number)])


def _check(error: KafkaError) -> None:
    if not error.retriable():
        raise KafkaException(error)
