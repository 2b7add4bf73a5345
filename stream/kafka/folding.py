"""Records of the ledger, taken over into the states of their partitions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Message

from stream.kafka.records import headers_of
from stream.state.ledger import REMOTE_ID_HEADER
from stream.state.store import RawEntry, State


def fold(
    states: Mapping[int, State], messages: Iterable[Message], counts: Counter[int]
) -> dict[int, int]:
    """Take records of the ledger over into the states of their partitions, and count them.

    Returns the offset behind the last one of each partition.
    """
    entries: dict[int, list[RawEntry]] = {number: [] for number in states}
    last: dict[int, Message] = {}
    for message in messages:
        number: Any = message.partition()
        key: Any = message.key()
        if number not in entries or key is None:
            continue
        value: Any = message.value()
        headers = headers_of(message)
        entries[number].append((key, value, _remote_id(headers) if headers else None))
        last[number] = message
    ends = {number: (message.offset() or 0) + 1 for number, message in last.items()}
    for number, end in ends.items():
        states[number].fold(entries[number], end)
        counts[number] += len(entries[number])
    return ends


def _remote_id(headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    return next((int(value or 0) for name, value in headers if name == REMOTE_ID_HEADER), None)
