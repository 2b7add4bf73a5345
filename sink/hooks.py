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
    and why. ``token_refreshed`` gets whether there is a new token.
    """

    request_finished: Callable[[str, str, int | None, float], None] = _ignore
    throttled: Callable[[float], None] = _ignore
    circuit_changed: Callable[[str, bool, str], None] = _ignore
    token_refreshed: Callable[[bool], None] = _ignore
