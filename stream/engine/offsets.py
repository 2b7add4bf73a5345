"""Unsettled offsets of a partition, and the dead-letter limit."""

from collections import deque


class OffsetTracker:
    """Tracks the offsets of one partition from poll to settlement."""

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        """The offset after the last one that was read."""
        self._order: deque[int] = deque()
        self._times_ms: dict[int, int] = {}

    def add(self, offset: int, timestamp_ms: int) -> None:
        """Add the next offset, with its record's timestamp."""
        self.next_offset = offset + 1
        self._order.append(offset)
        self._times_ms[offset] = timestamp_ms

    def settle(self, offset: int) -> bool:
        """Settle an offset; return False if it was not pending."""
        if self._times_ms.pop(offset, None) is None:
            return False
        while self._order and self._order[0] not in self._times_ms:
            self._order.popleft()
        return True

    def advance_to(self, offset: int) -> None:
        """Record that everything before ``offset`` was read, including control records."""
        self.next_offset = max(self.next_offset, offset)

    @property
    def commit_offset(self) -> int:
        """The lowest unsettled offset."""
        return self._order[0] if self._order else self.next_offset

    @property
    def span(self) -> int:
        """Distance between the next offset to read and the offset to commit."""
        return self.next_offset - self.commit_offset

    @property
    def oldest_ms(self) -> int | None:
        """Timestamp of the oldest unsettled record in milliseconds; None if all are settled."""
        return self._times_ms[self._order[0]] if self._order else None

    def __len__(self) -> int:
        """Return the number of unsettled offsets."""
        return len(self._times_ms)


# A wrong schema must not turn a whole topic into dead letters


class DeadLetterLimit:
    """Trips when too many of a partition's last events became dead letters; 0 disables it.

    The window is twice ``dead_letters_max`` events, so half of them have to be dead letters,
    consecutive or not.
    """

    def __init__(self, dead_letters_max: int) -> None:
        self._dead_letters_max = dead_letters_max
        self._rejections: deque[bool] = deque(maxlen=2 * dead_letters_max)
        self._dead_letters = 0

    @property
    def exceeded(self) -> bool:
        """Whether the partition should be paused until somebody has checked the dead letters."""
        return 0 < self._dead_letters_max <= self._dead_letters

    def record(self, *, rejected: bool) -> None:
        """Record whether an event became a dead letter."""
        if not self._dead_letters_max:
            return
        if len(self._rejections) == self._rejections.maxlen:
            self._dead_letters -= self._rejections[0]
        self._rejections.append(rejected)
        self._dead_letters += rejected

    def reset(self) -> None:
        """Clear the window."""
        self._rejections.clear()
        self._dead_letters = 0
