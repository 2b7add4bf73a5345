"""Values that are read again while the service runs: secrets in files that change."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from stream.errors import StartupError
from stream.settings import in_files

log = structlog.get_logger()

T = TypeVar("T")

EVERY_S = 1.0


class Renewed(Generic[T]):
    """Gives a value as it is now; read at most every ``every_s`` seconds, from any thread.

    While it cannot be read, the last one counts: a file that is just being replaced, or a
    secret that was deleted too early, must not end what works.
    """

    def __init__(
        self,
        read: Callable[[], T],
        *,
        first: T,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._value = first
        self._every_s = every_s
        self._clock = clock
        self._read_at = clock()

    def __call__(self) -> T:
        """Return the value."""
        now = self._clock()
        if now - self._read_at >= self._every_s:
            self._read_at = now
            try:
                self._value = self._read()
            except StartupError as error:  # it names settings and shapes, no values
                log.warning("secrets_not_read", detail=str(error))
        return self._value


def lasting(read: Callable[[], T], *, first: T, every_s: float = EVERY_S) -> Callable[[], T]:
    """Return what gives a value of the settings as it is now: read again where secrets are in
    files, which may change, else always the first.
    """
    return Renewed(read, first=first, every_s=every_s) if in_files() else lambda: first
