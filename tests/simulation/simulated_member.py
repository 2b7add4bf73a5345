"""A group member as the processor knows it: the same notices and commands, on simulated time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core_simulation import told
from simulated_kafka import Transaction
from world import Later, SimulatedWorker, Token, World

from stream.engine.checkpoint import Checkpoint
from stream.engine.prepare import PreparedRecord
from stream.kafka.protocol import (
    Aborted,
    Assigned,
    Closed,
    Commit,
    Committed,
    ConsumerCommand,
    ConsumerEvent,
    FinishRevocation,
    Joined,
    Leave,
    PartitionsLost,
    Pause,
    Records,
    Restored,
    RevocationStarted,
    StartReading,
)
from stream.record import Partition, Record

CHUNK_MAX = 7
TXN_STEP_S = (0.005, 0.12)


@dataclass(frozen=True, slots=True)
class Message:
    """A record as the client hands it out; without a record it is the partition's end."""

    at: Partition
    place: int
    record: Record | None = None

    def topic(self) -> str:
        return self.at.topic

    def partition(self) -> int:
        return self.at.number

    def offset(self) -> int:
        return self.place

    def error(self) -> object:
        return None if self.record is not None else "end of partition"

    def headers(self) -> Any:
        return self.record.headers if self.record is not None else None

    def timestamp(self) -> tuple[int, int]:
        return (1, self.record.timestamp_ms if self.record is not None else 0)

    def key(self) -> bytes | None:
        return self.record.key if self.record is not None else None

    def value(self) -> bytes | None:
        return self.record.value if self.record is not None else None


