"""Partitions, records, and what a transform makes of them, independent of the Kafka client."""

from typing import NamedTuple, TypeAlias

from msgspec import Struct

from sink.delivery import Operation


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


class Record(Struct, frozen=True, gc=False):
    """One consumed record; ``timestamp_ms`` is the record's timestamp in Unix milliseconds."""

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def next_offset(self) -> int:
        """The offset to commit when this record and all before it are settled."""
        return self.offset + 1

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size


class Deliver(Struct, frozen=True, kw_only=True, gc=False):
    """An operation to deliver.

    Operations of one ``lane`` (one end user) keep the order of their events. ``notes`` names, for
    metrics, what was left out without rejecting the event.
    """

    operation: Operation
    lane: str
    notes: tuple[str, ...] = ()


class Skip(Struct, frozen=True, gc=False):
    """The event needs no operation; ``reason`` is from a bounded set, ``notes`` are as there."""

    reason: str
    notes: tuple[str, ...] = ()


TransformResult: TypeAlias = Deliver | Skip
