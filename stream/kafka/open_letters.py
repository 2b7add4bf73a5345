"""Open dead letters of a topic: how many have no note, and when the first of them expires.

The topic is read once, and later only what is new. Positions and times are kept, no contents.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException

from stream.codec.dead_letter import DeadLetter, noted
from stream.errors import DecodeError, KafkaUnavailableError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig
from stream.kafka.metadata import Group
from stream.kafka.reader import partition_of, read_chunks, read_record
from stream.record import Partition, Record

READ_S_MAX = 5.0
"""Time limit of one measurement; the next one continues."""
OPEN_MAX = 100_000
"""Positions kept per topic: the oldest, which expire first. Once half of them are gone, those that
were left out are read."""


@dataclass(frozen=True, slots=True)
class OpenLetters:
    """The open letters of a topic: their number, at most ``OPEN_MAX``, the time of the oldest
    (Unix milliseconds; None if there is none), and the topic's retention (None if unknown,
    negative without a limit).
    """

    count: int
    oldest_ms: int | None
    retention_ms: int | None


@dataclass(slots=True)
class LetterIndex:
    """Positions of one topic's open letters, with the times of their records. Pure."""

    destination: str
    open: dict[str, int] = field(default_factory=dict)
    _left_out: dict[int, int] = field(default_factory=dict)

    def to_read_again(self) -> dict[int, int]:
        """Return by partition where letters were left out, once there is room for them."""
        if len(self.open) > OPEN_MAX // 2:
            return {}
        found, self._left_out = self._left_out, {}
        return found

    def add(self, record: Record) -> None:
        """Take a letter or a note; both are in the order of their partition."""
        place = noted(record)
        if place is not None:
            self.open.pop(place, None)
        elif not self._is_ours(record):
            pass
        elif len(self.open) < OPEN_MAX:
            self.open[f"{record.partition.number}-{record.offset}"] = record.timestamp_ms
        else:
            self._left_out.setdefault(record.partition.number, record.offset)

    def forget_before(self, begins: dict[int, int]) -> None:
        """Forget the letters that retention has deleted."""
        for place in tuple(self.open):
            number, _, offset = place.partition("-")
            if int(offset) < begins.get(int(number), 0):
                del self.open[place]

    def _is_ours(self, record: Record) -> bool:
        try:
            letter = DeadLetter.from_headers(record.key, record.value, record.headers)
        except DecodeError:
            return False
        return letter.destination == self.destination


class LetterMeter:
    """Measures repeatedly. Every method may block; use it from one thread at a time."""

    def __init__(self, config: KafkaConfig, group: Group) -> None:
        """The owner of ``group`` closes it, and refreshes its credentials."""
        self._group = group
        self._reader = Consumer(
            {**settings.reader(config), "client.id": "letters", "queued.max.messages.kbytes": 8192}
        )
        self._credentials = CredentialRefresher(config)
        topics = (config.dead_letter_topic, config.parked_topic)
        self._indexes = {topic: LetterIndex(config.topic) for topic in topics}
        self._positions: dict[Partition, int] = {}

    def measure(self) -> dict[str, OpenLetters]:
        """Return the open letters by topic, without topics that are not read to their end yet.

        Raises:
            KafkaUnavailableError: Kafka did not respond, or a right is missing.
        """
        self._credentials.refresh((self._reader,))
        try:
            return {topic: found for topic in self._indexes if (found := self._measure(topic))}
        except KafkaException as error:
            raise KafkaUnavailableError(error.args[0].str()) from error

    def _measure(self, topic: str) -> OpenLetters | None:
        numbers = self._group.partitions(topic)
        if not numbers:
            return None
        begins = self._group.ends(topic, numbers, earliest=True)
        ends = self._group.ends(topic, numbers, stable=True)
        read = {number: self._positions.get(Partition(topic, number), 0) for number in numbers}
        index = self._indexes[topic]
        if any(read[number] > ends[number] for number in numbers):  # a new topic of this name
            index = self._indexes[topic] = LetterIndex(index.destination)
            read = dict.fromkeys(numbers, 0)
        for number, offset in index.to_read_again().items():
            read[number] = min(read[number], offset)
        index.forget_before(begins)
        left = {}
        for number in numbers:
            position = max(read[number], begins[number])
            self._positions[Partition(topic, number)] = position
            if position < ends[number]:
                left[number] = ends[number]
        if left and not self._read(index, topic, left):
            return None
        retention = int(self._group.topic_config(topic).get("retention.ms", -1))
        return OpenLetters(len(index.open), min(index.open.values(), default=None), retention)

    def _read(self, index: LetterIndex, topic: str, ends: Mapping[int, int]) -> bool:
        """Read up to the ends; return whether all of it was read in time."""
        begins = {number: self._positions[Partition(topic, number)] for number in ends}
        deadline, unread = time.monotonic() + READ_S_MAX, set(ends)
        for chunk in read_chunks(self._reader, topic, begins, ends, exactly=True):
            for message in chunk.messages:
                partition = partition_of(message)
                record = read_record(message, partition)
                index.add(record)
                self._positions[partition] = record.offset + 1
            for number in chunk.reached:
                unread.discard(number)
                self._positions[Partition(topic, number)] = ends[number]
            if time.monotonic() > deadline:
                break
        self._reader.unassign()
        return not unread
