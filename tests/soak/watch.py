"""What is watched while a soak runs: memory, and what a reader of committed records sees."""

import statistics
import threading
import time
from collections.abc import Sequence
from typing import TypeAlias

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig

Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""


class Memory:
    """The resident memory of a worker over the time; of its longest life, if it has several."""

    def __init__(self) -> None:
        self._lives: dict[int, list[tuple[float, float]]] = {}

    def sample(self, pid: int) -> float:
        """Take a sample of a process that runs; return it, in MB."""
        megabytes = psutil.Process(pid).memory_info().rss / 1e6
        self._lives.setdefault(pid, []).append((time.monotonic(), megabytes))
        return megabytes

    @property
    def _samples(self) -> list[tuple[float, float]]:
        return max(self._lives.values(), key=lambda life: life[-1][0] - life[0][0])

    def slope(self, warm_up_s: float) -> float:
        """Return the growth in MB a minute, by least squares, leaving out the first seconds."""
        since = self._samples[0][0] + warm_up_s
        return growth([(at, size) for at, size in self._samples if at >= since])

    @property
    def span_s(self) -> float:
        """Seconds between the first and the last sample of the longest life."""
        return self._samples[-1][0] - self._samples[0][0]

    @property
    def watched_s(self) -> float:
        """Seconds between the first and the last sample of all lives."""
        times = [at for life in self._lives.values() for at, _ in life]
        return max(times) - min(times)

    @property
    def peak(self) -> float:
        """The largest sample, in MB."""
        return max(size for _, size in self._samples)


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """Return the growth in MB a minute, by least squares, of samples in seconds and MB."""
    times, sizes = zip(*samples, strict=True)
    return statistics.linear_regression([at / 60 for at in times], sizes).slope


class CommittedReader(threading.Thread):
    """Reads ledger, dead letters and parked from the beginning, while the faults happen."""

    def __init__(self, config: KafkaConfig, partitions: int) -> None:
        super().__init__(name="committed-reader", daemon=True)
        self.seen: set[tuple[Place, int]] = set()
        self.twice = 0
        self._topics = (config.ledger_topic, config.dead_letter_topic, config.parked_topic)
        self._config = config
        self._partitions = partitions
        self._until: dict[tuple[str, int], int] | None = None

    def finish(self, ends: dict[tuple[str, int], int]) -> None:
        """Read up to these offsets, then end."""
        self._until = ends

    def run(self) -> None:
        """Read on until all ends are reached."""
        consumer = Consumer(settings.reader(self._config))
        places = [TopicPartition(t, n, 0) for t in self._topics for n in range(self._partitions)]
        consumer.assign(places)
        reached = {(place.topic, place.partition): 0 for place in places}
        while self._until is None or any(reached[p] < end for p, end in self._until.items()):
            for message in consumer.consume(1000, 0.2):
                at = (message.topic(), message.partition())
                if message.error() is None:
                    found = place_of(message)
                    self.twice += found in self.seen
                    self.seen.add(found)
                if message.offset() is not None and message.offset() >= 0:
                    reached[at] = max(reached[at], message.offset() + (message.error() is None))
        consumer.close()


def place_of(message: object) -> tuple[Place, int]:
    """Return where a record lies, and a hash of what it says."""
    where = (message.topic(), message.partition(), message.offset())  # type: ignore[attr-defined]
    return where, hash((message.key(), message.value()))  # type: ignore[attr-defined]


def read_all(config: KafkaConfig, topics: Sequence[str], partitions: int) -> set[tuple[Place, int]]:
    """Return what a fresh reader of committed records sees.

    Raises:
        KafkaException: a partition cannot be read.
    """
    consumer = Consumer(settings.reader(config))
    consumer.assign([TopicPartition(t, n, 0) for t in topics for n in range(partitions)])
    seen: set[tuple[Place, int]] = set()
    left = len(topics) * partitions
    while left:
        for message in consumer.consume(5000, 1.0):
            error = message.error()
            if error is None:
                seen.add(place_of(message))
            elif error.name() == "_PARTITION_EOF":
                left -= 1
            elif not error.retriable():
                raise KafkaException(error)
    consumer.close()
    return seen
