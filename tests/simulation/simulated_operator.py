"""An operator who pauses and resumes partitions, and how a worker hears of it."""

from collections.abc import Callable, Mapping
from random import Random

from world import Later, World

from stream.kafka.protocol import InputPause, PausesKnown
from stream.record import Partition

ASK_EVERY_S = 2.0
SHARE = 3
"""In one of so many schedules there is an operator."""
UNTIL_S = 60.0
APART_S, PAUSE_S = 12.0, (0.5, 12.0)
ANSWER_S = 1.0
LOST = 0.1


class Operator:
    """When which partition is paused. The dice are its own: the others fall as without it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pauses: dict[Partition, list[tuple[float, float]]] = {}

    def pauses(self, partition: Partition, now: float) -> bool:
        """Return whether a partition is paused."""
        if self._seed % SHARE:
            return False
        found = self._pauses.get(partition)
        if found is None:
            found = self._pauses[partition] = self._plan(Random(f"{self._seed} {partition}"))
        return any(begin <= now < end for begin, end in found)

    def _plan(self, dice: Random) -> list[tuple[float, float]]:
        plan, at = [], 0.0
        while at < UNTIL_S:
            begin = at + dice.uniform(0, APART_S)
            at = begin + dice.uniform(*PAUSE_S)
            plan.append((begin, at))
        return plan


class SimulatedPauseWatcher:
    """Asks now and then, in order; an answer may take a while, or be lost."""

    def __init__(
        self,
        world: World,
        operator: Operator,
        name: str,
        later: Later,
        tell: Callable[[PausesKnown], None],
    ) -> None:
        self._world = world
        self._operator = operator
        self._name = name
        self._later = later
        self._tell = tell
        self._dice = Random(name)
        self._assignments: Mapping[Partition, int] = {}
        self._asking = self._closed = False

    def watch(self, assignments: Mapping[Partition, int]) -> None:
        """Ask about these soon."""
        self._assignments = assignments
        self._later(self._dice.uniform(0, 0.1), self._ask)

    def start(self) -> None:
        """Ask every few seconds."""
        self._later(ASK_EVERY_S, self._turn)

    def close(self) -> None:
        """Tell nothing any more."""
        self._closed = True

    def _turn(self) -> None:
        if not self._closed:
            self._ask()
            self._later(ASK_EVERY_S, self._turn)

    def _ask(self) -> None:
        asked = self._assignments
        if self._closed or self._asking or not asked or self._dice.random() < LOST:
            return
        self._asking = True
        now = self._world.now
        pauses = {one: InputPause(None) for one in asked if self._operator.pauses(one, now)}

        def answer() -> None:
            self._asking = False
            if not self._closed:
                self._world.say(self._name, "hears of pauses", sorted(one.number for one in pauses))
                self._tell(PausesKnown(asked, pauses))

        self._later(self._dice.uniform(0, ANSWER_S), answer)
