"""The demo's events on their way into Kafka, and where each of them came to lie."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from threading import Event

import orjson
from confluent_kafka import Message, Producer

from stream.devtools.traffic import Sample
from stream.errors import StartupError
from stream.kafka.config import KafkaConfig, plain_producer
from stream.kafka.producer import record_of
from stream.record import Partition, Record

RATE = 2_000
"""Events per second where the demo has a length: a rate that the service can follow."""

CHUNK = 100
FLUSH_S_MAX = 60
PAUSE_S = 0.02


class Publisher:
    """Publishes samples from a thread of its own; others may look at it meanwhile."""

    def __init__(
        self,
        config: KafkaConfig,
        samples: Iterator[Sample],
        *,
        events: int,
        seconds: float | None,
    ) -> None:
        self.records: list[Record] = []
        """What Kafka has, in the order of the acknowledgements."""
        self.count = 0
        self.limit = 0
        """How many events may be published by now, where there is no length."""
        self._topic = config.topic
        self._producer = Producer(plain_producer(config))
        self._samples = samples
        self._events = events
        self._seconds = seconds
        self._stopped = Event()
        self._failure = ""

    def stop(self) -> None:
        """Let the thread end soon, whatever is left to publish."""
        self._stopped.set()

    def run(self) -> None:
        """Publish until the samples, or the seconds, are over.

        Raises:
            StartupError: Kafka did not take them all.
        """
        began = time.monotonic()
        while not self._stopped.is_set() and not self._over(began):
            if not self._may_publish(began):
                self._producer.poll(PAUSE_S)
                continue
            for sample in islice(self._samples, CHUNK):
                self._publish(sample)
            self._producer.poll(0)
        if self._stopped.is_set():
            return
        left = self._producer.flush(FLUSH_S_MAX)
        if left or self._failure:
            why = self._failure or f"{left} were not acknowledged in {FLUSH_S_MAX} s"
            raise StartupError(f"Kafka did not take the events: {why}", exit_code=69)

    def _over(self, began: float) -> bool:
        if self._seconds is None:
            return self.count >= self._events
        return time.monotonic() - began > self._seconds

    def _may_publish(self, began: float) -> bool:
        if self._seconds is None:
            return self.count < self.limit
        return self.count < RATE * (time.monotonic() - began)

    def _publish(self, sample: Sample) -> None:
        key: bytes | None = None
        value = sample.value
        if isinstance(value, dict):
            key, value = record_of(orjson.dumps(value))
        acknowledged = partial(self._acknowledged, key, value)
        while not self._stopped.is_set():
            try:
                self._producer.produce(self._topic, key=key, value=value, on_delivery=acknowledged)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.count += 1
                return

    def _acknowledged(
        self, key: bytes | None, value: bytes | None, error: object, message: Message
    ) -> None:
        number, offset = message.partition(), message.offset()
        if error is not None or number is None or offset is None:
            self._failure = str(error)
            return
        _, timestamp_ms = message.timestamp()
        self.records.append(
            Record(Partition(self._topic, number), offset, timestamp_ms, key, value)
        )
