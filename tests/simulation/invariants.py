"""The invariants, looked at in every step of a schedule: who breaks one is caught in the act.

It sees what leaves for Wootric, what Wootric does, and what Kafka commits, and knows the
ledger by its own fold. The invariants, by the numbers that are in brackets where they break:

 1 no loss: no offset passes an event that has no terminal state
 2 each effect once; at the end Wootric holds what the events say
 3 no receipt without an effect, no request without a committed intent
 4 one terminal state an event
 5 receipts and dead letters are in the same transaction
 6 offsets never go back
 7 one dead letter for each rejected event, with its bytes
 8 effects of one user in the order of the input
 9 all attempts of a request ask for the same, for the same events
10 nothing is sent out of the lease
13 a restore is the fold of the committed ledger
16 nothing is sent while the server wants to be left alone
19 all comes to rest, and nothing stays in doubt
25 what was consumed is settled, relinquished or under way, at every step
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from scenario import Script, Survey, name_of

from sink.delivery import Operation
from sink.wootric.operations import PageView
from stream.codec.dead_letter import DeadLetter
from stream.engine.checkpoint import LedgerRecord, PartitionCheckpoint
from stream.engine.prepare import PreparedRecord
from stream.record import Partition
from stream.state.ledger import EVENT, EventOutcome, IntentEntry, decode, intent_key, read_event
from stream.transform import Deliver, Skip


class ViolationError(AssertionError):
    """The guarantee does not hold."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A request on its way: under which intent, and where that intent's first event stands."""

    request: tuple[Partition, str, str]
    lane: tuple[Partition, str]
    first_offset: int
    is_page: bool
    once: bool
    """Whether a second effect would be one too many."""


@lru_cache(maxsize=1_000)
def intent_of(value: bytes) -> IntentEntry:
    """Return the intent in a value of the ledger."""
    entry = decode(value)
    assert isinstance(entry, IntentEntry)
    return entry


def outcome_of(value: bytes) -> EventOutcome:
    """Return how an event ended, by a value of the ledger."""
    entry = read_event(value)
    assert entry is not None
    return entry.outcome


