"""Events and commands between the consumer thread and the event loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from stream.engine.checkpoint import Checkpoint
from stream.engine.task_manager import HaltReason
from stream.record import Partition
from stream.state.store import StateStore

# Events, to the event loop


@dataclass(frozen=True, slots=True)
class Joined:
    """The group has assigned partitions to this member for the first time, perhaps none."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """These partitions are assigned and are restored before they are read.

    ``assignment_epoch`` distinguishes this assignment from earlier ones of the same partitions.
    """

    partitions: Sequence[Partition]
    assignment_epoch: int


@dataclass(frozen=True, slots=True)
class PartitionCountKnown:
    """Number of partitions of the input, sent after each assignment."""

    partitions: int


@dataclass(frozen=True, slots=True)
class Restoring:
    """Restore progress of one partition: ``entries`` ledger records applied, about ``remaining``
    left.
    """

    partition: Partition
    entries: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledger of a partition is restored; reading may begin.

    ``entries`` is the number of ledger records read; ``warm`` means that a store had the others.
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
    """First offset of a partition's ledger: everything before it has expired."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Records:
    """Messages as the client returned them, in order, including partition ends."""

    messages: list[Any]


@dataclass(frozen=True, slots=True)
class RevocationStarted:
    """These partitions are being revoked: finish, commit, then send ``FinishRevocation``."""

    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True)
class PartitionsLost:
    """These partitions already belong to other members."""

    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The checkpoint is committed; its transaction began at ``started_at`` (monotonic).

    ``ledger_ends`` holds a lower bound of each partition's ledger end offset at that time.
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


DELETED_UNREAD = (
    "records were deleted before they were read; check the topic's retention, then run "
    "`wootric-stream offsets reset --to-earliest` for this partition"
)


@dataclass(frozen=True, slots=True)
class PartitionHalted:
    """A partition is paused until somebody acts; ``detail`` says what to do."""

    partition: Partition
    reason: HaltReason
    detail: str


@dataclass(frozen=True, slots=True)
class EndOffsetKnown:
    """Last stable offset of a partition, and the end of its log, open transactions included."""

    partition: Partition
    offset: int
    log_end: int


@dataclass(frozen=True, slots=True)
class RetentionKnown:
    """Retention of the input in milliseconds; negative if unlimited."""

    retention_ms: int


@dataclass(frozen=True, slots=True)
class InputPause:
    """The operator's pause of a partition: since when (milliseconds since 1970), if known."""

    since_ms: int | None

    @property
    def since(self) -> str:
        """The time in UTC, as text."""
        if self.since_ms is None:
            return "an unknown time"
        return datetime.fromtimestamp(self.since_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class PausesKnown:
    """The operator's pauses among the partitions asked about, which have an assignment epoch each;
    Kafka was asked after that assignment.
    """

    asked: Mapping[Partition, int]
    pauses: Mapping[Partition, InputPause]


@dataclass(frozen=True, slots=True)
class Failed:
    """The consumer thread cannot recover: the process has to end."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Closed:
    """The clients are closed; no event follows."""


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
    | PausesKnown
    | Failed
    | Closed
)

# Commands, to the consumer thread


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit this checkpoint in one transaction."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading this partition."""

    partition: Partition


@dataclass(frozen=True, slots=True)
class StartReading:
    """Read this partition from an offset, if its assignment is still current."""

    partition: Partition
    offset: int
    assignment_epoch: int


@dataclass(frozen=True, slots=True)
class FinishRevocation:
    """The partitions that are being revoked are finished."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the clients and end."""


ConsumerCommand: TypeAlias = Commit | StartReading | Pause | FinishRevocation | Leave
