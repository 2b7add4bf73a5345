"""What every part of the sink needs from outside."""

from collections.abc import Callable
from dataclasses import dataclass

from sink.models import Sender
from sink.wootric.hooks import SinkHooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """``clock`` gives monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in
    [0, 1).
    """

    http: Sender
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    random: Callable[[], float]
    hooks: SinkHooks
