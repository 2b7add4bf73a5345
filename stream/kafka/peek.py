"""What a worker would begin with, read as a member of no group. Nothing is written or committed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.errors import KafkaFailed, StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.folding import fold
from stream.kafka.metadata import ASK_S, Group, committed
from stream.kafka.records import read_record
from stream.record import Partition, Record
from stream.state.store import MemoryState

CHUNK_RECORDS_MAX = 500
CHUNK_S_MAX = 1.0


class Peek:
    """Reads committed records only. Use as a context manager, while the brokers are there.

    What is asked within raises ``KafkaFailed`` where Kafka gives no answer.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._group = Group(config)
        told = {**settings.reader(config), "client.id": "wootric-dry-run"}
        self._reader = Consumer(told)
        # An open transaction, a dead worker's perhaps, holds back stable offsets.
        self._offsets = Consumer({**told, "isolation.level": "read_uncommitted"})

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
            raise KafkaFailed(f"Kafka could not be read: {text}") from error

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

    def states(self, partitions: Iterable[Partition]) -> dict[Partition, MemoryState]:
        """Return the fold of each partition's ledger; empty where there is no ledger yet."""
        topic = self._config.ledger_topic
        states = {partition: MemoryState() for partition in partitions}
        by_number = {partition.number: state for partition, state in states.items()}
        numbers = by_number.keys() & set(self._group.partitions(topic))
        messages = self._read(topic, self._group.ends(topic, numbers, earliest=True))
        while some := list(islice(messages, CHUNK_RECORDS_MAX)):
            fold(by_number, some, Counter())
        return states

    def records(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """Yield the input from there to its end as it is now."""
        begins = {partition.number: offset for partition, offset in starts.items()}
        for message in self._read(self._config.topic, begins):
            yield read_record(message)

    def _read(self, topic: str, begins: Mapping[int, int]) -> Iterator[Message]:
        ends = self._group.ends(topic, begins)
        left = {number: end for number, end in ends.items() if begins[number] < end}
        self._reader.list_topics(topic, timeout=ASK_S)
        self._reader.assign([TopicPartition(topic, number, begins[number]) for number in left])
        while left:
            for message in self._reader.consume(CHUNK_RECORDS_MAX, CHUNK_S_MAX):
                number, error = message.partition() or 0, message.error()
                if number not in left:
                    continue
                if error is None:
                    yield message
                elif error.code() != KafkaError._PARTITION_EOF:
                    _check(error)
                    continue
                # An end is told where the last stable offset is: an open transaction is no news.
                if error is not None or (message.offset() or 0) + 1 >= left[number]:
                    del left[number]
                    self._reader.incremental_unassign([TopicPartition(topic, number)])


def _check(error: KafkaError) -> None:
    if not error.retriable():
        raise KafkaException(error)
