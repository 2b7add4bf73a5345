"""The pure core under one schedule: flow, lanes, ledger; the loop and the sink are simulated."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from invariants import ViolationError, Witness, outcome_of
from scenario import Survey, expect, name_of, wootric_operation
from simulated_kafka import Transaction
from simulated_wootric import SimulatedWootricSink, Wootric
from world import Done, Later, Settings, Token, World, check

from sink.delivery import Delivery, Operation, Outcome
from sink.wootric.operations import PageView, read_operation
from stream.engine.checkpoint import Checkpoint
from stream.engine.lanes import PendingRequest
from stream.engine.limits import ReleaseBudget
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.record import Partition
from stream.state.ledger import EVENT, EventOutcome
from stream.transform import Deliver

TXN_STEP_S = (0.005, 0.12)
ROOMS = [ReleaseBudget(api, pages) for api in range(5) for pages in range(3)]


class CoreWorker:
    """One process: the flow, a loop like the service's, and its picture of what it owns."""

    def __init__(self, world: "CoreWorld", name: str) -> None:
        self._world = world
        self.name = name
        self.dead = False
        self.asleep_until = 0.0
        self.flow = TaskManager(world.limits, read_operation=world.read_operation)
        self.committing: Checkpoint | None = None
        self._leaving = False
        self._openings = 0
        self._revoking: dict[Token, float] = {}
        self._tokens: dict[Partition, Token] = {}
        self._consumed: Counter[Partition] = Counter()
        self._settled: Counter[Partition] = Counter()
        self.later(world.dice.random() / 2, self.tick)

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return bool(self.flow.under_way)

    def later(self, wait_s: float, step: Callable[[], None]) -> None:
        """Do something after a while: not if dead by then, and not while asleep."""
        world = self._world

        def run() -> None:
            if self.dead:
                return
            if world.now < self.asleep_until:
                world.at(self.asleep_until - world.now, run)
                return
            step()

        world.at(wait_s, run)

    def revoke(self, token: Token, until: float) -> None:
        """Give a partition away in good order, by then at the latest."""
        self.flow.stop_releasing([token.partition])
        self._revoking[token] = until

    def leave(self) -> None:
        """Finish and end."""
        self._leaving = True
        for token in self._world.owned(self):
            self.revoke(token, self._world.now + 2)

    # The loop

    def tick(self) -> None:
        """Run one turn of the loop, and come back."""
        self._learn()
        if self._leaving and not self._world.owned(self):
            self._world.gone(self)
            return
        self._read()
        self.flow.run_timers(self._world.now)
        self._commit()
        self._check()
        idle = self.committing is None and not self.flow.under_way
        self.later(0.03 + (1.2 if idle else 0.3) * self._world.dice.random(), self.tick)

    def _learn(self) -> None:
        """Take over what the group says: lost, revoked, assigned."""
        owners, now = self._world.kafka.owners, self._world.now
        for partition, token in list(self._tokens.items()):
            owner = owners.get(partition)
            back = isinstance(owner, Token) and owner.worker is self
            if owner is not token and (back or now >= token.heard_at):
                self._give_up(partition)
        for revoked, until in list(self._revoking.items()):
            partition = revoked.partition
            if owners.get(partition) is not revoked:
                del self._revoking[revoked]
                continue
            part = self.flow.partitions.get(partition)
            done = part is None or not (part.under_way or part.has_changes())
            if self.committing is None and (done or now >= until):
                owners.pop(partition, None)
                self._give_up(partition)
        for partition, token in owners.items():
            if isinstance(token, Token) and token.worker is self and partition not in self._tokens:
                self._tokens[partition] = token
                self._open_soon(token)

    def _give_up(self, partition: Partition) -> None:
        self.flow.close(partition)
        for book in (self._tokens, self._consumed, self._settled):
            book.pop(partition, None)

    def _open_soon(self, token: Token) -> None:
        self.later(self._world.dice.uniform(0, 0.5), lambda: self._open(token))

    def _open(self, token: Token) -> None:
        """Begin with a partition once its ledger is folded up to the barrier."""
        partition, kafka = token.partition, self._world.kafka
        if self._tokens.get(partition) is not token or kafka.owners.get(partition) is not token:
            return
        if not kafka.stable(partition):
            self._open_soon(token)
            return
        state, offset = kafka.restored(partition), kafka.offsets[partition]
        self._world.say(self.name, "opens", partition.number, "at", offset, len(state.intents()))
        self._openings += 1
        self.flow.open(partition, state, offset, self._world.now, assignment_epoch=self._openings)

    def _read(self) -> None:
        world = self._world
        ends, dice = world.script.ends, world.dice
        for partition, part in self.flow.partitions.items():
            if part.offsets.next_offset == ends[partition]:
                continue
            at_most = int(7 * dice.random())
            chunk = world.kafka.after(partition, part.offsets.next_offset, at_most)
            self.flow.admit(chunk, int(world.now * 1000))
            self._consumed[partition] += len(chunk)
            if len(chunk) < at_most and part.offsets.next_offset + 1 == ends[partition]:
                self.flow.on_partition_end(partition, ends[partition])

    # Transactions

    def _commit(self) -> None:
        world = self._world
        if self.committing is not None or not self.flow.partitions:
            return
        room = ROOMS[int(len(ROOMS) * world.dice.random())]
        if not self.flow.has_changes(room) and not self.flow.under_way:
            return
        checkpoint = self.committing = self.flow.checkpoint(int(world.now * 1000), room)
        started_at, tokens = world.now, dict(self._tokens)

        def offer() -> None:
            transaction = world.kafka.accept(self.name, tokens, checkpoint, started_at)
            if transaction is None:
                self._aborted(checkpoint)
            elif world.strikes(0.01):
                world.crash(self)
            else:
                self.later(world.dice.uniform(*TXN_STEP_S), lambda: self._end(transaction, tokens))

        self.later(world.dice.uniform(*TXN_STEP_S), offer)

    def _end(self, transaction: Transaction, tokens: dict[Partition, Token]) -> None:
        """The transaction ends; a crash, or the loss of the reply, may come with it."""
        world = self._world
        committed = world.kafka.end(transaction, commit=not world.strikes(0.1))
        if world.strikes(0.01):
            world.crash(self)
            return
        # What a commit was may become known late, after the partition went and came back.
        wait_s = world.dice.uniform(0, 3) if world.strikes(0.05) else 0.0
        checkpoint = transaction.checkpoint
        if world.trace is not None:
            world.say(self.name, *told(checkpoint, committed=committed, late=wait_s > 0))
        if not committed:
            self.later(wait_s, lambda: self._aborted(checkpoint))
            return
        for partition, share in checkpoint.partitions.items():
            if self._tokens.get(partition) is tokens.get(partition):
                self._settled[partition] += sum(share.settled.values())
        self.later(wait_s, lambda: self._committed(checkpoint, transaction.started_at))

    def _aborted(self, checkpoint: Checkpoint) -> None:
        self.committing = None
        self.aborted(checkpoint)

    def aborted(self, checkpoint: Checkpoint) -> None:
        """Nothing to do: what the checkpoint said is said again."""

    def _committed(self, checkpoint: Checkpoint, started_at: float) -> None:
        self.committing = None
        for work in self.flow.on_committed(checkpoint, started_at):
            self._send(work)
        self._check()

    def _send(self, work: PendingRequest) -> None:
        part = self.flow.partitions.get(work.lane.partition)
        if part is None:
            return
        world = self._world
        delivery = part.delivery(work, lambda: self.flow.may_send(work, world.now))

        def done(outcome: Outcome) -> None:
            world.say(
                self.name, "ends", work.require_operation().type, work.request_id[:6], outcome
            )
            self.flow.settle(work, outcome, world.now, int(world.now * 1000))

        world.sink.deliver(delivery, self.name, self.later, done)

    def _check(self) -> None:
        """Conservation: what was consumed is settled or under way, at every step."""
        if self.committing is not None:
            return
        for partition, part in self.flow.partitions.items():
            consumed, settled = self._consumed[partition], self._settled[partition]
            if consumed != settled + part.unsettled:
                raise ViolationError(
                    f"counters do not add up [25]: {consumed} consumed, {settled} settled, "
                    f"{part.unsettled} under way"
                )


