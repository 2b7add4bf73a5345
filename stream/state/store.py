"""Who opens what holds a partition's fold."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stream.state.ledger import MemoryState, State


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPart:
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


class Opened(NamedTuple):
    """A state, and the ledger's offset before which it has everything."""

    state: State
    covered: int
    warm: bool


class Keeper(Protocol):
    """Opens states, in any thread, and never fails: what is no use is replaced."""

    def open(self, part: LedgerPart) -> Opened:
        """Open what holds the fold of this partition."""


class Memory:
    """Keeps nothing."""

    def open(self, part: LedgerPart) -> Opened:
        """Return an empty state."""
        return Opened(MemoryState(), part.begin, warm=False)
