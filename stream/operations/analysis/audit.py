"""Check that the events of one partition are settled correctly. Pure.

Feed records in this order: dead letters and parked records, the partition's ledger, its input.
Each must be read at least up to what was committed at the audited offset.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from stream.engine.prepare import PreparedRecord
from stream.operations.analysis.dead_letters import ListedDeadLetter
from stream.operations.analysis.open_intents import OpenIntents
from stream.record import Record
from stream.state.ledger import EVENT, EventEntry, EventOutcome, IntentEntry, try_decode
from stream.transform import Skip

# Findings


FLAWS_KEPT = 1_000
"""Maximum number of discrepancies that are listed; all are counted."""
NEVER_MS = -(2**63)


class DiscrepancyKind(StrEnum):
    """missing: no receipt. duplicate: settled twice. unsettled: request open. torn: incomplete."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    UNSETTLED = "unsettled"
    TORN = "torn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """An event that is settled incorrectly; ``text`` describes how."""

    kind: DiscrepancyKind
    partition: int
    offset: int
    text: str
    event_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetRange:
    """The audited offsets of a partition: from ``begin`` up to ``committed``, exclusive.

    Retention may have removed receipts from before ``ledger_from_ms``, and letters of either topic
    from before ``letters_from_ms``. Times are in milliseconds since 1970.
    """

    partition: int
    begin: int
    committed: int
    ledger_from_ms: float = NEVER_MS
    letters_from_ms: Mapping[EventOutcome, float] = field(default_factory=dict)

    def __contains__(self, offset: int) -> bool:
        """Whether an offset is audited."""
        return self.begin <= offset < self.committed


Letters = Mapping[EventOutcome, Mapping[int, Sequence[ListedDeadLetter]]]
"""Dead letters (REJECTED) and parked records (PARKED) of a partition by their events' offsets."""


@dataclass(slots=True)
class AuditResult:
    """Number of events by outcome and reason, and the discrepancies."""

    events: int = 0
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counter[DiscrepancyKind] = field(default_factory=Counter)
    flaws: list[Discrepancy] = field(default_factory=list)
    expired: int = 0
    unreadable: int = 0
    in_doubt: int = 0

    def add(self, flaw: Discrepancy, events: int = 1) -> None:
        """Add a discrepancy that affects ``events`` events from its offset on."""
        self.counts[flaw.kind] += events
        if len(self.flaws) < FLAWS_KEPT:
            self.flaws.append(flaw)


_CODES_MAX = 255
_OTHER = "other"
_RECORDS = {EventOutcome.REJECTED: "dead letter", EventOutcome.PARKED: "parked event"}


