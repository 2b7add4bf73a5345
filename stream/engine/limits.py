"""The bounds of the flow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and waits; times in seconds.

    ``lease_s``: an attempt starts within this time of its last committed fence.
    ``takeover_wait_s``: how long a lane that another worker left in doubt stays closed.
    ``quiet_s``: the same after an attempt of our own, from the last moment it was sent.
    ``unsettled_span_max``: how far offsets may run ahead of the lowest unsettled one.
    ``dead_letters_max``: how many dead letters, among the last twice as many events, stop a
    partition; 0 is never. ``letter_bytes_max``: what a dead letter may hold of its record.
    """

    lease_s: float
    takeover_wait_s: float
    quiet_s: float
    unchanged_resend_after_s: float
    unsettled_span_max: int
    dead_letters_max: int
    letter_bytes_max: int
    resend_pages: bool
    app_version: str
    instance: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many operations may be released now: what writes to the API, and page views.

    ``requests`` is how many API requests may begin soon, look-ups included; without a limit
    in force only the number of operations counts.
    """

    api: int
    pages: int
    requests: float = float("inf")
