"""How many requests may be under way at once: fewer while the host is slow or fails. Pure.

Additive increase, multiplicative decrease, judged once a window of about one reply time (as in
Vector's adaptive concurrency, but against the usual time of each kind of request). Noise of a
few milliseconds never counts: a host that is steady is used to the full.
"""

from dataclasses import dataclass

FIRST = 16  # a host whose allowance nobody knows yet is not met with hundreds of requests
FIRST_WINDOW_S = 0.02
WINDOW_S = 0.1
STEPS = 16  # windows from the least to the most: back within seconds once all is well
TROUBLE_SHARE = 0.1
TROUBLE_FACTOR = 0.5
SLOW_SHARE = 0.5
SLOW_FACTOR = 0.8
SLOW_FLOOR = 8  # slowness alone leaves an eighth: whoever is slow still works
SLOW_TIMES = 2.0
SLOW_SLACK_S = 0.05  # what this machine may lose by itself: collector, other processes
USED_SHARE = 0.8
LEARN_DOWN, LEARN_UP, LEARN_SLOW = 0.5, 0.3, 0.1


@dataclass(slots=True)
class LatencyWindow:
    """The usual time of one kind of request, and its answers in this window."""

    usual_s: float | None = None
    answers: int = 0
    sum_s: float = 0.0


class AdaptiveConcurrency:
    """The limit for one host. Times are monotonic seconds, handed in by the caller."""

    __slots__ = (
        "_answers",
        "_began_at",
        "_first",
        "_length_s",
        "_limit",
        "_most",
        "_peak",
        "_slow",
        "_times",
        "_trouble",
        "limit",
    )

    def __init__(self, *, most: int, now: float = 0.0) -> None:
        self._most = most
        self._limit = float(min(most, FIRST))
        self._first = True
        self._times: dict[str, LatencyWindow] = {}
        self._length_s = FIRST_WINDOW_S
        self._began_at = now
        self._answers = self._trouble = self._slow = self._peak = 0
        self.limit = int(self._limit)

    def finished(
        self, name: str, took_s: float, *, trouble: bool, under_way: int, now: float
    ) -> bool:
        """Take over how a request ended; return whether that changed ``limit``.

        ``trouble``: the host failed, was silent or turned it away. ``under_way`` counts it too.
        """
        self._peak = max(self._peak, under_way)
        self._answers += 1
        if trouble:
            self._trouble += 1
        else:
            self._note(name, took_s)
        if now - self._began_at < self._length_s:
            return False
        before = self.limit
        self._evaluate()
        self._begin(now)
        return self.limit != before

    def _note(self, name: str, took_s: float) -> None:
        times = self._times.get(name)
        if times is None:
            times = self._times[name] = LatencyWindow()
        times.answers += 1
        times.sum_s += took_s
        if times.usual_s is not None and took_s > times.usual_s * SLOW_TIMES + SLOW_SLACK_S:
            self._slow += 1

    def _evaluate(self) -> None:
        slow = self._slow > self._answers * SLOW_SHARE
        if self._trouble > self._answers * TROUBLE_SHARE:
            self._first = False
            self._limit = max(1.0, self._limit * TROUBLE_FACTOR)
        elif slow:
            self._first = False
            floor = min(self._limit, self._most / SLOW_FLOOR)
            self._limit = max(1.0, floor, self._limit * SLOW_FACTOR)
        elif self._peak >= self._limit * USED_SHARE:
            step = self._limit if self._first else max(1.0, self._most / STEPS)
            self._limit = min(float(self._most), self._limit + step)
        self.limit = int(self._limit)
        self._learn(slow=slow)

    def _learn(self, *, slow: bool) -> None:
        """Move what is usual towards this window; a time that stays long is usual in the end."""
        answers, sum_s = 0, 0.0
        for times in self._times.values():
            if not times.answers:
                continue
            mean_s = times.sum_s / times.answers
            usual_s = mean_s if times.usual_s is None else times.usual_s
            weight = LEARN_DOWN if mean_s < usual_s else LEARN_SLOW if slow else LEARN_UP
            times.usual_s = usual_s + weight * (mean_s - usual_s)
            answers += times.answers
            sum_s += times.sum_s
            times.answers, times.sum_s = 0, 0.0
        reply_s = sum_s / answers if answers else 0.0
        self._length_s = max(FIRST_WINDOW_S if self._first else WINDOW_S, reply_s)

    def _begin(self, now: float) -> None:
        self._began_at = now
        self._answers = self._trouble = self._slow = self._peak = 0