class Audit:
    """Audits one partition. Needs one byte per offset, and one number per receipt."""

    def __init__(self, span: OffsetRange, letters: Letters, findings: AuditResult) -> None:
        self._span = span
        self._letters = letters
        self._findings = findings
        self._marks = bytearray(max(0, span.committed - span.begin))
        self._codes: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = [("", "")]
        self._receipts: set[int] = set()
        self._erased: set[int] = set()
        self._intents = OpenIntents()
        self._unreadable = 0

    def entry(self, record: Record) -> None:
        """Process the next record of the partition's ledger."""
        self._intents.take(record)
        key = record.key or b""
        if key.startswith(EVENT.encode()):
            self._receipt(key.decode().removeprefix(EVENT), record.value)

    def event(self, prepared: PreparedRecord) -> None:
        """Process the next event of the partition's input."""
        findings, offset = self._findings, prepared.record.offset
        findings.events += 1
        mark = self._marks[offset - self._span.begin]
        if mark and hash(prepared.event_id) not in self._erased:
            findings.settled[self._names[mark]] += 1
        elif hash(prepared.event_id) in self._receipts:
            findings.settled["duplicate", ""] += 1
        elif isinstance(prepared.result, Skip):
            findings.settled["skipped", prepared.result.reason] += 1
        elif prepared.record.timestamp_ms < self._span.ledger_from_ms:
            findings.expired += 1
        elif prepared.event_id not in self._members:
            text = "it is before the committed offset and has no receipt"
            self._flaw(
                DiscrepancyKind.MISSING, offset, text, prepared.event_id, prepared.message_id
            )

    @cached_property
    def _members(self) -> frozenset[str]:
        """Event ids of the open intents; valid once the whole ledger is processed."""
        intents = (one.entry for one in self._intents.open())
        return frozenset(name for intent in intents if intent for name, _ in intent.members)

    def close(self) -> None:
        """Check letters and open intents after the last event, and add the counts."""
        for outcome in self._letters:
            self._check_letters(outcome)
        for one in self._intents.open():
            self._check_intent(one.entry)
        self._findings.unreadable += self._unreadable

    # Receipts

    def _receipt(self, event_id: str, value: bytes | None) -> None:
        name = hash(event_id)
        if value is None:  # a tombstone; workers never write one for a receipt
            self._receipts.discard(name)
            self._erased.add(name)
            return
        self._erased.discard(name)
        repeated = name in self._receipts
        self._receipts.add(name)
        entry = try_decode(value)
        if not isinstance(entry, EventEntry):
            self._unreadable += 1
        elif entry.offset in self._span:
            if repeated or self._marks[entry.offset - self._span.begin]:
                text = "it was settled twice: there are two receipts"
                self._flaw(DiscrepancyKind.DUPLICATE, entry.offset, text, event_id)
            self._mark(entry)
            self._check_receipt(entry, event_id)

    def _mark(self, entry: EventEntry) -> None:
        name = (entry.outcome.lower(), entry.reason or "")
        if name not in self._codes:
            if len(self._names) > _CODES_MAX - len(EventOutcome):
                name = (name[0], _OTHER)
            if name not in self._codes:
                self._codes[name] = len(self._names)
                self._names.append(name)
        self._marks[entry.offset - self._span.begin] = self._codes[name]

    def _check_receipt(self, entry: EventEntry, event_id: str) -> None:
        """Compare a receipt with the letters of its event."""
        for outcome, topic in self._letters.items():
            exists = bool(topic.get(entry.offset))
            if entry.outcome is outcome:
                expired = entry.at_ms < self._span.letters_from_ms.get(outcome, NEVER_MS)
                if not exists and not expired:
                    text = (
                        f"its receipt is {outcome.lower()}, but its {_RECORDS[outcome]} is missing"
                    )
                    self._flaw(DiscrepancyKind.TORN, entry.offset, text, event_id)
            elif exists:
                text = f"its receipt is {entry.outcome.lower()}, but it was {outcome.lower()} too"
                self._flaw(DiscrepancyKind.TORN, entry.offset, text, event_id)

    # Letters and intents

    def _check_letters(self, outcome: EventOutcome) -> None:
        for offset, letters in self._letters[outcome].items():
            if offset not in self._span:
                continue
            letter = letters[0].letter
            places = " and ".join(str(one.place) for one in letters[:3])
            if len(letters) > 1:
                text = f"it was {outcome.lower()} {len(letters)} times: {places}"
                self._flaw(DiscrepancyKind.DUPLICATE, offset, text, None, letter.message_id)
            expired = letter.failed_at_ms < self._span.ledger_from_ms or self._unreadable
            if not self._marks[offset - self._span.begin] and not expired:
                text = f"it was {outcome.lower()} ({places}), but has no receipt"
                self._flaw(DiscrepancyKind.TORN, offset, text, None, letter.message_id)

    def _check_intent(self, intent: IntentEntry | None) -> None:
        if intent is None:
            self._unreadable += 1
            return
        self._findings.in_doubt += 1
        for name, offset in intent.members:
            if hash(name) in self._receipts:
                text = f"it has a receipt, but its request {intent.request_id} is still open"
                self._flaw(DiscrepancyKind.TORN, offset, text, name)
            elif offset in self._span:
                text = f"its request {intent.request_id} is open, but the offset has passed it"
                self._flaw(DiscrepancyKind.UNSETTLED, offset, text, name)

    def _flaw(
        self,
        kind: DiscrepancyKind,
        offset: int,
        text: str,
        event_id: str | None,
        message_id: str | None = None,
    ) -> None:
        self._findings.add(
            Discrepancy(
                kind=kind,
                partition=self._span.partition,
                offset=offset,
                text=text,
                event_id=event_id,
                message_id=message_id,
            )
        )
