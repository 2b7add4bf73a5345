"""A deterministic simulation of workers, Kafka and Wootric, from one seed.

The core is the product's own; all around it is simulated, on a clock that only this moves.
Workers crash between any two steps, sleep and wake up as zombies, lose partitions and get
them back; transactions abort; requests, replies and effects are lost or late. Afterwards
everything is well for a while, and what Wootric holds is compared with what the events say.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from simulated_kafka import Kafka
from simulated_wootric import (
    LATE_MAX_S,
    POISON,
    REQUEST_TIMEOUT_S,
    SimulatedSink,
    Survey,
    Weather,
    Wootric,
)

from sink.delivery import Outcome
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    UpsertEndUser,
)
from stream.checkpoint import Checkpoint
from stream.flow import Flow
from stream.judge import Judged, Refuse, Verdict
from stream.limits import Capacity, Limits
from stream.record import Partition, Record
from stream.transform import Deliver, Skip
from stream.work import Work

LEASE_S = 5.0
FAULTS_S = 60.0
REBALANCE_S = 15.0
PATIENCE_S = 600.0
"""How long after the last fault everything may take."""
USERS = {"ann": Partition("in", 0), "bob": Partition("in", 0), "cid": Partition("in", 1)}
PARTITIONS = sorted(set(USERS.values()))


class ViolationError(AssertionError):
    """The guarantee does not hold."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a schedule is run with."""

    quiet_s: float = LATE_MAX_S
    workers: int = 2


@dataclass
class Expected:
    """What the events say, read by themselves."""

    users: dict[str, dict[str, object]] = field(default_factory=dict)
    surveys: Counter[str] = field(default_factory=Counter)
    views: set[str] = field(default_factory=set)
    letters: set[tuple[Partition, int]] = field(default_factory=set)
    seen: set[tuple[Partition, str]] = field(default_factory=set)

    def take(self, event: Judged, user: str) -> None:
        """Take over one event: only the first of a name counts."""
        place = (event.record.partition, event.event_id)
        if place in self.seen or isinstance(event.verdict, Skip):
            return
        self.seen.add(place)
        match event.verdict:
            case Deliver(operation=UpsertEndUser(properties=properties)):
                if POISON in properties:
                    self.letters.add((event.record.partition, event.record.offset))
                else:
                    self.users[user] = {**self.users.get(user, {}), **properties}
            case Deliver(operation=CreateResponse() | CreateDecline() as survey):
                self.users.setdefault(user, {})
                self.surveys[name_of(survey)] += 1
            case Deliver(operation=DeleteEndUser()):
                self.users.pop(user, None)
            case Deliver(operation=PageView(random=random)):
                self.views.add(random)
            case _:
                self.letters.add((event.record.partition, event.record.offset))


def verdict_of(dice: Random, user: str, number: int) -> Verdict:
    """Return what should become of a random event."""
    names = ["plan", "seats"]
    operation: Operation
    match dice.randrange(20):
        case 0:
            return Skip("unsupported_type")
        case 1:
            return Refuse("undecodable", "")
        case 2:
            operation = DeleteEndUser(external_id=user)
        case 3:
            operation = UpsertEndUser(external_id=user, properties={POISON: number})
        case 4 | 5 | 6 | 7:
            operation = PageView(url="u", random=str(number), external_id=user)
        case 8 | 9 | 10:
            at = dice.choice([1, number])  # some are as like as two peas
            operation = CreateResponse(external_id=user, score=9, created_at=at)
        case 11 | 12:
            operation = CreateDecline(external_id=user, created_at=number)
        case _:
            properties = {dice.choice(names): dice.randrange(3) for _ in range(2)}
            operation = UpsertEndUser(external_id=user, properties=properties)
    return Deliver(operation=operation, lane=user)


def events_of(dice: Random) -> tuple[Kafka, Expected]:
    """Return an input that arrives over a while, and what is expected of it."""
    kafka = Kafka({partition: [] for partition in PARTITIONS}, dict.fromkeys(PARTITIONS, 0))
    expected = Expected()
    earlier: dict[str, list[Judged]] = {user: [] for user in USERS}
    times = sorted(dice.choice([0.0, dice.random() * 40]) for _ in range(dice.randint(8, 26)))
    for number, at in enumerate(times):
        user = dice.choice(list(USERS))
        partition = USERS[user]
        name, verdict = f"m{number}", verdict_of(dice, user, number)
        if earlier[user] and dice.random() < 0.12:
            twin = dice.choice(earlier[user])
            name, verdict = twin.event_id, twin.verdict
        offset = kafka.ends[partition] + (dice.random() < 0.1)  # a control record before it
        record = Record(partition, offset, int(at * 1000), None, b"")
        event = Judged(record=record, event_id=name, message_id=name, verdict=verdict)
        kafka.ends[partition] = offset + 1
        kafka.input[partition].append(event)
        earlier[user].append(event)
        expected.take(event, user)
    for partition in PARTITIONS:
        kafka.ends[partition] += 1
    return kafka, expected


