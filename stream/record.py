"""Kafka's coordinates and records, without Kafka's client."""

from dataclasses import dataclass
from typing import NamedTuple


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read; ``timestamp_ms`` is the record's own, since 1970."""

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def next_offset(self) -> int:
        """The offset to commit once this record and all before it are settled."""
        return self.offset + 1

    @property
    def size(self) -> int:
        """The bytes of its key, its value and its headers."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size
