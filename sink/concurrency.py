"""Adaptive limit of concurrent requests: lower while the host is slow or fails. Pure.

Additive increase, multiplicative decrease, evaluated once per window of about one reply time, as
in Vector's adaptive concurrency, but relative to the usual latency of each kind of request.
Noise of a few milliseconds is ignored, so a steady host is used to its full limit.
"""

from dataclasses import dataclass

FIRST = 16  # a host whose quota is not known yet does not receive hundreds of requests at once
FIRST_WINDOW_S = 0.02
WINDOW_S = 0.1
INCREASE_STEPS = 16  # windows from the lowest to the highest limit: recovery takes seconds
FAILED_SHARE = 0.1
FAILED_FACTOR = 0.5
SLOW_SHARE = 0.5
SLOW_FACTOR = 0.8
SLOW_FLOOR = 8  # slowness alone never reduces the limit below an eighth: a slow host still works
SLOW_RATIO = 2.0
SLOW_SLACK_S = 0.05  # delay caused by this machine: garbage collection, other processes
USED_SHARE = 0.8
LEARN_DOWN, LEARN_UP, LEARN_SLOW = 0.5, 0.3, 0.1


@dataclass(slots=True)
class LatencyWindow:
    """The usual latency of one kind of request, and its replies in the current window."""

    usual_s: float | None = None
    replies: int = 0
    sum_s: float = 0.0


class AdaptiveConcurrency:
    """The limit of one host. Times are monotonic seconds, passed by the caller."""

    __slots__ = (
        "_began_at",
        "_failed",
        "_first",
        "_length_s",
        "_limit",
        "_limit_max",
        "_peak",
        "_replies",
        "_slow",
        "_windows",
        "limit",
    )

    def __init__(self, *, limit_max: int, now: float = 0.0) -> None:
        self._limit_max = limit_max
        self._limit = float(min(limit_max, FIRST))
        self._first = True
        self._windows: dict[str, LatencyWindow] = {}
        self._length_s = FIRST_WINDOW_S
        self._began_at = now
        self._replies = self._failed = self._slow = self._peak = 0
        self.limit = int(self._limit)

    def finished(
        self, name: str, took_s: float, *, failed: bool, in_flight: int, now: float
    ) -> bool:
        """Record the end of a request; return whether that changed ``limit``.

        ``failed``: the host failed, did not reply or throttled. ``in_flight`` includes this
        request.
        """
        self._peak = max(self._peak, in_flight)
        self._replies += 1
        if failed:
            self._failed += 1
        else:
            self._note(name, took_s)
        if now - self._began_at < self._length_s:
            return False
        before = self.limit
        self._evaluate()
        self._begin(now)
        return self.limit != before

    def _note(self, name: str, took_s: float) -> None:
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = LatencyWindow()
        window.replies += 1
        window.sum_s += took_s
        if window.usual_s is not None and took_s > window.usual_s * SLOW_RATIO + SLOW_SLACK_S:
            self._slow += 1

    def _evaluate(self) -> None:
        slow = self._slow > self._replies * SLOW_SHARE
        if self._failed > self._replies * FAILED_SHARE:
            self._first = False
            self._limit = max(1.0, self._limit * FAILED_FACTOR)
        elif slow:
            self._first = False
            floor = min(self._limit, self._limit_max / SLOW_FLOOR)
            self._limit = max(1.0, floor, self._limit * SLOW_FACTOR)
        elif self._peak >= self._limit * USED_SHARE:
            step = self._limit if self._first else max(1.0, self._limit_max / INCREASE_STEPS)
            self._limit = min(float(self._limit_max), self._limit + step)
        self.limit = int(self._limit)
        self._learn(slow=slow)

    def _learn(self, *, slow: bool) -> None:
        """Move the usual latency towards this window; lasting slowness becomes the usual."""
        replies, sum_s = 0, 0.0
        for window in self._windows.values():
            if not window.replies:
                continue
            mean_s = window.sum_s / window.replies
            usual_s = mean_s if window.usual_s is None else window.usual_s
            weight = LEARN_DOWN if mean_s < usual_s else LEARN_SLOW if slow else LEARN_UP
            window.usual_s = usual_s + weight * (mean_s - usual_s)
            replies += window.replies
            sum_s += window.sum_s
            window.replies, window.sum_s = 0, 0.0
        reply_s = sum_s / replies if replies else 0.0
        self._length_s = max(FIRST_WINDOW_S if self._first else WINDOW_S, reply_s)

    def _begin(self, now: float) -> None:
        self._began_at = now
        self._replies = self._failed = self._slow = self._peak = 0
