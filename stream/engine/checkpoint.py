"""Contents of one transaction: offsets and uncommitted changes of each partition."""

from collections import Counter, deque
from collections.abc import Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec import Struct, field

from stream.codec.dead_letter import DeadLetter
from stream.engine.lanes import PendingRequest
from stream.record import Partition
from stream.state.store import StateStore


class LedgerRecord(Struct, frozen=True, gc=False):
    """One record for the ledger; a value of None is a tombstone.

    ``remote_id`` is the id of the response or decline that a receipt stands for. It is written as a
    header, so that a restore reads it without decoding the value.
    """

    key: str
    value: bytes | None
    remote_id: int | None = None


class PartitionCheckpoint(Struct, frozen=True, kw_only=True):
    """One partition's part of a checkpoint. ``offset`` is the next one to read.

    ``settled`` counts the events that it settles by outcome and reason, ``settled_bytes`` is the
    size of their records. ``assignment_epoch`` is the epoch of the assignment that it was made
    under: it distinguishes this ownership of the partition from earlier and later ones.
    """

    assignment_epoch: int
    offset: int
    ledger: Sequence[LedgerRecord] = ()
    dead_letters: Sequence[DeadLetter] = ()
    parked: Sequence[DeadLetter] = ()
    releases: Sequence[PendingRequest] = ()
    settled: Mapping[tuple[str, str], int] = field(default_factory=Counter)
    settled_bytes: int = 0


class Checkpoint(Struct, frozen=True, kw_only=True):
    """Receipts, dead letters, parked events, intents and offsets of one moment.

    Every owned partition is included, with its unchanged offset if nothing else: the group does not
    fence a transaction without offsets.
    """

    sequence: int
    partitions: Mapping[Partition, PartitionCheckpoint]


# Offsets


class OffsetTracker:
    """Tracks the offsets of one partition from poll to settlement."""

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        """The offset after the last one that was read."""
        self._order: deque[int] = deque()
        self._times_ms: dict[int, int] = {}

    def add(self, offset: int, timestamp_ms: int) -> None:
        """Add the next offset, with its record's timestamp."""
        self.next_offset = offset + 1
        self._order.append(offset)
        self._times_ms[offset] = timestamp_ms

    def settle(self, offset: int) -> bool:
        """Settle an offset; return False if it was not pending."""
        if self._times_ms.pop(offset, None) is None:
            return False
        while self._order and self._order[0] not in self._times_ms:
            self._order.popleft()
        return True

    def advance_to(self, offset: int) -> None:
        """Record that everything before ``offset`` was read, including control records."""
        self.next_offset = max(self.next_offset, offset)

    @property
    def commit_offset(self) -> int:
        """The lowest unsettled offset."""
        return self._order[0] if self._order else self.next_offset

    @property
    def span(self) -> int:
        """Distance between the next offset to read and the offset to commit."""
        return self.next_offset - self.commit_offset

    @property
    def oldest_ms(self) -> int | None:
        """Timestamp of the oldest unsettled record in milliseconds; None if all are settled."""
        return self._times_ms[self._order[0]] if self._order else None

    def __len__(self) -> int:
        """Return the number of unsettled offsets."""
        return len(self._times_ms)


# Uncommitted changes


@dataclass(frozen=True, slots=True)
class ClaimedIds:
    """The ids named by receipts, committed or about to be."""

    state: StateStore
    uncommitted: AbstractSet[int]

    def __contains__(self, remote_id: object) -> bool:
        return isinstance(remote_id, int) and (
            remote_id in self.uncommitted or self.state.claims(remote_id)
        )


class UncommittedChanges:
    """Uncommitted changes of one partition, overlaid on its committed state.

    A change is dropped only after a transaction that contains it has committed. After an abort, the
    next checkpoint includes it again.
    """

    def __init__(self, state: StateStore) -> None:
        self.state = state
        self.dead_letters: list[DeadLetter] = []
        self.parked: list[DeadLetter] = []
        self.releases: list[PendingRequest] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self._ledger: dict[str, LedgerRecord] = {}
        self._claims: set[int] = set()
        self._events = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self._ledger or self.counts or self.releases or self.dead_letters or self.parked
        )

    @property
    def events(self) -> int:
        """Number of events that are settled here and in no committed transaction."""
        return self._events

    def get(self, key: str) -> bytes | None:
        """Return the value that a key will have after the next commit."""
        uncommitted = self._ledger.get(key)
        return self.state.get(key) if uncommitted is None else uncommitted.value

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Add a ledger record to the next transaction; None is a tombstone."""
        self._ledger[key] = LedgerRecord(key, value, remote_id)
        if remote_id is not None:
            self._claims.add(remote_id)

    def count(self, outcome: str, reason: str, size: int) -> None:
        """Count one settled event; ``size`` is the size of its record in bytes."""
        self.counts[outcome, reason] += 1
        self._events += 1
        self._bytes += size

    def claimed_ids(self) -> Container[int]:
        """Return the ids of responses and declines named by receipts. Supports ``in`` only."""
        return ClaimedIds(self.state, self._claims)

    def checkpoint(self, offset: int, assignment_epoch: int) -> PartitionCheckpoint:
        """Return all uncommitted changes, with the offset to commit."""
        return PartitionCheckpoint(
            assignment_epoch=assignment_epoch,
            offset=offset,
            ledger=tuple(self._ledger.values()),
            dead_letters=tuple(self.dead_letters),
            parked=tuple(self.parked),
            releases=tuple(self.releases),
            settled=self.counts.copy(),
            settled_bytes=self._bytes,
        )

    def on_committed(self, checkpoint: PartitionCheckpoint, covered: int | None = None) -> None:
        """Move the changes in ``checkpoint`` to the committed state; later changes stay.

        ``covered`` is a lower bound of the ledger's end offset at that commit.
        """
        for record in checkpoint.ledger:
            self.state.put(record.key, record.value, record.remote_id)
            if self._ledger.get(record.key) is record:
                del self._ledger[record.key]
                self._claims.discard(record.remote_id)
        self.state.save(covered)
        del self.dead_letters[: len(checkpoint.dead_letters)]
        del self.parked[: len(checkpoint.parked)]
        del self.releases[: len(checkpoint.releases)]
        self.counts -= Counter(checkpoint.settled)
        self._events -= sum(checkpoint.settled.values())
        self._bytes -= checkpoint.settled_bytes
