"""What a message of the client is as a record; the one place that knows its ways."""

from typing import Any

from stream.record import Partition, Record


def partition_of(message: Any) -> Partition:
    """Return the partition that a message lies in."""
    return Partition(message.topic(), message.partition())


def read_record(message: Any, partition: Partition | None = None) -> Record:
    """Return the record that a message is; ``partition`` is its own, for who has it already."""
    return Record(
        partition=partition or partition_of(message),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
    )


def headers_of(message: Any) -> tuple[tuple[str, bytes | None], ...]:
    """Return a message's headers; none of them where the name of one is no UTF-8.

    Then the client raises, and returns a broken list when it is asked again (measured,
    confluent-kafka 2.16.1). Kafka itself takes any bytes for a name.
    """
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return ()
    return tuple(headers) if headers else ()
