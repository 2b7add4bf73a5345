"""How much of what comes in may be in memory at once. Pure."""

from types import TracebackType
from typing import Self

from stream.bridge.refusal import Refused


class Budget:
    """Bytes of all requests that are under way."""

    def __init__(self, bytes_max: int) -> None:
        self.used = 0
        self._bytes_max = bytes_max

    def lease(self) -> "Lease":
        """Return the share of one request, empty at first."""
        return Lease(self)

    def take(self, count: int) -> None:
        """Raises Refused when there is no room: the sender tries again later."""
        if self.used + count > self._bytes_max:
            raise Refused("busy", "too much is under way; send it again later")
        self.used += count


class Lease:
    """What one request has taken; given back at the end of the context."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def take(self, count: int) -> None:
        """Take so many bytes more. Raises Refused when there is no room."""
        self._budget.take(count)
        self._bytes += count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._budget.used -= self._bytes