class SimulatedMember:
    """Owns partitions, reads them, and commits: ``stream.kafka.consumer_thread`` without its
    clients.
    """

    def __init__(
        self,
        world: World,
        worker: SimulatedWorker,
        later: Later,
        tell: Callable[[ConsumerEvent], None],
    ) -> None:
        self._world = world
        self._worker = worker
        self._later = later
        self._tell = tell
        self.fetch_budget = CHUNK_MAX
        self.accepted = 0
        self.has_work = False
        self._commands: deque[ConsumerCommand] = deque()
        self._tokens: dict[Partition, Token] = {}
        self._numbers: dict[Partition, int] = {}
        self._reading: dict[Partition, int] = {}
        self._ends_told: dict[Partition, int] = {}
        self._assignments = 0
        self._committing = False
        self._revoked: deque[Token] = deque()
        self._revoking: Token | None = None

    def start(self) -> None:
        """Join the group."""
        self._later(self._world.dice.random() / 2, self._turn)

    def command(self, command: ConsumerCommand) -> None:
        """Do something, in order."""
        self._commands.append(command)
        if len(self._commands) == 1:
            self._later(0.002, self._do_all)

    def revoke(self, token: Token) -> None:
        """Give a partition away in good order, when its turn comes."""
        self._revoked.append(token)

    def _turn(self) -> None:
        """Poll: rebalances first, then records."""
        self._do_all()
        if self._revoking is None:
            self._rebalance()
        if self._revoking is None:
            self._poll()
        wait_s = 0.3 if self.has_work else 1.0
        self._later(0.02 + wait_s * self._world.dice.random(), self._turn)

    # The group

    def _rebalance(self) -> None:
        world = self._world
        owners = world.kafka.owners
        lost = []
        for partition, token in list(self._tokens.items()):
            owner = owners.get(partition)
            back = isinstance(owner, Token) and owner.worker is self._worker
            if owner is not token and (back or world.now >= token.heard_at):
                lost.append(partition)
                self._disown(partition)
        if lost:
            self._tell(PartitionsLost(lost))
        for partition, owner in owners.items():
            mine = isinstance(owner, Token) and owner.worker is self._worker
            if mine and partition not in self._tokens:
                self._assign(owner)
        while self._revoked and self._revoking is None:
            token = self._revoked.popleft()
            if self._tokens.get(token.partition) is token:
                self._revoking = token
                self._tell(RevocationStarted([token.partition]))

    def _assign(self, token: Any) -> None:
        self._assignments += 1
        self._tokens[token.partition] = token
        self._numbers[token.partition] = self._assignments
        self._tell(Joined())
        self._tell(Assigned([token.partition], self._assignments))
        self._restore_soon(token, self._assignments)

    def _restore_soon(self, token: Token, number: int) -> None:
        wait_s = self._world.dice.uniform(0, 0.5)
        self._later(wait_s, lambda: self._restore(token, number))

    def _restore(self, token: Token, number: int) -> None:
        partition, kafka = token.partition, self._world.kafka
        if self._tokens.get(partition) is not token:
            return
        if not kafka.stable(partition) or kafka.owners.get(partition) is not token:
            self._restore_soon(token, number)
            return
        self._world.say(self._worker.name, "restored", partition.number, kafka.offsets[partition])
        self._tell(
            Restored(
                partition=partition,
                assignment_epoch=number,
                state=kafka.restored(partition),
                next_offset=kafka.offsets[partition],
                entries=0,
                took_s=0.0,
            )
        )

    def _disown(self, partition: Partition) -> None:
        self._tokens.pop(partition, None)
        self._numbers.pop(partition, None)
        self._reading.pop(partition, None)
        self._ends_told.pop(partition, None)

    # Records

    def _poll(self) -> None:
        """Hand over a few records of each partition that is read, and where it ends."""
        world = self._world
        for partition in list(self._reading):
            at_most = min(self.fetch_budget, int(CHUNK_MAX * world.dice.random()))
            chunk = world.kafka.after(partition, self._reading[partition], max(0, at_most))
            messages = [_message(event) for event in chunk]
            if chunk:
                self._reading[partition] = chunk[-1].record.next_offset
            end = world.script.ends[partition]
            if self._reading[partition] == end - 1 and self._ends_told.get(partition) != end:
                messages.append(Message(partition, end))
                self._ends_told[partition] = end
            if messages:
                self._tell(Records(messages))

    # Commands

    def _do_all(self) -> None:
        while self._commands:
            self._do(self._commands.popleft())

    def _do(self, command: ConsumerCommand) -> None:
        match command:
            case Commit(checkpoint):
                self._commit(checkpoint)
            case StartReading(partition, offset, assignment):
                if self._numbers.get(partition) == assignment:
                    self._reading[partition] = offset
                    self._ends_told.pop(partition, None)
            case Pause(partition):
                self._reading.pop(partition, None)
            case FinishRevocation():
                self._release()
            case Leave():
                self._leave()

    def _release(self) -> None:
        token, self._revoking = self._revoking, None
        if token is not None:
            owners = self._world.kafka.owners
            if owners.get(token.partition) is token:
                owners.pop(token.partition)
            self._disown(token.partition)

    def _leave(self) -> None:
        self._world.kafka.end_all(self._worker.name)
        for token in self._tokens.values():
            if self._world.kafka.owners.get(token.partition) is token:
                self._world.kafka.owners.pop(token.partition)
        self._tokens.clear()
        self._numbers.clear()
        self._reading.clear()
        self._tell(Closed())

    def _commit(self, checkpoint: Checkpoint) -> None:
        world = self._world
        started_at, tokens = world.now, dict(self._tokens)
        shares = checkpoint.partitions.items()
        current = all(
            self._numbers.get(partition) == share.assignment_epoch for partition, share in shares
        )

        def offer() -> None:
            transaction = None
            if current:
                transaction = world.kafka.accept(self._worker.name, tokens, checkpoint, started_at)
            if transaction is None:
                self._tell(Aborted(checkpoint=checkpoint, reason="not ours any more"))
            elif world.strikes(0.01):
                world.crash(self._worker)
            else:
                self._later(world.dice.uniform(*TXN_STEP_S), lambda: self._end(transaction))

        self._later(world.dice.uniform(*TXN_STEP_S), offer)

    def _end(self, transaction: Transaction) -> None:
        """The transaction ends; a crash, or the loss of the reply, may come with it."""
        world = self._world
        committed = world.kafka.end(transaction, commit=not world.strikes(0.1))
        if world.strikes(0.01):
            world.crash(self._worker)
            return
        checkpoint = transaction.checkpoint
        notice: ConsumerEvent = Aborted(checkpoint=checkpoint, reason="aborted")
        if committed:
            took_s = world.now - transaction.started_at
            notice = Committed(
                checkpoint=checkpoint, started_at=transaction.started_at, took_s=took_s
            )
        # What a commit was may become known late, after the partition went and came back.
        wait_s = world.dice.uniform(0, 3) if world.strikes(0.05) else 0.0
        if world.trace is not None:
            world.say(self._worker.name, *told(checkpoint, committed=committed, late=wait_s > 0))
        self._later(wait_s, lambda: self._tell(notice))


def _message(event: PreparedRecord) -> Message:
    return Message(event.record.partition, event.record.offset, event.record)