class Worker:
    """One process: the flow, its loop, and its picture of what it owns."""

    def __init__(self, world: "Simulation", name: str) -> None:
        self._world = world
        self.name = name
        self.dead = False
        self.asleep_until = 0.0
        self.flow = Flow(world.limits)
        self.committing: Checkpoint | None = None
        self.revoking: dict[Token, float] = {}
        self._tokens: dict[Partition, object] = {}
        self._consumed: Counter[Partition] = Counter()
        self._settled: Counter[Partition] = Counter()

    def later(self, wait_s: float, step: Callable[[], None]) -> None:
        """Do something after a while: not if dead by then, and not while asleep."""

        def run() -> None:
            if self.dead:
                return
            if self._world.now < self.asleep_until:
                self._world.at(self.asleep_until - self._world.now, run)
                return
            step()

        self._world.at(wait_s, run)

    def tick(self) -> None:
        """Run one turn of the loop, and come back."""
        dice = self._world.dice
        self._learn()
        self._read()
        self.flow.due(self._world.now)
        self._commit()
        self._check()
        idle = not self.flow.unsettled
        self.later(dice.uniform(0.05, 1.5 if idle else 0.8), self.tick)

    def _learn(self) -> None:
        """Take over what the group says: lost, revoked, assigned."""
        owners = self._world.kafka.owners
        for partition, token in list(self._tokens.items()):
            if owners.get(partition) is not token:
                self.give_up(partition)
        for revoked, until in list(self.revoking.items()):
            partition = revoked.partition
            if owners.get(partition) is not revoked:
                del self.revoking[revoked]
                continue
            part = self.flow.partitions.get(partition)
            busy = part is not None and (part.under_way or part.has_news())
            if self.committing is None and (not busy or self._world.now >= until):
                owners.pop(partition, None)
                self.give_up(partition)
        for partition, token in owners.items():
            if isinstance(token, Token) and token.worker is self and partition not in self._tokens:
                self._tokens[partition] = token
                self.later(self._world.dice.uniform(0, 1), lambda t=token: self._open(t))

    def give_up(self, partition: Partition) -> None:
        """Forget a partition."""
        self.flow.close(partition)
        for book in (self._tokens, self._consumed, self._settled):
            book.pop(partition, None)

    def _open(self, token: "Token") -> None:
        partition, kafka = token.partition, self._world.kafka
        if self._tokens.get(partition) is token and kafka.owners.get(partition) is token:
            state, offset = kafka.restored(partition), kafka.offsets[partition]
            self.flow.open(partition, state, offset, self._world.now)

    def _read(self) -> None:
        kafka, dice = self._world.kafka, self._world.dice
        now_ms = int(self._world.now * 1000)
        for partition, part in self.flow.partitions.items():
            ahead = kafka.after(partition, part.offsets.next_offset, self._world.now)
            chunk = ahead[: dice.randint(0, 6)]
            self.flow.admit(chunk, now_ms)
            self._consumed[partition] += len(chunk)
            if chunk == ahead and part.offsets.next_offset + 1 == kafka.ends[partition]:
                self.flow.reached(partition, kafka.ends[partition])

    def _commit(self) -> None:
        room = Capacity(api=self._world.dice.randint(0, 4), pages=self._world.dice.randint(0, 2))
        news = self.flow.has_news(room) or self.flow.under_way
        if self.committing is not None or not self.flow.partitions or not news:
            return
        checkpoint = self.committing = self.flow.checkpoint(int(self._world.now * 1000), room)
        started_at, tokens = self._world.now, dict(self._tokens)
        self.later(
            self._world.dice.uniform(0.01, 0.3), lambda: self._end(checkpoint, started_at, tokens)
        )

    def _end(
        self, checkpoint: Checkpoint, started_at: float, tokens: dict[Partition, "Token"]
    ) -> None:
        """The transaction commits or aborts; a crash may come just before or just after."""
        world = self._world
        self.committing = None
        crash = world.strikes(0.02)
        if crash and world.dice.random() < 0.5:
            world.crash(self)
            return
        aborted = world.strikes(0.1) or not world.kafka.commit(tokens, checkpoint)
        if crash:
            world.crash(self)
            return
        if aborted:
            self.aborted(checkpoint)
            return
        for partition, share in checkpoint.shares.items():
            if self._tokens.get(partition) is tokens.get(partition):
                self._settled[partition] += sum(share.settled.values())
        # What a commit was may become known late, after the partition went and came back.
        wait_s = world.dice.uniform(0, 4) if world.strikes(0.05) else 0.0
        self.committing = checkpoint
        self.later(wait_s, lambda: self._committed(checkpoint, started_at))

    def aborted(self, checkpoint: Checkpoint) -> None:
        """Nothing to do: what the checkpoint said is said again."""

    def _committed(self, checkpoint: Checkpoint, started_at: float) -> None:
        self.committing = None
        for work in self.flow.committed(checkpoint, started_at):
            self._send(work)
        self._check()

    def _send(self, work: Work) -> None:
        part = self.flow.partitions.get(work.lane.partition)
        if part is None:
            return
        world = self._world
        delivery = part.delivery(work, lambda: self.flow.may_send(work, world.now))

        def done(outcome: Outcome) -> None:
            self.flow.settle(work, outcome, world.now, int(world.now * 1000))

        world.sink.deliver(delivery, self.later, done)

    def _check(self) -> None:
        """Conservation: what was consumed is settled or under way, at every step."""
        if self.committing is not None:
            return
        for partition, part in self.flow.partitions.items():
            consumed, settled = self._consumed[partition], self._settled[partition]
            if consumed != settled + part.unsettled:
                raise ViolationError(f"{consumed} consumed, {settled} + {part.unsettled} found")


