"""Which offsets of a partition are not settled yet."""

from collections import deque


class Offsets:
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

    def reached(self, offset: int) -> None:
        """Note that everything before ``offset`` was read, control records included."""
        self.next_offset = max(self.next_offset, offset)

    @property
    def watermark(self) -> int:
        """The lowest offset that is not settled: the one to commit."""
        return self._order[0] if self._order else self.next_offset

    @property
    def span(self) -> int:
        """How far reading has run ahead of the watermark."""
        return self.next_offset - self.watermark

    @property
    def oldest_ms(self) -> int | None:
        """The timestamp of the record at the watermark; None when all is settled."""
        return self._times_ms[self._order[0]] if self._order else None

    def __len__(self) -> int:
        """Return how many offsets are not settled."""
        return len(self._times_ms)