class SimulatedSink(Protocol):
    """What stands before a destination."""

    def deliver(self, delivery: Delivery, worker: str, later: Later, done: Done) -> None:
        """Begin; ``later`` is the worker's own time, ``done`` takes the outcome."""


class CoreWorld(World):
    """One schedule of the core, before any destination."""

    sink: SimulatedSink
    read_operation: Callable[[bytes], Operation]

    def new_worker(self, name: str) -> CoreWorker:
        """Return a worker that has just started."""
        return CoreWorker(self, name)


class CoreSimulation(CoreWorld):
    """One schedule of the core, before Wootric."""

    read_operation = staticmethod(read_operation)

    def __init__(self, seed: int, settings: Settings) -> None:
        super().__init__(seed, settings, wootric_operation)
        self.wootric = Wootric()
        self.sink = SimulatedWootricSink(self.wootric, self)
        self.begin(settings.workers)

    def judge(self) -> None:
        """Compare what Wootric holds with what the events say."""
        judge(self, dict(self.wootric.users), self.wootric.surveys)


def told(checkpoint: Checkpoint, *, committed: bool, late: bool) -> tuple[object, ...]:
    """Return what became of a checkpoint and what it settles, for a person to read."""
    settled: Counter[tuple[str, str]] = Counter()
    for share in checkpoint.partitions.values():
        settled.update(share.settled)
    events = ", ".join(f"{outcome} {reason}".strip() for outcome, reason in settled)
    known = ", known late" if late else ""
    return "committed" if committed else "aborted", f"{checkpoint.sequence}{known}: {events}"


