"""The dead-letter brake: a wrong schema must not drain a topic into the dead letters."""

from collections import deque


class Brake:
    """Looks back over a partition's last events; ``letters_max`` of 0 never brakes.

    It looks twice as far back as letters are allowed, so it takes half of the events to be
    dead letters, in a row or not.
    """

    def __init__(self, letters_max: int) -> None:
        self._letters_max = letters_max
        self._refused: deque[bool] = deque(maxlen=2 * letters_max)
        self._letters = 0

    @property
    def on(self) -> bool:
        """Whether so many events became dead letters that somebody should look first."""
        return 0 < self._letters_max <= self._letters

    def note(self, *, refused: bool) -> None:
        """Take over whether an event became a dead letter."""
        if not self._letters_max:
            return
        if len(self._refused) == self._refused.maxlen:
            self._letters -= self._refused[0]
        self._refused.append(refused)
        self._letters += refused

    def release(self) -> None:
        """Begin anew."""
        self._refused.clear()
        self._letters = 0
