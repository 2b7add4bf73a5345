"""Producers without transactions: in bulk with back-pressure, or each record acknowledged."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, assert_never

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.codec.dead_letter import DeadLetter
from stream.codec.event import SEGMENT_EVENT, encode_event, event_from_parsed, event_key
from stream.codec.json_text import Broken, BrokenValues, Document, parse, read_documents
from stream.errors import KafkaUnavailableError, StartupError, StreamError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig, log_client_error
from stream.record import Record

PROGRESS_EVERY_S = 1.0
FLUSH_S = 60


@dataclass(slots=True)
class PublishResult:
    """Number of published events, and the values that are not JSON."""

    published: int = 0
    broken: BrokenValues = field(default_factory=BrokenValues)


def record_of(text: bytes, header: bytes = SEGMENT_EVENT.header) -> tuple[bytes | None, bytes]:
    """Return the key and value of an event's JSON text.

    JSON that is not an object is published unchanged: it becomes a dead letter with its own bytes.

    Raises:
        ValueError: the text is not JSON.
    """
    return _encoded(parse(text), text, header)


def _encoded(value: Any, text: bytes, header: bytes) -> tuple[bytes | None, bytes]:
    if not isinstance(value, dict):
        return None, text
    event = event_from_parsed(value)
    return event_key(event), encode_event(event, header)


def check(parts: Iterable[bytes], *, on_progress: Callable[[str], None]) -> PublishResult:
    """Return what ``publish`` would find that is not JSON; publish nothing."""
    result, clock = PublishResult(), _Progress(on_progress)
    for count, found in enumerate(read_documents(parts), start=1):
        if isinstance(found, Broken):
            result.broken.add(found.line)
        clock.report(f"{count} checked")
    return result


def publish(
    config: KafkaConfig,
    parts: Iterable[bytes],
    *,
    header: bytes = SEGMENT_EVENT.header,
    on_progress: Callable[[str], None],
) -> PublishResult:
    """Publish every JSON value of a text; return once the brokers have acknowledged all of them.

    ``parts`` are those of ``stream.codec.json_text.read_documents``. ``header`` selects the
    framing of the values.

    Raises:
        StartupError: Kafka did not accept them.
    """
    producer = Producer(settings.plain_producer(config))
    result, clock = PublishResult(), _Progress(on_progress)
    failures: list[str] = []

    def on_delivery(error: object, _: object) -> None:
        if error is None:
            result.published += 1
        else:
            failures.append(str(error))

    for found in read_documents(parts):
        match found:
            case Broken(line):
                result.broken.add(line)
            case Document(_, text, value):
                key, encoded = _encoded(value, text, header)
                with _startup_error("an event"):
                    produce_blocking(
                        producer,
                        topic=config.topic,
                        key=key,
                        value=encoded,
                        on_delivery=on_delivery,
                    )
                producer.poll(0)
            case _:
                assert_never(found)
        clock.report(f"{result.published} published")
        if failures:
            break
    remaining = producer.flush(FLUSH_S)
    if failures or remaining:
        reason = (
            failures[0] if failures else f"{remaining} records were not acknowledged in {FLUSH_S} s"
        )
        raise StartupError(f"Kafka did not accept the events: {reason}", exit_code=69)
    return result


class _Progress:
    """Reports at most once in ``PROGRESS_EVERY_S``."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported_at = time.monotonic()

    def report(self, text: str) -> None:
        """Report, unless the last report was just now."""
        if time.monotonic() - self._reported_at > PROGRESS_EVERY_S:
            self._reported_at = time.monotonic()
            self._report(text)


