"""One partition's flow with a clock beside it: events in, works out, outcomes back."""

from collections import Counter
from dataclasses import dataclass, field

from sink.delivery import Delivered, Delivery, EndUser, Operation, Outcome
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
    WootricOperation,
    read_operation,
)
from stream.engine.checkpoint import Checkpoint
from stream.engine.lanes import PendingRequest
from stream.engine.limits import EngineConfig, ReleaseBudget
from stream.engine.partition_task import PartitionTask
from stream.engine.prepare import PreparationResult, PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.record import Partition, Record
from stream.state.store import InMemoryStateStore
from stream.transform import Deliver

PARTITION = Partition("segment.events", 0)
ROOM = ReleaseBudget(limited=100, unlimited=100)
KEY, VALUE = b"key", b"value"
LIMITS = EngineConfig(
    lease_s=5,
    takeover_wait_s=75,
    attempts_max=8,
    attempts_over_s=600,
    quiet_s=60,
    unchanged_resend_after_s=1000,
    offset_gap_max=100,
    dead_letter_limit=0,
    letter_bytes_max=1_000,
    resend_unobservable=False,
    app_version="1",
    instance="worker-0",
)


def identify(user: str = "ann", **properties: str | int) -> UpsertEndUser:
    return UpsertEndUser(external_id=user, email=f"{user}@example.com", properties=properties)


def page(user: str = "ann", random: str = "1") -> PageView:
    return PageView(url="https://example.com", random=random, external_id=user)


def response(user: str = "ann", score: int = 9) -> CreateResponse:
    return CreateResponse(external_id=user, score=score, created_at=1)


def decline(user: str = "ann") -> CreateDecline:
    return CreateDecline(external_id=user, created_at=1)


def delete(user: str = "ann") -> DeleteEndUser:
    return DeleteEndUser(external_id=user)


@dataclass
class Driver:
    """Feeds a flow, commits for it, and keeps what was committed."""

    limits: EngineConfig = LIMITS
    state: InMemoryStateStore = field(default_factory=InMemoryStateStore)
    next_offset: int = 0
    now: float = 100.0
    letters: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    offset: int | None = None
    consumed: int = 0

    def __post_init__(self) -> None:
        self.flow = TaskManager(self.limits, read_operation=read_operation)
        self.flow.open(PARTITION, self.state, self.next_offset, self.now, assignment_epoch=1)

    @property
    def part(self) -> PartitionTask:
        return self.flow.partitions[PARTITION]

    @property
    def now_ms(self) -> int:
        return int(self.now * 1000)

    def feed(
        self,
        what: Operation | PreparationResult,
        *,
        at: int | None = None,
        name: str | None = None,
        time_ms: int = 0,
        replayed: bool = False,
        forced: bool = False,
    ) -> int:
        """Let the next event be read; return its offset. Its name is the letter of its offset."""
        offset = self.part.offsets.next_offset if at is None else at
        verdict = what
        if isinstance(what, WootricOperation):
            lane = what.external_id or what.email or "?"
            verdict = Deliver(operation=what, lane=lane)
        before = self.part.unsettled
        event = PreparedRecord(
            record=Record(PARTITION, offset, time_ms, KEY, VALUE),
            event_id=name or f"e{offset}",
            message_id=name or f"e{offset}",
            result=verdict,
            time_ms=time_ms,
            replayed=replayed,
            forced=forced,
        )
        self.flow.admit([event], self.now_ms)
        self.consumed += self.part.unsettled - before
        return offset

    def checkpoint(self, room: ReleaseBudget = ROOM) -> Checkpoint:
        self.flow.run_timers(self.now)
        return self.flow.checkpoint(self.now_ms, room)

    def committed(self, checkpoint: Checkpoint) -> list[PendingRequest]:
        share = checkpoint.partitions[PARTITION]
        self.letters += [str(letter.message_id) for letter in share.dead_letters]
        self.parked += [str(letter.message_id) for letter in share.parked]
        self.settled += Counter(share.settled)
        self.offset = share.offset
        return self.flow.on_committed(checkpoint, self.now)

    def turn(self, room: ReleaseBudget = ROOM) -> list[PendingRequest]:
        """Run one cycle whose transaction commits; return what may be sent."""
        return self.committed(self.checkpoint(room))

    def one(self) -> PendingRequest:
        """Run one cycle that releases exactly one work."""
        (work,) = self.turn()
        return work

    def settle(self, work: PendingRequest, outcome: Outcome | None = None) -> None:
        self.flow.settle(work, outcome or self.done(work), self.now, self.now_ms)

    def done(self, work: PendingRequest) -> Delivered:
        """What Wootric would say: the user holds what the operation says."""
        operation = work.require_operation()
        known = work.known or EndUser(id=1)
        if isinstance(operation, DeleteEndUser):
            return Delivered()
        if not isinstance(operation, UpsertEndUser):
            return Delivered(end_user=known)
        return Delivered(
            end_user=EndUser(
                id=1,
                email=operation.email,
                external_id=operation.external_id,
                properties={**(known.properties or {}), **operation.properties},
            )
        )

    def through(self) -> list[list[str]]:
        """Deliver until nothing is left; return the names of each request's events."""
        requests = []
        while works := self.turn():
            for work in works:
                requests.append(names(work))
                self.settle(work)
        return requests

    def delivery(self, work: PendingRequest) -> Delivery:
        return self.part.delivery(work, lambda: self.flow.may_send(work, self.now))

    def after_crash(self, *, next_offset: int | None = None) -> "Driver":
        """Another worker, from what was committed."""
        at = (self.offset or 0) if next_offset is None else next_offset
        return Driver(self.limits, self.state, at, self.now)

    def conserved(self) -> bool:
        """Whether every consumed event is settled or under way, and so are its bytes."""
        unsettled = self.flow.unsettled
        return (
            self.consumed == self.settled.total() + unsettled
            and self.flow.unsettled_bytes == len(KEY + VALUE) * unsettled
        )


def names(work: PendingRequest) -> list[str]:
    return [member.event_id for member in work.events]
