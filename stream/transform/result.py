"""What the transform is told, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sink.wootric.operations import Operation
from stream.transform.traits import find


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that the mapping depends on.

    ``amount_suffix`` adds Wootric's ``_amount`` to the names of whole numbers.
    """

    amount_suffix: bool = False
    delete_users: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Wootric is to be asked for this.

    Operations of one ``lane`` (one end user) keep the order of their events. ``notes``
    names what had to be left out, for counting.
    """

    operation: Operation
    lane: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    """Wootric has nothing to do with this event; ``reason`` is from a bounded set."""

    reason: str


# Whether the event is meant for Wootric at all


def enabled(integrations: Any) -> bool:
    """Judge the integrations object as Segment does.

    Only a boolean under ``All`` (in any case) counts. ``Wootric`` is case-sensitive and
    goes before; anything there but false enables, since options imply "on".
    Source: segmentio/facade 3.2.3, ``enabled()``.
    """
    if not isinstance(integrations, Mapping):
        return True
    if "Wootric" in integrations:
        return integrations["Wootric"] is not False
    return find(integrations, "all") is not False