def judge(world: World, users: dict[str, object], surveys: list[Survey]) -> None:
    """Compare what there is in the end with what there should be."""
    witness = world.witness

    def outcome(event: PreparedRecord) -> EventOutcome | None:
        value = witness.ledger[event.record.partition].get(EVENT + event.event_id)
        return None if value is None else outcome_of(value)

    expected = expect(world.script, outcome)
    parked = {
        operation.random
        for event in world.script.events
        if witness.parked[event.record.partition, event.record.offset]
        and isinstance(event.result, Deliver)
        and isinstance(operation := event.result.operation, PageView)
    }
    views = witness.views
    check("users [2]", users, expected.users)
    check("responses and declines [2]", Counter(map(name_of, surveys)), expected.surveys)
    check("views or parked, lost [1]", expected.views - views.keys() - parked, set())
    # One that was parked may have happened, and found its person there by then.
    check("views of nobody [2]", views.keys() - expected.views - parked, set())
    check("parked, not views [2]", witness.parked.total() - len(parked), 0)
    judge_events(witness, expected.letters, expected.receipts)


def judge_events(
    witness: Witness,
    letters: Counter[tuple[Partition, int]],
    receipts: set[tuple[Partition, str]],
) -> None:
    """Compare what Kafka holds in the end with what it should hold."""
    found = {
        (partition, key.removeprefix(EVENT))
        for partition, fold in witness.ledger.items()
        for key in fold
        if key.startswith(EVENT)
    }
    check("dead letters [7]", witness.letters, letters)
    check("receipts [1]", found, receipts)
    open_intents = [key for fold in witness.ledger.values() for key in fold if "intent/" in key]
    check("open intents [19]", open_intents, [])
