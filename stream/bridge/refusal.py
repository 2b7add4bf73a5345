"""A request that is not taken, and what its sender is told."""

from typing import Literal, TypeAlias

from stream.errors import StreamError

Reason: TypeAlias = Literal[
    "not_found",
    "method",
    "media_type",
    "encoding",
    "signature",
    "too_large",
    "too_slow",
    "broken_off",
    "undecodable",
    "not_json",
    "invalid_event",
    "busy",
    "unavailable",
]
"""The words that count refusals; docs/reference/bridge-answers.md explains them."""

STATUS: dict[Reason, int] = {
    "not_found": 404,
    "method": 405,
    "media_type": 415,
    "encoding": 415,
    "signature": 401,
    "too_large": 413,
    "too_slow": 408,
    "broken_off": 400,
    "undecodable": 400,
    "not_json": 400,
    "invalid_event": 400,
    "busy": 503,
    "unavailable": 503,
}
"""Segment repeats 408 and 503 for four hours, and nothing else of these."""


class Refused(StreamError):  # noqa: N818  (a state, not a defect)
    """Nothing of this request is taken; the sender is told why.

    ``detail`` quotes nothing of the request. ``event`` is the index of the event that is
    wrong, where it is one.
    """

    def __init__(self, reason: Reason, detail: str, *, event: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.event = event

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return STATUS[self.reason]
