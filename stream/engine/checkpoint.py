"""What one transaction commits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stream.codec.dead_letter import DeadLetter
from stream.engine.lanes import Work
from stream.record import Partition


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One record for the ledger; a value of None is a tombstone.

    ``remote_id`` names the response or decline that a receipt stands for; it travels in
    a header, so that a restore learns it without decoding the value.
    """

    key: str
    value: bytes | None
    remote_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A partition's part of a checkpoint. ``offset`` is the next one to read.

    ``settled`` counts the events that it settles, ``settled_bytes`` are those of their records.
    ``opening`` is the number of the assignment that it speaks for: it tells this ownership
    of the partition from earlier and later ones.
    """

    opening: int
    offset: int
    ledger: Sequence[LedgerRecord] = ()
    dead_letters: Sequence[DeadLetter] = ()
    parked: Sequence[DeadLetter] = ()
    releases: Sequence[Work] = ()
    settled: Mapping[tuple[str, str], int] = field(default_factory=Counter)
    settled_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Receipts, dead letters, parked events, intents and offsets of one moment.

    Every owned partition has a share, if only its unchanged offset: a transaction
    without offsets is not fenced by the group.
    """

    sequence: int
    shares: Mapping[Partition, Share]
