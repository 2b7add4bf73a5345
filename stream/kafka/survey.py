"""What a group has done, seen from outside: by its offsets and its topics."""

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.group import ASK_S, Group, committed
from stream.ledger import INTENT
from stream.record import Partition


class Survey:
    """Looks at committed state only, as any reader of these topics would."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._group = Group(config)
        self._offsets = Consumer({**settings.reader(config), "isolation.level": "read_uncommitted"})

    def close(self) -> None:
        """Ask nothing more; to be called while the brokers are there."""
        self._offsets.close()
        self._group.close()

    def settled(self) -> int:
        """Return how many records lie before the committed offsets."""
        return sum(max(0, offset) for offset in self._committed().values())

    def caught_up(self) -> bool:
        """Return whether every record is before its partition's committed offset."""
        offsets = self._committed()
        ends = self._group.ends(self._config.topic, offsets)
        return all(offsets[number] >= end for number, end in ends.items() if end > 0)

    def letters(self) -> tuple[list[bytes], list[bytes]]:
        """Return the values of the dead letters and of the parked records."""
        dead = [m.value() or b"" for m in self._read(self._config.dead_letter_topic)]
        parked = [m.value() or b"" for m in self._read(self._config.parked_topic)]
        return dead, parked

    def open_intents(self) -> int:
        """Return how many requests are in doubt."""
        intents: set[tuple[int | None, bytes]] = set()
        for message in self._read(self._config.ledger_topic):
            key = message.key()
            if isinstance(key, bytes) and key.startswith(INTENT.encode()):
                name = (message.partition(), key)
                if message.value() is None:
                    intents.discard(name)
                else:
                    intents.add(name)
        return len(intents)

    def _committed(self) -> dict[int, int]:
        partitions = [Partition(self._config.topic, n) for n in self._numbers(self._config.topic)]
        try:
            found = committed(self._offsets, partitions)
        except KafkaException:  # the coordinator is being looked for: nothing is committed yet
            return dict.fromkeys((p.number for p in partitions), 0)
        return {one.partition: one.offset for one in found}

    def _numbers(self, topic: str) -> list[int]:
        return self._group.partitions(topic)

    def _read(self, topic: str) -> Iterator[Message]:
        """Yield all committed records of a topic."""
        numbers = self._numbers(topic)
        begins = self._group.ends(topic, numbers, earliest=True)
        reader = Consumer(settings.reader(self._config))
        reader.list_topics(topic, timeout=ASK_S)
        reader.assign([TopicPartition(topic, number, at) for number, at in begins.items()])
        left = len(numbers)
        try:
            while left:
                for message in reader.consume(1_000, 1.0):
                    if message.error() is None:
                        yield message
                    else:
                        left -= 1
        finally:
            reader.close()
