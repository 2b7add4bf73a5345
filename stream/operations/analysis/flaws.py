"""What can be wrong with an event, and what an audit has found. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from stream.operations.analysis.dead_letters import Letter
from stream.state.ledger_codec import EventOutcome

FLAWS_KEPT = 1_000
"""How many flaws are named; all are counted."""
NEVER_MS = -(2**63)


class Kind(StrEnum):
    """How an event can be wrong."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    UNSETTLED = "unsettled"
    TORN = "torn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """An event that is not as it has to be; the text says how."""

    kind: Kind
    partition: int
    offset: int
    text: str
    event_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is judged of a partition: the offsets from ``begin`` up to ``committed``.

    Receipts of before ``ledger_from_ms`` and letters of before ``letters_from_ms`` (of
    either topic) may have been removed by retention.
    """

    partition: int
    begin: int
    committed: int
    ledger_from_ms: float = NEVER_MS
    letters_from_ms: Mapping[EventOutcome, float] = field(default_factory=dict)

    def __contains__(self, offset: int) -> bool:
        """Whether an offset is judged."""
        return self.begin <= offset < self.committed


Letters = Mapping[EventOutcome, Mapping[int, Sequence[Letter]]]
"""By REJECTED and PARKED: the letters of a partition's events, by the events' offsets."""


@dataclass(slots=True)
class Findings:
    """What was found: how the events ended, by outcome and reason, and what is wrong."""

    events: int = 0
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counter[Kind] = field(default_factory=Counter)
    flaws: list[Flaw] = field(default_factory=list)
    expired: int = 0
    unreadable: int = 0
    in_doubt: int = 0

    def add(self, flaw: Flaw, events: int = 1) -> None:
        """Note a flaw of one event, or of as many from there on."""
        self.counts[flaw.kind] += events
        if len(self.flaws) < FLAWS_KEPT:
            self.flaws.append(flaw)