@dataclass(frozen=True, eq=False)
class Token:
    """One ownership of a partition by a worker."""

    worker: Worker
    partition: Partition


class Simulation:
    """One schedule."""

    def __init__(self, seed: int, settings: Settings) -> None:
        self.dice = Random(seed)
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._names = count()
        self.kafka, self.expected = events_of(self.dice)
        self.wootric = Wootric()
        self.weather = Weather(self.dice, trouble=self.dice.choice([0.0, 0.1, 0.4]))
        self._fault_rate = self.dice.choice([0.0, 0.5, 1.0])
        self.resend_pages = self.dice.random() < 0.3
        self.limits = Limits(
            lease_s=LEASE_S,
            takeover_wait_s=LEASE_S + REQUEST_TIMEOUT_S + settings.quiet_s,
            quiet_s=settings.quiet_s,
            unchanged_resend_after_s=self.dice.choice([20, 10_000]),
            unsettled_span_max=1_000,
            dead_letters_max=0,
            resend_pages=self.resend_pages,
            app_version="1",
            instance="worker",
        )
        self.sink = SimulatedSink(self.wootric, self.weather, at=self.at, clock=lambda: self.now)
        self.workers: list[Worker] = []
        for _ in range(settings.workers):
            self._start()
        for partition in PARTITIONS:
            self._assign(partition)

    def at(self, wait_s: float, step: Callable[[], None]) -> None:
        """Do something after a while, whoever lives by then."""
        heapq.heappush(self._heap, (self.now + wait_s, next(self._order), step))

    def strikes(self, probability: float) -> bool:
        """Whether a fault happens now; the dice are thrown in any case."""
        return self.dice.random() < probability * self._fault_rate and not self.weather.fair

    def run(self) -> None:
        """Run the schedule.

        Raises:
            ViolationError: the guarantee does not hold.
        """
        self.at(self.dice.uniform(0, 5), self._nemesis)
        self.at(FAULTS_S, self._calm)
        self.at(REBALANCE_S, self._rebalance)
        deadline = FAULTS_S + PATIENCE_S
        while self._heap and not self._quiescent():
            self.now, _, step = heapq.heappop(self._heap)
            if self.now > deadline:
                raise ViolationError(f"not at rest: {self._unrest()}")
            step()
        self._judge()

    # Faults

    def _nemesis(self) -> None:
        if self.weather.fair:
            return
        worker = self.dice.choice(self.workers)
        partition = self.dice.choice(PARTITIONS)
        if self.strikes(1.0):
            match self.dice.randrange(4):
                case 0:
                    self.crash(worker)
                case 1:
                    self._sleep(worker)
                case 2:
                    self._revoke(partition)
                case _:
                    self._lose(partition)
        self.at(self.dice.expovariate(1 / 6), self._nemesis)

    def _calm(self) -> None:
        self.weather.fair = True

    def _rebalance(self) -> None:
        """Give partitions that nobody owns to somebody, as a group does."""
        for partition in PARTITIONS:
            self._assign_if_free(partition, None)
        self.at(REBALANCE_S, self._rebalance)

    def _start(self) -> None:
        worker = Worker(self, f"worker-{next(self._names)}")
        self.workers.append(worker)
        worker.later(self.dice.random(), worker.tick)

    def crash(self, worker: Worker) -> None:
        """End a worker between two steps; another one starts, partitions move in time."""
        worker.dead = True
        self.workers.remove(worker)
        self._start()
        for partition, token in list(self.kafka.owners.items()):
            if isinstance(token, Token) and token.worker is worker:
                self._lose(partition)

    def _sleep(self, worker: Worker) -> None:
        """Stop a worker for a while; mostly its partitions go to others meanwhile."""
        worker.asleep_until = self.now + self.dice.uniform(1, 30)
        if self.dice.random() < 0.8:
            for partition, token in list(self.kafka.owners.items()):
                if isinstance(token, Token) and token.worker is worker:
                    self._lose(partition)

    def _revoke(self, partition: Partition) -> None:
        """Take a partition from its owner in good order."""
        token = self.kafka.owners.get(partition)
        if isinstance(token, Token):
            token.worker.flow.stop_releasing([partition])
            token.worker.revoking[token] = self.now + self.dice.uniform(0, 6)
            self.at(10, lambda: self._assign_if_free(partition, token))

    def _lose(self, partition: Partition) -> None:
        """Take a partition without a word; it goes to anybody, the same worker included."""
        self.kafka.owners.pop(partition, None)
        wait_s = self.dice.choice([0.0, 2.0])
        self.at(wait_s, lambda: self._assign_if_free(partition, None))

    def _assign_if_free(self, partition: Partition, before: object) -> None:
        if self.kafka.owners.get(partition) in (None, before):
            self._assign(partition)

    def _assign(self, partition: Partition) -> None:
        awake = [worker for worker in self.workers if worker.asleep_until <= self.now]
        worker = self.dice.choice(awake or self.workers)
        self.kafka.owners[partition] = Token(worker, partition)

    # The end

    def _quiescent(self) -> bool:
        return self.weather.fair and not self._unrest()

    def _unrest(self) -> list[str]:
        """Return what still has to happen."""
        behind = [
            f"{partition.number} at {self.kafka.offsets[partition]} of {end}"
            for partition, end in self.kafka.ends.items()
            if self.kafka.offsets[partition] != end
        ]
        moving = [w.name for w in self.workers if w.asleep_until > self.now or w.flow.under_way]
        return behind + moving

    def _judge(self) -> None:
        """Compare what Wootric and Kafka hold with what is expected of the events."""
        held, expected, kafka = self.wootric, self.expected, self.kafka
        parked = Counter(
            event.verdict.operation.random
            for events in kafka.input.values()
            for event in events
            for _ in range(kafka.parked[event.record.partition, event.record.offset])
            if isinstance(event.verdict, Deliver) and isinstance(event.verdict.operation, PageView)
        )
        most = {name: held.views[name] + parked[name] for name in expected.views}
        open_intents = [lane for state in kafka.states.values() for lane in state.intents()]
        names = {(p, str(n)) for p, n in expected.seen}
        check("users", held.users, expected.users)
        check("surveys", Counter(map(name_of, held.surveys)), expected.surveys)
        check("views or parked, lost", [name for name, n in most.items() if n < 1], [])
        check("parked surveys or profiles", kafka.parked.total() - parked.total(), 0)
        check("parked twice", [name for name, n in parked.items() if n > 1], [])
        if not self.resend_pages:
            check("views twice", [name for name, n in held.views.items() if n > 1], [])
        check("dead letters", kafka.letters, Counter(expected.letters))
        check("receipts", kafka.terminal, Counter(names))
        check("open intents", open_intents, [])
        check("offsets that went back", kafka.went_back, False)


def name_of(survey: Survey) -> str:
    """Return what tells surveys apart; two may well be alike."""
    return f"{survey.type} of {survey.external_id} at {survey.created_at}"


def check(what: str, found: object, expected: object) -> None:
    """Raise unless both are equal."""
    if found != expected:
        raise ViolationError(f"{what}: {found!r} instead of {expected!r}")


def first_violation(seeds: Iterable[int], settings: Settings | None = None) -> str | None:
    """Run schedules until one violates the guarantee; say which and how."""
    for seed in seeds:
        try:
            Simulation(seed, settings or Settings()).run()
        except Exception as error:  # noqa: BLE001  the core must not break either
            return f"seed {seed}: {type(error).__name__}: {error}"
    return None
