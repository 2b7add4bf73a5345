"""Putting records where an operator wants them: each into the partition that it names."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaException, Producer

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.record import Record

SAY_EVERY_S = 2.0
FLUSH_S = 60


def _silent(_: str) -> None:
    """Say nothing."""


class Sender:
    """Produces records in their order, at most ``rate`` a second over all calls."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        rate: float | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.taken = 0
        """How many the brokers have."""
        self._producer = Producer(settings.plain_producer(config))
        self._rate = rate
        self._say = say
        self._failures: list[str] = []
        self._sent = 0
        self._began_at = self._said_at = time.monotonic()

    def send(self, topic: str, records: Iterable[Record]) -> None:
        """Return once the brokers have all of these records.

        Raises:
            StartupError: they did not take them; the message says how many they took.
        """
        for record in records:
            self._keep_pace()
            self._produce(topic, record)
            self._sent += 1
            if self._failures:
                break
        left = self._producer.flush(FLUSH_S)
        if self._failures or left:
            why = self._failures[0] if self._failures else f"no answer in {FLUSH_S} s"
            text = f"Kafka took {self.taken} records for {topic}, and then no more: {why}"
            raise StartupError(text, exit_code=69)

    def _keep_pace(self) -> None:
        """Wait until the next record is due, and say how far it is."""
        due_at = self._began_at + self._sent / self._rate if self._rate else 0.0
        while (left_s := due_at - time.monotonic()) > 0:
            self._producer.poll(min(left_s, 0.1))
        if time.monotonic() - self._said_at > SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._say(f"{self.taken} sent")

    def _delivered(self, error: object, _: object) -> None:
        if error is None:
            self.taken += 1
        else:
            self._failures.append(str(error))

    def _produce(self, topic: str, record: Record) -> None:
        while True:
            try:
                self._producer.produce(
                    topic,
                    partition=record.partition.number,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise StartupError(
                    f"Kafka does not take a record for partition {record.partition.number} of "
                    f"{topic}: {error.args[0].str()}",
                    exit_code=69,
                ) from error
            else:
                self._producer.poll(0)
                return
