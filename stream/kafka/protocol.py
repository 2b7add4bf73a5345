"""What the member's thread and the event loop tell each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stream.engine.checkpoint import Checkpoint
from stream.engine.task_manager import HaltReason
from stream.record import Partition
from stream.state.store import StateStore

# To the loop


@dataclass(frozen=True, slots=True)
class Joined:
    """The group has given this member its first assignment, perhaps an empty one."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """These partitions are ours, and are restored before anything of them is read.

    ``number`` tells this assignment from earlier ones of the same partitions.
    """

    partitions: Sequence[Partition]
    assignment_epoch: int


@dataclass(frozen=True, slots=True)
class PartitionCountKnown:
    """The input has so many partitions, ours and others'; told after each assignment."""

    partitions: int


@dataclass(frozen=True, slots=True)
class Restoring:
    """So many records of a partition's ledger are folded, and about so many are left."""

    partition: Partition
    entries: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledger of a partition is folded up to its barrier; reading may begin.

    ``entries`` records of it were read; ``warm`` says that a store had the others.
    """

    partition: Partition
    assignment_epoch: int
    state: StateStore
    next_offset: int
    entries: int
    took_s: float
    warm: bool = False


@dataclass(frozen=True, slots=True)
class LedgerStartKnown:
    """Where the ledger of a partition begins: what lay before is forgotten."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Records:
    """Messages as the client gave them, in order, ends of partitions among them."""

    messages: list[Any]


@dataclass(frozen=True, slots=True)
class RevocationStarted:
    """These partitions are to be given away: finish, commit, then answer ``FinishRevocation``."""

    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True)
class PartitionsLost:
    """These partitions are somebody else's already."""

    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The checkpoint is committed; its transaction began at ``started_at`` (monotonic).

    ``ledger_ends`` says behind which record of ours each partition's ledger ended then.
    """

    checkpoint: Checkpoint
    started_at: float
    took_s: float
    ledger_ends: Mapping[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """Nothing of the checkpoint was committed."""

    checkpoint: Checkpoint
    reason: str


@dataclass(frozen=True, slots=True)
class PartitionHalted:
    """A partition stands still until somebody acts; the detail says on what."""

    partition: Partition
    reason: HaltReason
    detail: str


@dataclass(frozen=True, slots=True)
class EndOffsetKnown:
    """Where a partition ends: its last stable offset."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class RetentionKnown:
    """For how long the input is kept, in milliseconds; negative: for ever."""

    retention_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The member is beyond repair: the process has to end."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Closed:
    """The member has closed its clients; nothing comes after this."""


ConsumerEvent: TypeAlias = (
    Joined
    | Assigned
    | PartitionCountKnown
    | Restoring
    | Restored
    | LedgerStartKnown
    | Records
    | RevocationStarted
    | PartitionsLost
    | Committed
    | Aborted
    | PartitionHalted
    | EndOffsetKnown
    | RetentionKnown
    | Failed
    | Closed
)

# To the member


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit this in one transaction."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading this partition."""

    partition: Partition


@dataclass(frozen=True, slots=True)
class StartReading:
    """Read this partition from this offset on, if this is still its assignment."""

    partition: Partition
    offset: int
    assignment_epoch: int


@dataclass(frozen=True, slots=True)
class FinishRevocation:
    """What there was to do for the partitions that are being revoked is done."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the clients and end."""


ConsumerCommand: TypeAlias = Commit | StartReading | Pause | FinishRevocation | Leave
