"""What the sink tells whoever listens; the listener turns it into metrics and logs."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(*_: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkHooks:
    """Listeners. They must be quick and must not raise.

    ``request_finished`` gets the request's name, the verdict's word, the HTTP status (None
    without one) and the seconds it took. ``throttled`` gets the seconds that the server asked
    for. ``circuit_changed`` gets the circuit's name (``api``, ``pixel``), whether it is open
    and why. ``token_refreshed`` gets whether there is a new token, ``token_refused`` a word for
    why not and the HTTP status. ``concurrency_changed`` gets the host's name (as a circuit's)
    and how many requests may be under way there; ``allowance_changed`` gets the host's name, how
    many requests the account has left and how many it gets. ``pace_changed`` gets this worker's
    part of the pace, in requests per minute. ``identity_conflict`` gets the kind (see
    ``sink.wootric.identity``) and the delivery's request id.
    """

    request_finished: Callable[[str, str, int | None, float], None] = _ignore
    throttled: Callable[[float], None] = _ignore
    circuit_changed: Callable[[str, bool, str], None] = _ignore
    token_refreshed: Callable[[bool], None] = _ignore
    token_refused: Callable[[str, int], None] = _ignore
    concurrency_changed: Callable[[str, int], None] = _ignore
    allowance_changed: Callable[[str, int, int], None] = _ignore
    pace_changed: Callable[[float], None] = _ignore
    identity_conflict: Callable[[str, str], None] = _ignore
