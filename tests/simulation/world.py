"""A group of workers on simulated time, and the nemesis that strikes them.

Workers crash between any two steps, sleep and wake up as zombies, lose partitions and get them
back, leave in good order. In the end everything is well for a while, and all must be at rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Protocol

from event_queue import Agenda
from fault_schedule import Weather
from invariants import ViolationError, Witness
from scenario import PARTITIONS, Script, WantedBy, write
from simulated_kafka import Kafka

from sink.delivery import Outcome
from stream.engine.limits import EngineConfig
from stream.record import Partition

LEASE_S = 2.0
REQUEST_TIMEOUT_S = 1.5
LATE_MAX_S = 4.0
QUEUE_MAX_S = 2.0
"""How long Wootric takes at most to show a survey."""
"""How long after its time-out a request may still take effect."""
FAULTS_S = 30.0
REBALANCE_S = 8.0
PATIENCE_S = 400.0
"""How long after the last fault everything may take."""


class SimulatedWorker(Protocol):
    """One process, as the group and the nemesis see it."""

    name: str
    dead: bool
    asleep_until: float

    @property
    def busy(self) -> bool:
        """Whether something is under way."""

    def revoke(self, token: "Token", until: float) -> None:
        """Give a partition away in good order, by then at the latest."""

    def leave(self) -> None:
        """Finish and end, as after a SIGTERM."""


@dataclass(eq=False, slots=True)
class Token:
    """One ownership of a partition by a worker, who may hear late that it has ended."""

    worker: SimulatedWorker
    partition: Partition
    heard_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a schedule is run with."""

    quiet_s: float = LATE_MAX_S + QUEUE_MAX_S
    workers: int = 2
    harm_only: bool = False
    """Whether only what comes of a broken rule counts, and not that it was broken."""
    traced: bool = False


