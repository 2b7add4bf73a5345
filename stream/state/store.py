"""State store protocol, the in-memory store, and providers that open stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from stream.state.ledger import INTENT

RawEntry: TypeAlias = tuple[bytes, bytes | None, int | None]
"""A ledger record as read: key, value, and the id named by its receipt."""


class StateStore(Protocol):
    """State of one partition, in memory or on disk."""

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Apply one committed ledger record, in order; None deletes."""

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""

    def claims(self, remote_id: int) -> bool:
        """Return whether a receipt names this response or decline."""

    def apply_changelog(self, entries: Sequence[RawEntry], covered: int) -> None:
        """Apply committed ledger records as they are read, in order, before the first ``put``.

        Records that were applied before may be read again. ``covered`` is as for ``save``.
        """

    def save(self, covered: int | None) -> None:
        """Mark what was put since the last call as committed, atomically.

        ``covered`` is the ledger offset before which nothing is left to apply; None if unknown.
        """

    def trim(self, begin: int) -> None:
        """Note that the ledger has expired before this offset; the state may drop it too."""

    def close(self) -> None:
        """Release resources outside of memory. ``put`` is not called after this."""

    @property
    def disk_bytes(self) -> int:
        """Size on disk in bytes."""

    def __len__(self) -> int:
        """Return the approximate number of keys."""


class InMemoryStateStore:
    """A state store in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._claimed: set[int] = set()

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Apply one committed ledger record, in order; None deletes."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        if remote_id is not None:
            self._claimed.add(remote_id)

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""
        return {
            key.removeprefix(INTENT): value
            for key, value in self._values.items()
            if key.startswith(INTENT)
        }

    def claims(self, remote_id: int) -> bool:
        """Return whether a receipt names this response or decline."""
        return remote_id in self._claimed

    def apply_changelog(self, entries: Sequence[RawEntry], covered: int) -> None:  # noqa: ARG002
        """Apply committed ledger records as they are read, in order."""
        for key, value, remote_id in entries:
            self.put(key.decode(), value, remote_id)

    def save(self, covered: int | None) -> None:
        """Do nothing: the state is lost with its worker."""

    def trim(self, begin: int) -> None:
        """Do nothing: the next restore starts with an empty state."""

    def close(self) -> None:
        """Do nothing."""

    @property
    def disk_bytes(self) -> int:
        """Always 0."""
        return 0

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPartitionInfo:
    """A ledger partition at the time of its restore.

    ``begin`` and ``end`` are offsets, including open transactions. A tombstone is kept for at least
    ``tombstones_kept_s`` after the deleted record is gone, every record for ``kept_s``.
    """

    cluster_id: str
    topic_id: str
    number: int
    begin: int
    end: int
    tombstones_kept_s: float
    kept_s: float


class OpenedStore(NamedTuple):
    """A store, and the ledger offset before which it is complete."""

    state: StateStore
    covered: int
    warm: bool


class StateStoreProvider(Protocol):
    """Opens stores on any thread. Never fails: unusable stores are replaced."""

    def open(self, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        """Open the store of this partition."""


class InMemoryProvider:
    """Opens empty in-memory stores."""

    def open(self, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        """Return an empty store."""
        return OpenedStore(InMemoryStateStore(), ledger_partition.begin, warm=False)
