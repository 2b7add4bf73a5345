"""Publishing Segment JSON to the input topic."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaException, Producer

from stream.codec.json_text import parse
from stream.codec.segment import SEGMENT_EVENT, encode_event, event_from_parsed, event_key
from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig

SAY_EVERY_S = 1.0
FLUSH_S = 60


@dataclass(slots=True)
class Report:
    """How many lines were published, how many were not JSON, and the first of those."""

    published: int = 0
    broken: int = 0
    first_broken: int | None = None


def record_of(line: bytes, header: bytes = SEGMENT_EVENT.header) -> tuple[bytes | None, bytes]:
    """Return key and value of a line. What is JSON and no object goes as it is: it becomes a
    dead letter with its own bytes.

    Raises:
        ValueError: the line is not JSON.
    """
    document = parse(line)
    if not isinstance(document, dict):
        return None, line
    event = event_from_parsed(document)
    return event_key(event), encode_event(event, header)


def publish(
    config: KafkaConfig,
    lines: Iterable[bytes],
    *,
    header: bytes = SEGMENT_EVENT.header,
    say: Callable[[str], None],
) -> Report:
    """Publish every line that is JSON, each event's value in the framing of the header; return
    once the brokers have them all.

    Raises:
        StartupError: Kafka did not take them.
    """
    producer = Producer(settings.plain_producer(config))
    report = Report()
    failures: list[str] = []
    said_at = time.monotonic()

    def delivered(error: object, _: object) -> None:
        if error is None:
            report.published += 1
        else:
            failures.append(str(error))

    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if not line:
            continue
        try:
            key, value = record_of(line, header)
        except ValueError:
            report.broken += 1
            report.first_broken = report.first_broken or number
            continue
        _produce(producer, config.topic, key, value, delivered)
        if time.monotonic() - said_at > SAY_EVERY_S:
            said_at = time.monotonic()
            say(f"{report.published} published")
        if failures:
            break
    left = producer.flush(FLUSH_S)
    if failures or left:
        why = failures[0] if failures else f"{left} records were not acknowledged in {FLUSH_S} s"
        raise StartupError(f"Kafka did not take the events: {why}", exit_code=69)
    return report


def _produce(
    producer: Producer,
    topic: str,
    key: bytes | None,
    value: bytes,
    delivered: Callable[[object, object], None],
) -> None:
    while True:
        try:
            producer.produce(topic, key=key, value=value, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        except KafkaException as error:
            raise StartupError(
                f"Kafka did not take an event: {error.args[0].str()}", exit_code=69
            ) from error
        else:
            producer.poll(0)
            return
