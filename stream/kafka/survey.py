"""What a group has done, seen from outside: by its offsets and its topics."""

from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaException

from stream.dead_letter import dismissed_by
from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.group import Group, committed
from stream.kafka.reading import chunks, record_of
from stream.ledger import EVENT, INTENT
from stream.ledger_codec import EventEntry, EventOutcome, decode
from stream.record import Partition, Record


class Survey:
    """Looks at committed state only, as any reader of these topics would."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        self.group = Group(config)
        self._offsets = Consumer({**settings.reader(config), "isolation.level": "read_uncommitted"})

    def close(self) -> None:
        """Ask nothing more; to be called while the brokers are there."""
        self._offsets.close()
        self.group.close()

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets; a partition without one is left out.

        Raises:
            KafkaException: no answer.
        """
        numbers = self.partitions(self.config.topic)
        found = committed(self._offsets, [Partition(self.config.topic, n) for n in numbers])
        return {one.partition: one.offset for one in found if one.offset >= 0}

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
        reader = Consumer(settings.reader(self.config))
        try:
            for chunk in chunks(reader, topic, begins, barriers, exactly=stops is not None):
                yield from map(record_of, chunk.messages)
        finally:
            reader.close()

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
        dead = self.read(self.config.dead_letter_topic)
        parked = self.read(self.config.parked_topic)
        return [record.value or b"" for record in dead], [
            record.value or b"" for record in parked if dismissed_by(record) is None
        ]

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
