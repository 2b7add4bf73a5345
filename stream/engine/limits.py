"""The engine's limits: what may be released, dead letters in a row, tries of one operation."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from sink.delivery import QueueClass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits and waits; times in seconds.

    ``lease_s``: maximum age of the last committed transaction at which an attempt may start.
    ``takeover_wait_s``: how long a lane that another worker left in doubt stays blocked.
    ``quiet_s``: the same after an attempt of this worker, from its last byte. ``attempts_max``: an
    operation is parked after this many requests that failed while others were served, spread over
    at least ``attempts_over_s``. ``offset_gap_max``: how far offsets may run ahead of the lowest
    unsettled one. ``dead_letter_limit``: a partition pauses when this many of its last 2 * N events
    became dead letters; 0 disables it. ``letter_bytes_max``: how many bytes of its record a dead
    letter may hold.
    """

    lease_s: float
    takeover_wait_s: float
    quiet_s: float
    attempts_max: int
    attempts_over_s: float
    unchanged_resend_after_s: float
    offset_gap_max: int
    dead_letter_limit: int
    letter_bytes_max: int
    resend_unobservable: bool
    app_version: str
    instance: str


@dataclass(frozen=True, slots=True)
class ReleaseBudget:
    """How many operations may be released now: under the rate limit, and without it.

    ``requests`` is the number of requests under the rate limit that may begin soon, including
    look-ups; infinite while no rate limit is in force.
    """

    limited: int
    unlimited: int
    requests: float = float("inf")


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


# No single operation or end user may hold up the others for ever


@dataclass(slots=True)
class FailedTries:
    """Tries of one operation that failed while the destination served others.

    ``first_at`` is when the first failed (monotonic seconds), ``requests`` what all of them sent,
    ``cost`` what the last one sent.
    """

    first_at: float
    count: int = 0
    requests: int = 0
    cost: int = 1

    def add(self, requests: int) -> None:
        """Count a try that sent ``requests``."""
        self.count += 1
        self.cost = max(1, requests)
        self.requests += self.cost

    def next_at(self, now: float, *, requests_max: int, over_s: float) -> float | None:
        """Return when to try again; None if the tries are spent.

        The waits double. The try that exceeds ``requests_max`` is the last one, not before the end
        of ``over_s``.
        """
        ends_at = self.first_at + over_s
        if self.requests + self.cost > requests_max:
            return ends_at if now < ends_at else None
        first_wait_s = over_s / max(1, 2 ** (requests_max - 1) - 1)
        return now + float(first_wait_s * 2 ** (self.count - 1))


SUSPENDED_MAX = 10_000


class AttemptLimit:
    """Ends the tries of an operation that fails while the destination serves others.

    Afterwards the lane is suspended for six times ``over_s``: its operations are parked without a
    request, except those that somebody replays. The first one after that is tried once, and the
    lane is suspended again if it fails as well.
    """

    def __init__(self, *, attempts_max: int, over_s: float) -> None:
        self._attempts_max = attempts_max
        self._over_s = over_s
        self._suspended: OrderedDict[str, int] = OrderedDict()

    def next_at(self, tries: FailedTries, lane: str, now: float, now_ms: int) -> float | None:
        """Return when to try again; None if all tries are spent, and the lane is suspended."""
        when = None
        if lane not in self._suspended:
            when = tries.next_at(now, requests_max=self._attempts_max, over_s=self._over_s)
        if when is None:
            self._suspended[lane] = now_ms + int(6_000 * self._over_s)
            self._suspended.move_to_end(lane)
            if len(self._suspended) > SUSPENDED_MAX:
                self._suspended.popitem(last=False)
        return when

    def suspends(self, lane: str, queue_class: QueueClass, now_ms: int) -> bool:
        """Return whether operations of this class are not tried now in a lane."""
        until_ms = self._suspended.get(lane, now_ms)
        return now_ms < until_ms and queue_class is not QueueClass.UNLIMITED

    def served(self, lane: str) -> None:
        """End the suspension of a lane: one of its operations was served."""
        self._suspended.pop(lane, None)
