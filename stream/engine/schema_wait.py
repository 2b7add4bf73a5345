"""Messages that wait for a schema, by partition: nothing of a partition overtakes them.

Ends of partitions wait in their place as well: one that went ahead would let the watermark
pass what is held.
"""

from collections.abc import Callable
from typing import Any

from stream.record import Partition

MissingSchema = Callable[[bytes | None], int | None]
"""Gives the id of the schema that a value waits for, None if it waits for nothing."""


class SchemaWaitQueue:
    """What was read and can not be judged yet; messages are as the client gave them."""

    def __init__(self, missing: MissingSchema | None) -> None:
        self._missing = missing
        self._held: dict[Partition, list[Any]] = {}
        self._first: dict[Partition, int] = {}

    def __len__(self) -> int:
        """Return how many messages are held."""
        return sum(map(len, self._held.values()))

    def __contains__(self, partition: Partition) -> bool:
        """Whether a partition waits."""
        return partition in self._held

    @property
    def waiting(self) -> dict[Partition, int]:
        """The partitions that wait, each with the id of the schema that is the first it needs."""
        return dict(self._first)

    def add(self, partition: Partition, message: Any) -> bool:
        """Take a message over if it has to wait, or comes after one that does.

        Every id is asked for at once, so that many of them are waited for no longer than one.
        """
        if self._missing is None:
            return False
        schema_id = None if message.error() is not None else self._missing(message.value())
        held = self._held.get(partition)
        if held is not None:
            held.append(message)
        elif schema_id is not None:
            self._held[partition] = [message]
            self._first[partition] = schema_id
        else:
            return False
        return True

    def release(self, partition: Partition) -> list[Any]:
        """Return what a partition held, in order; nothing if its first message still waits."""
        held = self._held.get(partition, [])
        if self._missing is None or not held or self._missing(held[0].value()) is not None:
            return []
        return self.drop(partition)

    def drop(self, partition: Partition) -> list[Any]:
        """Forget a partition; return what it held."""
        self._first.pop(partition, None)
        return self._held.pop(partition, [])
