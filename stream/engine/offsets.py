"""Which offsets of a partition are not settled yet, and how many became dead letters."""

from collections import deque


class OffsetTracker:
    """The consumed offsets of one partition between their poll and their settlement."""

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        """The offset after the last one that was read."""
        self._order: deque[int] = deque()
        self._times_ms: dict[int, int] = {}

    def add(self, offset: int, timestamp_ms: int) -> None:
        """Take over the next offset, with its record's timestamp."""
        self.next_offset = offset + 1
        self._order.append(offset)
        self._times_ms[offset] = timestamp_ms

    def settle(self, offset: int) -> bool:
        """Settle an offset; return whether it was under way."""
        if self._times_ms.pop(offset, None) is None:
            return False
        while self._order and self._order[0] not in self._times_ms:
            self._order.popleft()
        return True

    def advance_to(self, offset: int) -> None:
        """Note that everything before ``offset`` was read, control records included."""
        self.next_offset = max(self.next_offset, offset)

    @property
    def commit_offset(self) -> int:
        """The lowest offset that is not settled: the one to commit."""
        return self._order[0] if self._order else self.next_offset

    @property
    def span(self) -> int:
        """How far reading has run ahead of the watermark."""
        return self.next_offset - self.commit_offset

    @property
    def oldest_ms(self) -> int | None:
        """The timestamp of the record at the watermark; None when all is settled."""
        return self._times_ms[self._order[0]] if self._order else None

    def __len__(self) -> int:
        """Return how many offsets are not settled."""
        return len(self._times_ms)


# The dead-letter brake: a wrong schema must not drain a topic into the dead letters


class DeadLetterLimit:
    """Looks back over a partition's last events; ``letters_max`` of 0 never brakes.

    It looks twice as far back as letters are allowed, so it takes half of the events to be
    dead letters, in a row or not.
    """

    def __init__(self, dead_letters_max: int) -> None:
        self._dead_letters_max = dead_letters_max
        self._rejections: deque[bool] = deque(maxlen=2 * dead_letters_max)
        self._dead_letters = 0

    @property
    def exceeded(self) -> bool:
        """Whether so many events became dead letters that somebody should look first."""
        return 0 < self._dead_letters_max <= self._dead_letters

    def record(self, *, rejected: bool) -> None:
        """Take over whether an event became a dead letter."""
        if not self._dead_letters_max:
            return
        if len(self._rejections) == self._rejections.maxlen:
            self._dead_letters -= self._rejections[0]
        self._rejections.append(rejected)
        self._dead_letters += rejected

    def reset(self) -> None:
        """Begin anew."""
        self._rejections.clear()
        self._dead_letters = 0
