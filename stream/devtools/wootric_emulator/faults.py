"""Faults to order: what goes wrong with a request, before or after its effect.

An ordered fault meets the next request that its method and path fit; random faults meet a
share of the requests, the same ones for the same seed.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stream.devtools.wootric_emulator.api import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Another reply than the true one: without any effect, or after it."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """The true reply, late: the time passes before the effect or between it and the reply."""

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """No reply, the connection ends: the request was lost, or (``effect``) the reply."""

    effect: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEffect:
    """No reply, the connection ends at once, and the effect comes after ``after_s``."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """The true reply, cut after ``keep_bytes`` of its body; then the connection ends."""

    keep_bytes: int = 0


Fault: TypeAlias = Answer | Delay | Drop | LateEffect | Truncate


@dataclass(frozen=True, slots=True, kw_only=True)
class LostReplies:
    """With this probability the effect happens and nobody is told.

    Writes and the pixel are hit, look-ups only with ``lookups``; never the token endpoint.
    """

    probability: float
    seed: int
    lookups: bool = False
    scope: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRequests:
    """With this probability the connection ends before there is any effect.

    Writes and the pixel are hit, look-ups only with ``lookups``; never the token endpoint.
    """

    probability: float
    seed: int
    lookups: bool = False
    scope: str = "*"


RandomFault: TypeAlias = LostReplies | LostRequests

FAULTS: Mapping[str, type[Fault]] = {
    "answer": Answer,
    "delay": Delay,
    "drop": Drop,
    "late_effect": LateEffect,
    "truncate": Truncate,
}
RANDOM_FAULTS: Mapping[str, type[RandomFault]] = {
    "lost_replies": LostReplies,
    "lost_requests": LostRequests,
}


@dataclass(slots=True)
class Order:
    """A fault that waits for its requests; ``times`` of None means every one."""

    method: str
    path: str
    fault: Fault
    times: int | None = 1
    used: int = 0

    @property
    def unused(self) -> bool:
        """Whether it still waits for a request (one that is kept: for its first)."""
        return self.used < (1 if self.times is None else self.times)

    def fits(self, call: Call, pattern: re.Pattern[str]) -> bool:
        """Tell whether a request is to meet this fault."""
        return (
            (self.times is None or self.used < self.times)
            and self.method in {"*", call.method}
            and pattern.fullmatch(call.path) is not None
        )


class Faults:
    """The faults in force, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._orders: list[tuple[Order, re.Pattern[str]]] = []
        self._random: list[tuple[RandomFault, re.Pattern[str], random.Random]] = []

    def order(self, order: Order) -> None:
        """Let a fault wait for its requests."""
        self._orders.append((order, _pattern(order.path)))

    def scatter(self, fault: RandomFault) -> None:
        """Let a fault meet requests at random from now on."""
        dice = random.Random(fault.seed)  # noqa: S311  (to be repeated, not to be secret)
        self._random.append((fault, _pattern(fault.scope), dice))

    def calm(self) -> None:
        """Let no request meet a fault any more, ordered or random."""
        self._orders.clear()
        self._random.clear()

    def unused(self) -> list[Order]:
        """Return the orders that still wait."""
        return [order for order, _ in self._orders if order.unused]

    def meet(self, call: Call) -> Fault | None:
        """Return the fault that this request meets, and count it as used."""
        for order, pattern in self._orders:
            if order.fits(call, pattern):
                order.used += 1
                return order.fault
        for fault, pattern, dice in self._random:
            exposed = _exposed(call, fault) and pattern.fullmatch(call.path)
            if exposed and dice.random() < fault.probability:
                return Drop(effect=isinstance(fault, LostReplies))
        return None


def _exposed(call: Call, fault: RandomFault) -> bool:
    if call.path == "/pixel.gif":
        return True
    return call.path.startswith("/v1/") and (fault.lookups or call.method != "GET")


def _pattern(path: str) -> re.Pattern[str]:
    """Return what fits a path: ``{anything}`` is one part of it, ``*`` any number of them."""
    parts = re.split(r"(\{[^}]*\}|\*)", path)
    rendered = (
        "[^/]+" if part.startswith("{") else ".*" if part == "*" else re.escape(part)
        for part in parts
    )
    return re.compile("".join(rendered))


def random_fault(document: Mapping[str, Any]) -> RandomFault:
    """Return the random fault that a JSON object describes: its ``type``, and its fields.

    Raises:
        KeyError: there is no such fault.
        TypeError: it has no such field, or one is missing.
    """
    arguments = dict(document)
    return RANDOM_FAULTS[arguments.pop("type")](**arguments)


def order(document: Mapping[str, Any]) -> Order:
    """Return the order that a JSON object describes.

    ``{"method", "path", "fault": {"type", ...}}``, with ``times`` or ``always``.

    Raises:
        KeyError: a part is missing, or there is no such fault.
        TypeError: the fault has no such field, or one is missing.
    """
    arguments = dict(document["fault"])
    fault = FAULTS[arguments.pop("type")](**arguments)
    times = None if document.get("always") else int(document.get("times", 1))
    return Order(document["method"], document["path"], fault, times)
