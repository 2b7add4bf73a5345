"""Messages that wait for a schema, by partition; later messages of the partition wait too.

Partition ends are queued as well: one that overtook them would let the commit offset pass the
waiting messages.
"""

from collections.abc import Callable
from typing import Any

from stream.record import Partition

MissingSchema = Callable[[bytes | None], int | None]
"""Returns the id of the schema that a value waits for, or None."""


class SchemaWaitQueue:
    """Messages, as the client returned them, that cannot be prepared yet."""

    def __init__(self, missing: MissingSchema | None) -> None:
        self._missing = missing
        self._held: dict[Partition, list[Any]] = {}
        self._first: dict[Partition, int] = {}

    def __len__(self) -> int:
        """Return the number of waiting messages."""
        return sum(map(len, self._held.values()))

    def __contains__(self, partition: Partition) -> bool:
        """Return whether a partition waits."""
        return partition in self._held

    @property
    def waiting(self) -> dict[Partition, int]:
        """The waiting partitions, each with the id of the first schema it needs."""
        return dict(self._first)

    def add(self, partition: Partition, message: Any) -> bool:
        """Queue a message if it has to wait or follows one that does; return whether it was queued.

        Every schema id is requested as soon as it is seen: a hundred take no longer than one.
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
        """Remove and return a partition's messages in order; empty if the first still waits."""
        held = self._held.get(partition, [])
        if self._missing is None or not held or self._missing(held[0].value()) is not None:
            return []
        return self.drop(partition)

    def drop(self, partition: Partition) -> list[Any]:
        """Remove a partition and return its messages."""
        self._first.pop(partition, None)
        return self._held.pop(partition, [])
