"""One delivery under way: what it has spent, and how it ends."""

from typing import Final

from sink.classify import Refused
from sink.wootric.delivery import Deferred, Delivery, Outcome, Parked, Rejected
from sink.wootric.expense import api_requests
from sink.wootric.refusals import detail

PATIENCE_S: Final = 2.0  # a longer wait gives the place in flight to another delivery
# Who has asked already waits on for its next request: begun anew it would only ask the same
# again, for ever where the pace is slow.
PATIENCE_BEGUN_S: Final = 600.0


class Ended(Exception):  # noqa: N818  (not an error: the delivery's outcome, found deep inside)
    """The delivery ends here, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class Effort:
    """What one delivery has spent so far: patience, requests, writes that left, failures in a row.

    ``resent`` says that a token was renewed for it: that happens once.
    """

    __slots__ = ("attempts", "delivery", "failures", "patient_until", "requests", "resent")

    def __init__(self, delivery: Delivery, *, now: float) -> None:
        self.delivery = delivery
        self.patient_until = now + PATIENCE_S
        self.requests = 0
        self.attempts = 0
        self.failures = 0
        self.resent = False

    @property
    def owed(self) -> int:
        """How many API requests it will probably still begin."""
        delivery = self.delivery
        in_all = api_requests(delivery.operation, delivery.known, in_doubt=delivery.in_doubt)
        return max(0, in_all - self.requests)

    def patience_s(self, now: float) -> float:
        """Return for how many seconds it may wait for its turn."""
        return PATIENCE_BEGUN_S if self.requests else max(0.0, self.patient_until - now)

    def deferred(self, reason: str, retry_at: float, *, refused: bool = False) -> Deferred:
        """Return the outcome of what was not executed and may be later."""
        return Deferred(reason=reason, retry_at=retry_at, refused=refused, attempts=self.attempts)

    def rejected(self, answer: Refused, reason: str) -> Rejected:
        """Return the outcome of a refusal."""
        return Rejected(
            reason=reason,
            detail=detail(answer.body),
            status=answer.status,
            attempts=self.attempts,
        )

    def turned_away(
        self, reason: str, said: str, *, status: int, looking: bool
    ) -> Rejected | Parked:
        """Return the outcome of what will never be let through.

        Who cannot look for an earlier attempt's effect must not say that there is none.
        """
        if looking and self.delivery.in_doubt:
            return Parked(reason=reason, detail=said, attempts=self.attempts)
        return Rejected(reason=reason, detail=said, status=status, attempts=self.attempts)