@dataclass
class Witness:
    """Knows what must never happen."""

    script: Script
    lease_s: float
    resend_unobservable: bool
    harm_only: bool = False
    """Whether rules may be broken as long as nothing comes of it."""
    violation: ViolationError | None = None
    ledger: dict[Partition, dict[str, bytes]] = field(default_factory=dict)
    """The committed ledger, folded here."""
    surveys: dict[int, str] = field(default_factory=dict)
    """The names of the responses and declines that Wootric holds, by id."""
    views: Counter[str] = field(default_factory=Counter)
    letters: Counter[tuple[Partition, int]] = field(default_factory=Counter)
    parked: Counter[tuple[Partition, int]] = field(default_factory=Counter)
    _intents: dict[tuple[Partition, str], IntentEntry] = field(default_factory=dict)
    _fences: dict[tuple[str, Partition], float] = field(default_factory=dict)
    _departed: dict[tuple[Partition, str], int] = field(default_factory=dict)
    _viewed: dict[tuple[Partition, str], int] = field(default_factory=dict)
    _effects: Counter[tuple[Partition, str, str]] = field(default_factory=Counter)
    _claims: dict[int | tuple[Partition, int], tuple[Partition, str]] = field(default_factory=dict)
    _passed: Counter[Partition] = field(default_factory=Counter)
    _events: dict[tuple[Partition, int], PreparedRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for event in self.script.events:
            self._events[event.record.partition, event.record.offset] = event

    @property
    def intents(self) -> Collection[IntentEntry]:
        """All intents that were ever committed."""
        return self._intents.values()

    # Requests

    def departing(
        self,
        worker: str,
        partition: Partition,
        operation: Operation,
        request_id: str,
        kind: str,
        now: float,
    ) -> Departure:
        """See bytes leave: under a committed intent, as frozen, in time, in order."""
        lane = operation.external_id or ""
        name = f"{request_id} of {lane}"
        intent = self._intents.get((partition, request_id))
        self._rule(intent is not None, "sent before its intent was committed [3]", name)
        if intent is None:
            return self._departure(partition, lane, request_id, operation, kind, -1)
        if not isinstance(operation, PageView):
            held = self.ledger[partition].get(intent_key(lane))
            current = held is not None and intent_of(held).request_id == request_id
            self._rule(current, "sent for an intent that is settled [3]", name)
        self._rule(intent.operation_hash == digest(operation), "not what was frozen [9]", name)
        fenced_at = self._fences.get((worker, partition), float("-inf"))
        self._rule(now < fenced_at + self.lease_s, "sent out of the lease [10]", name)
        first = min(member.offset for member in intent.members)
        departure = self._departure(partition, lane, request_id, operation, kind, first)
        self._in_order(departure)
        return departure

    def _departure(
        self,
        partition: Partition,
        lane: str,
        request_id: str,
        operation: Operation,
        kind: str,
        first_offset: int,
    ) -> Departure:
        return Departure(
            request=(partition, request_id, kind),
            lane=(partition, lane),
            first_offset=first_offset,
            is_page=isinstance(operation, PageView),
            once=kind in {"create_response", "create_decline"}
            or (kind == "page_view" and not self.resend_unobservable),
        )

    def _in_order(self, departure: Departure) -> None:
        lane, offset = departure.lane, departure.first_offset
        before, viewed = self._departed.get(lane, -1), self._viewed.get(lane, -1)
        if departure.is_page:
            self._viewed[lane] = max(viewed, offset)
            return
        self._rule(offset >= before, "sent after a later one of its user [8]", offset, before)
        # A page view may pass what leaves the person as they are; a delete does not.
        gone = departure.request[2] == "delete_end_user" and offset < viewed
        self._rule(not gone, "deleted after a later page view [8]", offset, viewed)
        self._departed[lane] = offset

    def happened(self, departure: Departure) -> None:
        """See Wootric do what a request asks for, perhaps long after it left."""
        self._effects[departure.request] += 1
        if departure.once:
            self.require(self._effects[departure.request] == 1, "done twice [2]", departure.request)
        if not departure.is_page:
            latest = self._departed.get(departure.lane, -1)
            in_order = departure.first_offset >= latest
            self._rule(in_order, "done after a later one of its user [8]", departure, latest)

    def _rule(self, holds: bool, what: str, *about: object) -> None:
        """Hold a rule of the protocol, unless only the harm is looked for."""
        if not self.harm_only:
            self.require(holds, what, *about)

    def require(self, holds: bool, what: str, *about: object) -> None:
        """Raise unless it holds, and remember it: the code above may well survive an error."""
        if not holds:
            self.violation = ViolationError(f"{what}: {' '.join(map(str, about))}")
            raise self.violation

    def recorded(self, survey_id: int, survey: Survey) -> None:
        """See a response or decline come into being."""
        self.surveys[survey_id] = name_of(survey)

    # Transactions

    def committed(
        self,
        worker: str,
        partition: Partition,
        before: int,
        share: PartitionCheckpoint,
        started_at: float,
    ) -> None:
        """See a partition's share of a transaction take effect."""
        self._rule(share.offset >= before, "offset went back [6]", share.offset, before)
        self._fences[worker, partition] = started_at
        fold = self.ledger.setdefault(partition, {})
        receipts: dict[str, bytes] = {}
        for record in share.ledger:
            self._append(partition, fold, record)
            if record.key.startswith(EVENT) and record.value is not None:
                receipts[record.key.removeprefix(EVENT)] = record.value
        self._letters(partition, share.dead_letters, receipts, EventOutcome.REJECTED)
        self._letters(partition, share.parked, receipts, EventOutcome.PARKED)
        self._nothing_passed(partition, fold, share.offset)

    def _append(self, partition: Partition, fold: dict[str, bytes], record: LedgerRecord) -> None:
        key, value = record.key, record.value
        if value is None:
            fold.pop(key, None)
            return
        if key.startswith(EVENT):
            self._rule(key not in fold, "settled twice [4]", key)
            if record.remote_id is not None:
                self._claimed(partition, key, record.remote_id)
        elif key.startswith("intent/"):
            intent = intent_of(value)
            place = (partition, intent.request_id)
            before = self._intents.setdefault(place, intent)
            same = (before.members, before.operation_hash) == (
                intent.members,
                intent.operation_hash,
            )
            self._rule(same, "a request changed its members or its body [9]", place)
        fold[key] = value

    def _claimed(self, partition: Partition, key: str, survey_id: int) -> None:
        if survey_id < 0:  # by its fields: which one it is was not said
            owner = self._claims.setdefault((partition, survey_id), (partition, key))
            self.require(owner == (partition, key), "a claim of two receipts [2]", owner, key)
            return
        owner = self._claims.setdefault(survey_id, (partition, key))
        self.require(owner == (partition, key), "an effect counted for two events [2]", owner, key)
        self.require(survey_id in self.surveys, "a receipt without an effect [3]", key)

    def _letters(
        self,
        partition: Partition,
        letters: Sequence[DeadLetter],
        receipts: Mapping[str, bytes],
        outcome: EventOutcome,
    ) -> None:
        """Each letter is the only one, and its receipt is in the same transaction."""
        book = self.letters if outcome is EventOutcome.REJECTED else self.parked
        for letter in letters:
            place = (partition, letter.offset)
            book[place] += 1
            self.require(book[place] == 1, "a second dead letter [7]", place)
            event = self._events.get(place)
            self.require(event is not None, "a letter of no event [7]", place)
            assert event is not None
            self.require(letter.value == event.record.value, "a letter with other bytes [7]", place)
            receipt = receipts.get(event.event_id)
            self.require(receipt is not None, "a letter without its receipt [5]", place)
            assert receipt is not None
            self.require(outcome_of(receipt) is outcome, "a letter of another outcome [7]", place)

    def _nothing_passed(self, partition: Partition, fold: Mapping[str, bytes], offset: int) -> None:
        """No offset passes an event that is not settled, nor a view that nobody saw."""
        events = self.script.input[partition]
        number = self._passed[partition]
        while number < len(events) and events[number].record.offset < offset:
            event = events[number]
            number += 1
            if isinstance(event.result, Skip):
                continue
            receipt = fold.get(EVENT + event.event_id)
            self.require(
                receipt is not None, "an offset passed what is not settled [1]", event.event_id
            )
            if isinstance(event.result, Deliver):
                self._seen(event.result.operation, receipt or b"")
        self._passed[partition] = number

    def _seen(self, operation: Operation, receipt: bytes) -> None:
        if isinstance(operation, PageView) and not self.views[operation.random]:
            delivered = outcome_of(receipt) is EventOutcome.DELIVERED
            self.require(not delivered, "a receipt without a view [3]", operation.random)


def digest(operation: Operation) -> str:
    """Return what an intent has to say of its operation."""
    return hashlib.sha256(operation.to_bytes()).hexdigest()
