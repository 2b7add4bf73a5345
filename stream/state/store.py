"""Where a partition's fold is kept: the store's protocol, the one in memory, who opens them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from stream.state.ledger import INTENT

RawEntry: TypeAlias = tuple[bytes, bytes | None, int | None]
"""A ledger record as it is read: key, value, and the id that its receipt names."""


class StateStore(Protocol):
    """Where a partition's fold is kept: in memory, or in a store on disk."""

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Take over one committed ledger record, in order; None deletes."""

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""

    def claims(self, remote_id: int) -> bool:
        """Whether a receipt names this response or decline."""

    def apply_changelog(self, entries: Sequence[RawEntry], covered: int) -> None:
        """Take over committed ledger records as they are read, in order, before the first put.

        What was folded before may come again. ``covered`` is as for ``save``.
        """

    def save(self, covered: int | None) -> None:
        """Note that what was put since the last time is committed, all of it or nothing.

        ``covered`` is the ledger's offset before which nothing is left to be taken over; None
        where nobody knows it.
        """

    def trim(self, begin: int) -> None:
        """Note that the ledger has nothing before this offset any more: nor need the state."""

    def close(self) -> None:
        """Let go of what is held outside of memory. Nothing is put after this."""

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""

    @property
    def unwritten(self) -> int:
        """How many keys a disk has refused and memory holds instead."""

    def __len__(self) -> int:
        """Return the number of keys that are held, about."""


class InMemoryStateStore:
    """A fold held in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._claimed: set[int] = set()

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Take over one committed ledger record, in order; None deletes."""
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
        """Whether a receipt names this response or decline."""
        return remote_id in self._claimed

    def apply_changelog(self, entries: Sequence[RawEntry], covered: int) -> None:  # noqa: ARG002
        """Take over committed ledger records as they are read, in order."""
        for key, value, remote_id in entries:
            self.put(key.decode(), value, remote_id)

    def save(self, covered: int | None) -> None:
        """Do nothing: memory is gone with its worker, and nobody asks how far it reached."""

    def trim(self, begin: int) -> None:
        """Do nothing: memory is emptied by the next restore."""

    def close(self) -> None:
        """Do nothing."""

    @property
    def disk_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    @property
    def unwritten(self) -> int:
        """Nothing is refused."""
        return 0

    def __len__(self) -> int:
        """Return the number of keys that are held."""
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPartitionInfo:
    """One partition of the ledger as it is at the moment of its restore.

    ``begin`` and ``end`` are offsets, open transactions included. A tombstone is kept for
    ``tombstones_kept_s`` at the least after what it deletes is gone, anything for ``kept_s``.
    """

    cluster_id: str
    topic_id: str
    number: int
    begin: int
    end: int
    tombstones_kept_s: float
    kept_s: float


class OpenedStore(NamedTuple):
    """A state, and the ledger's offset before which it has everything."""

    state: StateStore
    covered: int
    warm: bool


class StateStoreProvider(Protocol):
    """Opens states, in any thread, and never fails: what is no use is replaced."""

    def open(self, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        """Open what holds the fold of this partition."""


class InMemoryProvider:
    """Keeps nothing."""

    def open(self, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        """Return an empty state."""
        return OpenedStore(InMemoryStateStore(), ledger_partition.begin, warm=False)
