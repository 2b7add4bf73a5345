"""What a group has done, seen from outside: by its offsets and its topics."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream.codec.dead_letter import noted
from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.errors import as_startup_error
from stream.kafka.metadata import Group, committed
from stream.kafka.reading import chunks
from stream.kafka.records import read_record
from stream.record import Partition, Record
from stream.state.ledger import EVENT, INTENT
from stream.state.ledger_codec import EventEntry, EventOutcome, decode


@contextmanager
def surveying(config: KafkaConfig) -> Iterator["Survey"]:
    """Yield a survey; what Kafka refuses becomes a message that says what to do.

    Raises:
        StartupError: Kafka gave no answer, refused, or has deleted what was to be read.
    """
    survey: Survey | None = None
    try:
        survey = Survey(config)
        yield survey
    except KafkaException as error:
        raise as_startup_error(error.args[0]) from error
    finally:
        if survey is not None:
            survey.close()


class Survey:
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
        return {one.partition: one.offset for one in self._ask() if one.offset >= 0}

    def metadata(self) -> dict[int, str]:
        """Return what the committed offsets say beside themselves: see ``stream.kafka.stamp``.

        Raises:
            KafkaException: no answer.
        """
        return {one.partition: one.metadata or "" for one in self._ask() if one.offset >= 0}

    def _ask(self) -> list[TopicPartition]:
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
        barriers = self.group.ends(topic, begins) if stops is None else stops
        reader = self._idle.pop() if self._idle else Consumer(settings.reader(self.config))
        try:
            for chunk in chunks(reader, topic, begins, barriers, exactly=stops is not None):
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
