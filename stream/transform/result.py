"""What the transform is told, and what it answers."""

from dataclasses import dataclass

from sink.wootric.operations import Operation


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