class World(Agenda):
    """One schedule: everything but the workers' insides."""

    def __init__(self, seed: int, settings: Settings, operation: WantedBy) -> None:
        super().__init__()
        dice = self.dice = Random(seed)
        self.trace: list[str] | None = [] if settings.traced else None
        self.script: Script = write(dice, operation)
        self.weather = Weather(dice)
        self.resend_unobservable = dice.random() < 0.3
        self.witness = Witness(
            self.script,
            lease_s=LEASE_S,
            resend_unobservable=self.resend_unobservable,
            harm_only=settings.harm_only,
        )
        self.kafka = Kafka(self.script.input, agenda=self, witness=self.witness, dice=dice)
        self.limits = EngineConfig(
            lease_s=LEASE_S,
            takeover_wait_s=LEASE_S + REQUEST_TIMEOUT_S + settings.quiet_s,
            quiet_s=settings.quiet_s,
            attempts_max=8,
            attempts_over_s=60.0,
            unchanged_resend_after_s=dice.choice((10, 10_000)),
            offset_gap_max=1_000,
            dead_letter_limit=0,
            letter_bytes_max=1_000,
            resend_unobservable=self.resend_unobservable,
            app_version="1",
            instance="worker",
        )
        self.workers: list[SimulatedWorker] = []
        self._names = count()

    def begin(self, workers: int) -> None:
        """Let workers start and have the partitions."""
        for _ in range(workers):
            self.start()
        for partition in PARTITIONS:
            self._assign(partition)

    def new_worker(self, name: str) -> SimulatedWorker:
        """Return a worker that has just started."""
        raise NotImplementedError

    def judge(self) -> None:
        """Compare what is there with what should be.

        Raises:
            ViolationError: they differ.
        """
        raise NotImplementedError

    def strikes(self, probability: float) -> bool:
        """Whether a fault happens now; the dice are thrown in any case."""
        return self.dice.random() < probability * self.weather.malice and not self.weather.fair

    def say(self, *what: object) -> None:
        """Note a step for a person who reads the schedule."""
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f}  {' '.join(map(str, what))}")

    def run(self) -> None:
        """Run the schedule.

        Raises:
            ViolationError: the guarantee does not hold.
        """
        self.at(self.dice.uniform(0, 3), self._nemesis)
        self.at(FAULTS_S, self._calm)
        self.at(REBALANCE_S, self._rebalance)
        deadline = FAULTS_S + PATIENCE_S
        while (step := self.take()) is not None:
            if self.weather.fair and not self.unrest():
                break
            if self.now > deadline:
                raise ViolationError(f"not at rest [19]: {self.unrest()}")
            step()
            if self.witness.violation is not None:
                raise self.witness.violation
        self.say("at rest")
        self.judge()

    # Faults

    def _nemesis(self) -> None:
        if self.weather.fair:
            return
        worker = self.dice.choice(self.workers)
        partition = self.dice.choice(PARTITIONS)
        if self.strikes(1.0):
            match self.dice.randrange(9):
                case 0 | 1:
                    self.crash(worker)
                case 2 | 3:
                    self._sleep(worker)
                case 4 | 5:
                    self._revoke(partition)
                case 6 | 7:
                    self.lose(partition)
                case _:
                    self.say(worker.name, "is told to leave")
                    worker.leave()
        self.at(self.dice.expovariate(1 / 3), self._nemesis)

    def _calm(self) -> None:
        self.say("all is well from now on")
        self.weather.fair = True

    def _rebalance(self) -> None:
        """Give partitions that nobody owns to somebody, as a group does."""
        for partition in PARTITIONS:
            self._assign_if_free(partition, None)
        self.at(REBALANCE_S, self._rebalance)

    def start(self) -> None:
        """Let another worker start."""
        worker = self.new_worker(f"w{next(self._names)}")
        self.say(worker.name, "starts")
        self.workers.append(worker)

    def crash(self, worker: SimulatedWorker) -> None:
        """End a worker between two steps; another one starts, partitions move in time."""
        if worker.dead:
            return
        self.say(worker.name, "dies")
        self.gone(worker)
        # Its successor has the same transactional id, now or when it comes to it.
        self.at(self.dice.choice((0.0, 2.0)), lambda: self.kafka.end_all(worker.name))

    def gone(self, worker: SimulatedWorker) -> None:
        """Replace a worker that has ended."""
        worker.dead = True
        self.workers.remove(worker)
        self.start()
        for token in self.owned(worker):
            self.lose(token.partition)

    def _sleep(self, worker: SimulatedWorker) -> None:
        """Stop a worker for a while; mostly its partitions go to others meanwhile."""
        worker.asleep_until = self.now + self.dice.uniform(0.5, 15)
        self.say(worker.name, "sleeps until", f"{worker.asleep_until:.3f}")
        if self.dice.random() < 0.8:
            for token in self.owned(worker):
                self.lose(token.partition)

    def _revoke(self, partition: Partition) -> None:
        """Take a partition from its owner in good order."""
        token = self.kafka.owners.get(partition)
        if isinstance(token, Token):
            self.say(token.worker.name, "is to give away", partition.number)
            token.worker.revoke(token, self.now + self.dice.uniform(0, 3))
            self.at(5, lambda: self._assign_if_free(partition, token))

    def lose(self, partition: Partition) -> None:
        """Take a partition without a word; it goes to anybody, the same worker included."""
        token = self.kafka.owners.pop(partition, None)
        if isinstance(token, Token):
            token.heard_at = self.now + self.dice.choice((0.0, 3.0)) * self.dice.random()
        wait_s = self.dice.choice((0.0, 1.0))
        self.at(wait_s, lambda: self._assign_if_free(partition, None))

    def owned(self, worker: SimulatedWorker) -> list[Token]:
        """Return what a worker owns."""
        tokens = self.kafka.owners.values()
        return [token for token in tokens if isinstance(token, Token) and token.worker is worker]

    def _assign_if_free(self, partition: Partition, before: object) -> None:
        if self.kafka.owners.get(partition) in (None, before):
            self._assign(partition)

    def _assign(self, partition: Partition) -> None:
        awake = [worker for worker in self.workers if worker.asleep_until <= self.now]
        worker = self.dice.choice(awake or self.workers)
        self.say(partition.number, "goes to", worker.name)
        self.kafka.owners[partition] = Token(worker, partition)

    # The end

    def unrest(self) -> list[str]:
        """Return what still has to happen."""
        behind = [
            f"{partition.number} at {self.kafka.offsets[partition]} of {end}"
            for partition, end in self.script.ends.items()
            if self.kafka.offsets[partition] != end
        ]
        moving = [w.name for w in self.workers if w.asleep_until > self.now or w.busy]
        return behind + moving


def check(what: str, found: object, expected: object) -> None:
    """Raise unless both are equal."""
    if found != expected:
        raise ViolationError(f"{what}: {found!r} instead of {expected!r}")


Later = Callable[[float, Callable[[], None]], None]
"""Does something after a while, unless the worker has died by then."""
Done = Callable[[Outcome], None]
