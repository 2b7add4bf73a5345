"""How much goes wrong in a schedule, and for how long Wootric refuses everybody."""

from collections.abc import Sequence
from random import Random


class Weather:
    """How likely what goes wrong is; all is well once ``fair``."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self.fair = False
        self.malice = dice.choice((0.0, 0.5, 1.0))
        """How often the nemesis strikes."""
        self._trouble = dice.choice((0.0, 0.1, 0.4))
        begins = dice.uniform(0, 20) if dice.random() < 0.25 else float("inf")
        self._forbidden = (begins, begins + dice.uniform(1, 8))

    def fate(self, fates: Sequence[str]) -> str:
        """Return what becomes of a request: ``fine``, or one of these."""
        if self.fair or self._dice.random() >= self._trouble:
            return "fine"
        return self._dice.choice(fates)

    def forbids(self, now: float) -> bool:
        """Whether Wootric refuses all that this account asks for."""
        begins, ends = self._forbidden
        return begins <= now < ends and not self.fair
