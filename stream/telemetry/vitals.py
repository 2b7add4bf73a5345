"""What health and status are answered from: the state of one worker, as it stands now."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from stream.kafka.protocol import Halted
from stream.record import Partition

LAST_LETTERS = 10
HISTORY_S = 60


@dataclass(frozen=True, slots=True)
class Opened:
    """An open circuit: why, and since when (monotonic seconds)."""

    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a partition stands: its offsets, and how far behind it is."""

    end: int
    position: int
    committed: int | None
    lag: int
    lag_s: float
    in_flight: int


@dataclass(slots=True)
class Vitals:
    """Times are monotonic seconds."""

    started_at: float = field(default_factory=time.monotonic)
    beat_at: float = field(default_factory=time.monotonic)
    joined: bool = False
    draining: bool = False
    halted: dict[Partition, Halted] = field(default_factory=dict)
    circuits: dict[str, Opened] = field(default_factory=dict)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    consumed: int = 0
    relinquished: int = 0
    standings: dict[Partition, Standing] = field(default_factory=dict)
    in_flight: int = 0
    in_doubt: int = 0
    in_doubt_oldest_s: float = 0.0
    throttled_until: float = 0.0
    committed_at: float | None = None
    letters: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LAST_LETTERS))
    history: deque[tuple[float, int, int]] = field(
        default_factory=lambda: deque(maxlen=HISTORY_S + 1)
    )

    @property
    def lag(self) -> int:
        """How many records are not settled, over all partitions of this worker."""
        return sum(standing.lag for standing in self.standings.values())

    def note_history(self, now: float) -> None:
        """Keep what was consumed and settled by now, once a second at most."""
        if not self.history or now - self.history[-1][0] >= 1.0:
            self.history.append((now, self.consumed, self.settled.total()))

    def rates(self) -> list[tuple[float, float]]:
        """Return records consumed and settled per second, the oldest second first."""
        points = list(self.history)
        return [
            (
                (later[1] - earlier[1]) / (later[0] - earlier[0]),
                (later[2] - earlier[2]) / (later[0] - earlier[0]),
            )
            for earlier, later in pairwise(points)
        ]