@contextmanager
def _startup_error(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        text = f"Kafka did not accept {what}: {error.args[0].str()}"
        raise StartupError(text, exit_code=69) from error


def produce_blocking(producer: Producer, **record: Any) -> None:
    """Produce a record; poll while the client's queue is full.

    Raises:
        KafkaException: the client refuses it.
    """
    while True:
        try:
            producer.produce(**record)
        except BufferError:
            producer.poll(0.1)
        else:
            return


# Bulk production for operator commands: each record to the partition that it names


BULK_PROGRESS_EVERY_S = 2.0


def _ignore_progress(_: str) -> None:
    """Report nothing."""


class BulkProducer:
    """Produces records in order, at most ``rate`` per second over all calls."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        rate: float | None = None,
        on_progress: Callable[[str], None] = _ignore_progress,
    ) -> None:
        self.acknowledged = 0
        """Number of records that the brokers have acknowledged."""
        self._producer = Producer(settings.plain_producer(config))
        self._rate = rate
        self._on_progress = on_progress
        self._failures: list[str] = []
        self._sent = 0
        self._started_at = self._reported_at = time.monotonic()

    def send(self, topic: str, records: Iterable[Record]) -> None:
        """Produce records to the partitions they name; return once all are acknowledged.

        Raises:
            StartupError: Kafka rejected some; the message states how many it accepted.
        """
        for record in records:
            self._wait_for_rate()
            with _startup_error(f"a record for partition {record.partition.number} of {topic}"):
                produce_blocking(
                    self._producer,
                    topic=topic,
                    partition=record.partition.number,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=self._on_delivery,
                )
            self._producer.poll(0)
            self._sent += 1
            if self._failures:
                break
        remaining = self._producer.flush(FLUSH_S)
        if self._failures or remaining:
            reason = self._failures[0] if self._failures else f"no response in {FLUSH_S} s"
            text = (
                f"Kafka accepted {self.acknowledged} records for {topic} and then failed: {reason}"
            )
            raise StartupError(text, exit_code=69)

    def _wait_for_rate(self) -> None:
        """Wait until the next record is due, and report progress."""
        due_at = self._started_at + self._sent / self._rate if self._rate else 0.0
        while (left_s := due_at - time.monotonic()) > 0:
            self._producer.poll(min(left_s, 0.1))
        if time.monotonic() - self._reported_at > BULK_PROGRESS_EVERY_S:
            self._reported_at = time.monotonic()
            self._on_progress(f"{self.acknowledged} sent")

    def _on_delivery(self, error: object, _: object) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failures.append(str(error))


# Acknowledged production (``acks=all``).
#
# The client's callbacks run on a separate thread. The event loop is notified once per group of
# records instead of once per record, and never waits for Kafka.


log = structlog.get_logger()

POLL_S = 0.1
CLOSE_S = 5.0


class NotAcknowledgedError(StreamError):
    """Kafka did not acknowledge all records in time; some may have been written.

    ``error`` is librdkafka's error name or ``_AWAY``: from a fixed set.
    """

    def __init__(self, error: str) -> None:
        super().__init__(f"Kafka did not acknowledge the records: {error}")
        self.error = error


class _Group:
    """Records that are acknowledged together; the future's result is the name of the first error.

    Callbacks run on the polling thread only.
    """

    __slots__ = ("error", "future", "remaining")

    def __init__(self, count: int, future: "asyncio.Future[str]") -> None:
        self.remaining = count
        self.error = ""
        self.future = future


class AsyncProducer:
    """An idempotent producer for the event loop on which it is created.

    While Kafka does not respond, one group of records at a time is tried and all others are
    rejected immediately: nothing piles up. ``on_failure`` is called on the loop when the producer
    cannot recover.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        record_bytes_max: int,
        ack_timeout_s: float,
        on_failure: Callable[[KafkaUnavailableError], None],
    ) -> None:
        self.polled_at = time.monotonic()
        self.unavailable = False
        """Whether the last finished group was not acknowledged."""
        self._topic = config.topic
        self._dead_letter_topic = config.dead_letter_topic
        self._ack_timeout_s = ack_timeout_s
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._finished: list[_Group] = []
        self._closed = threading.Event()
        producer_config = settings.acknowledged_producer(
            config, record_bytes_max=record_bytes_max, ack_timeout_s=ack_timeout_s
        )
        self._producer = Producer({**producer_config, "error_cb": self._on_error})
        self._credentials = CredentialRefresher(config)
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()

    async def send(self, records: Sequence[tuple[bytes | None, bytes] | DeadLetter]) -> None:
        """Return once every record is acknowledged: keys and values for the input, dead letters.

        Records of one key are written in this order.

        Raises:
            NotAcknowledgedError: some were not acknowledged in time. The others stay written.
        """
        if self.unavailable and self._waiting:
            raise NotAcknowledgedError("_AWAY")
        self._waiting += 1
        try:
            error = await self._acknowledged(records)
        finally:
            self._waiting -= 1
        self._update_availability(error)
        if error:
            raise NotAcknowledgedError(error)

    def _update_availability(self, error: str) -> None:
        if error and not self.unavailable:
            log.warning("kafka_unavailable", error=error)
        elif self.unavailable and not error:
            log.info("kafka_recovered")
        self.unavailable = bool(error)

    async def _acknowledged(
        self, records: Sequence[tuple[bytes | None, bytes] | DeadLetter]
    ) -> str:
        group = _Group(len(records), self._loop.create_future())

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            group.remaining -= 1
            if error is not None:
                group.error = group.error or error.name()
            if group.remaining == 0:
                self._finished.append(group)

        try:
            for record in records:
                self._produce(record, on_delivery)
            async with asyncio.timeout(self._ack_timeout_s):
                return await group.future
        except BufferError:
            return "_QUEUE_FULL"
        except KafkaException as error:
            return str(error.args[0].name())
        except TimeoutError:
            return "_TIMED_OUT"

    def _produce(
        self,
        record: tuple[bytes | None, bytes] | DeadLetter,
        on_delivery: Callable[[KafkaError | None, Message], None],
    ) -> None:
        if isinstance(record, DeadLetter):
            self._producer.produce(
                self._dead_letter_topic,
                record.value,
                record.record_key,
                headers=list(record.headers()),
                on_delivery=on_delivery,
            )
        else:
            key, value = record
            self._producer.produce(self._topic, value, key, on_delivery=on_delivery)

    async def close(self) -> None:
        """Close the client. Call it when no ``send`` is pending."""
        self._closed.set()
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    # On the polling thread

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(POLL_S)
            self.polled_at = time.monotonic()
            self._credentials.refresh((self._producer,))
            if self._finished:
                self._loop.call_soon_threadsafe(_resolve, tuple(self._finished))
                self._finished.clear()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            failure = KafkaUnavailableError(f"the producer cannot recover: {error.str()}")
            self._loop.call_soon_threadsafe(self._on_failure, failure)
        else:
            log_client_error(error)


def _resolve(groups: Sequence[_Group]) -> None:
    for group in groups:
        if not group.future.done():
            group.future.set_result(group.error)
