"""What a message of the client is as a record; the one place that knows its ways."""

from typing import Any

from stream.record import Partition, Record


def read_record(message: Any) -> Record:
    """Return the record that a message is."""
    return Record(
        partition=Partition(message.topic(), message.partition()),
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
