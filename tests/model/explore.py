"""Every state that a model can reach, breadth first, and the shortest way to a bad one."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found: how many states there are, or the steps that lead to a violation."""

    states: int
    violation: str | None = None
    steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{number:3}. {step}" for number, step in enumerate(self.steps, start=1)]
        return "\n".join([f"{self.violation or 'none'} ({self.states:,} states)", *lines])


class Explorer(Generic[State]):
    """Explores a model: ``following`` yields what may happen next, ``fault`` what is wrong."""

    def __init__(
        self,
        following: "Callable[[State], Steps[State]]",
        fault: Callable[[State, bool], str | None],
    ) -> None:
        self._following = following
        self._fault = fault
        self._reached_by: dict[State, tuple[State, str] | None] = {}

    def explore(self, first: State) -> Exploration:
        """Visit all states, or stop at the first bad one: no shorter way leads to any."""
        self._reached_by = {first: None}
        left = deque([first])
        while left:
            state = left.popleft()
            at_rest = True
            for label, after in self._following(state):
                at_rest = False
                if after not in self._reached_by:
                    self._reached_by[after] = (state, label)
                    left.append(after)
            violation = self._fault(state, at_rest)
            if violation is not None:
                return Exploration(len(self._reached_by), violation, self._way_to(state))
        return Exploration(len(self._reached_by))

    def _way_to(self, state: State) -> tuple[str, ...]:
        steps: list[str] = []
        while (origin := self._reached_by[state]) is not None:
            state, label = origin
            steps.append(label)
        return tuple(reversed(steps))
