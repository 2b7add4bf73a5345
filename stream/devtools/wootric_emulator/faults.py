"""Fault injection: failures of a request before or after its effect.

An ordered fault applies to the next request that matches its method and path; random faults
apply to a share of the requests, the same ones for the same seed.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stream.devtools.wootric_emulator.api import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply that replaces the real one, without an effect or after it."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """The real reply, delayed before the effect or between the effect and the reply."""

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """No reply, and the connection is closed: the request was lost, or (``effect``) the reply."""

    effect: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEffect:
    """No reply; the connection is closed immediately, and the effect occurs after ``after_s``."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """The real reply, cut off after ``keep_bytes`` of its body; then the connection is closed."""

    keep_bytes: int = 0


Fault: TypeAlias = Answer | Delay | Drop | LateEffect | Truncate


@dataclass(frozen=True, slots=True, kw_only=True)
class LostReplies:
    """With this probability the effect occurs and the reply is lost.

    Affects writes and the pixel, look-ups only with ``lookups``, never the token endpoint.
    """

    probability: float
    seed: int
    lookups: bool = False
    scope: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRequests:
    """With this probability the connection is closed before any effect.

    Affects writes and the pixel, look-ups only with ``lookups``, never the token endpoint.
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
    """A fault for matching requests; ``times`` of None applies to all of them."""

    method: str
    path: str
    fault: Fault
    times: int | None = 1
    used: int = 0

    @property
    def unused(self) -> bool:
        """Whether fewer requests than ordered have matched (with ``times`` None: none has)."""
        return self.used < (1 if self.times is None else self.times)

    def fits(self, call: Call, pattern: re.Pattern[str]) -> bool:
        """Return whether the fault applies to a request."""
        return (
            (self.times is None or self.used < self.times)
            and self.method in {"*", call.method}
            and pattern.fullmatch(call.path) is not None
        )


class Faults:
    """The active faults, in the order in which they were added."""

    def __init__(self) -> None:
        self._orders: list[tuple[Order, re.Pattern[str]]] = []
        self._random: list[tuple[RandomFault, re.Pattern[str], random.Random]] = []

    def order(self, order: Order) -> None:
        """Add an ordered fault."""
        self._orders.append((order, _pattern(order.path)))

    def scatter(self, fault: RandomFault) -> None:
        """Add a random fault."""
        dice = random.Random(fault.seed)  # noqa: S311  (to be repeated, not to be secret)
        self._random.append((fault, _pattern(fault.scope), dice))

    def calm(self) -> None:
        """Remove all faults."""
        self._orders.clear()
        self._random.clear()

    def unused(self) -> list[Order]:
        """Return the orders that are not used up."""
        return [order for order, _ in self._orders if order.unused]

    def meet(self, call: Call) -> Fault | None:
        """Return the fault for this request, and count it as used."""
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
    """Return the pattern of a path: ``{anything}`` matches one part, ``*`` any number of them."""
    parts = re.split(r"(\{[^}]*\}|\*)", path)
    rendered = (
        "[^/]+" if part.startswith("{") else ".*" if part == "*" else re.escape(part)
        for part in parts
    )
    return re.compile("".join(rendered))


def random_fault(document: Mapping[str, Any]) -> RandomFault:
    """Return the random fault of a JSON object with its ``type`` and its fields.

    Raises:
        KeyError: the type does not exist.
        TypeError: a field is unknown or missing.
    """
    arguments = dict(document)
    return RANDOM_FAULTS[arguments.pop("type")](**arguments)


def order(document: Mapping[str, Any]) -> Order:
    """Return the order of a JSON object.

    ``{"method", "path", "fault": {"type", ...}}``, with ``times`` or ``always``.

    Raises:
        KeyError: a part is missing, or the fault's type does not exist.
        TypeError: a field of the fault is unknown or missing.
    """
    arguments = dict(document["fault"])
    fault = FAULTS[arguments.pop("type")](**arguments)
    times = None if document.get("always") else int(document.get("times", 1))
    return Order(document["method"], document["path"], fault, times)
