"""Sentences about where an event is and why. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import assert_never

from stream.engine.prepare import PreparedRecord
from stream.operations.analysis.dead_letters import OPEN, LetterStatus, ListedDeadLetter
from stream.operations.analysis.open_intents import OpenIntent, next_action
from stream.operations.analysis.plans import mask
from stream.operations.analysis.time_text import format_age, format_time
from stream.state.ledger import EventEntry, EventOutcome, UserEntry, bounded
from stream.transform import Deliver, Skip

SKIPS: Mapping[str, str] = MappingProxyType(
    {
        "unchanged": "Wootric already has the profile",
        "disabled": "the `integrations` object disables Wootric or all integrations",
        "unsupported_type": "screen, group, alias, or a track that is no response or decline",
        "no_identity": "no user id or e-mail (identify: or phone)",
        "no_url": "a page without `properties.url` and `context.page.url`",
        "no_email": "a page view whose e-mail is neither in the event nor known from Wootric",
        "identity_taken": "the only change is an e-mail, phone number or user id that another "
        "end user has",
        "delete_disabled": "a delete call while `WOOTRIC__DELETE_USERS` is false",
        "page_views_off": "a page call while `WOOTRIC__PAGE_VIEWS` is `off`",
        "absent": "a delete call for an end user that Wootric does not have",
        "tombstone": "a record without a value, or with Avro's null as its value",
        "stale": "a replayed identify that is older than the known state of its user",
    }
)
"""Meaning of the reasons for skipping; source of docs/reference/reasons.md."""


@dataclass(slots=True)
class TraceFacts:
    """Data about some events from all topics.

    ``receipts`` and ``members`` are by partition and event id, ``lanes`` by partition and lane.
    ``blocked`` has a sentence for each partition of the input that an open transaction blocks.
    ``matches`` has the ids of Wootric's surveys that match the fields of a delivered survey, by
    partition and event id; ``search_failure`` is why there are none.
    """

    now_ms: int
    committed: Mapping[int, int]
    events: list[PreparedRecord] = field(default_factory=list)
    receipts: dict[tuple[int, str], EventEntry] = field(default_factory=dict)
    members: dict[tuple[int, str], OpenIntent] = field(default_factory=dict)
    lanes: dict[tuple[int, str], OpenIntent] = field(default_factory=dict)
    letters: list[tuple[ListedDeadLetter, str]] = field(default_factory=list)
    matches: dict[tuple[int, str], Sequence[int]] = field(default_factory=dict)
    search_failure: str | None = None
    blocked: Sequence[str] = ()

    def take_intents(self, intents: Collection[OpenIntent]) -> None:
        """Add open intents, by lane and by event."""
        for one in intents:
            self.lanes[one.partition, one.lane] = one
            for name, _ in one.entry.members if one.entry is not None else ():
                self.members[one.partition, name] = one


def explain_event(facts: TraceFacts) -> Iterator[str]:
    """Yield one sentence per input record, per receipt without its record, and per letter."""
    places = {(one.record.partition.number, one.record.offset) for one in facts.events}
    for event in facts.events:
        record = event.record
        place = f"{record.partition.number}-{record.offset}"
        suffix = " as a replay" if event.replayed else ""
        yield (
            f"{record.partition.topic} has it at {place}, published "
            f"{format_time(record.timestamp_ms)}"
            f"{suffix}: {_ending(event, facts)}"
        )
    for (number, name), receipt in facts.receipts.items():
        if (number, receipt.offset) not in places:
            place = f"{number}-{receipt.offset}"
            yield f"the ledger has {name}, which was at {place}: {_receipt(receipt)}"
    for letter, state in facts.letters:
        yield f"it is a {letter.kind} at {letter.place}, {state}: {_why(letter, state)}"
    if facts.search_failure is not None:
        yield f"the search for the survey at Wootric failed: {facts.search_failure}"


def explain_outcome(event: PreparedRecord, facts: TraceFacts) -> str:
    """Return the state of an event in a word or two."""
    number, offset = event.record.partition.number, event.record.offset
    receipt = facts.receipts.get((number, event.event_id))
    if receipt is not None:
        return receipt.outcome.lower() if receipt.offset == offset else "duplicate"
    if (number, event.event_id) in facts.members:
        return "in doubt"
    if isinstance(event.result, Skip):
        return "skipped"
    return "not settled" if offset >= facts.committed.get(number, 0) else "MISSING"


def _ending(event: PreparedRecord, facts: TraceFacts) -> str:
    number, offset = event.record.partition.number, event.record.offset
    receipt = facts.receipts.get((number, event.event_id))
    if receipt is not None and receipt.offset == offset:
        return _receipt(receipt) + _matching(facts.matches.get((number, event.event_id)))
    if receipt is not None:
        return f"a duplicate of {number}-{receipt.offset}, which was settled before"
    intent = facts.members.get((number, event.event_id))
    if intent is not None:
        return _open(intent, facts)
    committed = facts.committed.get(number, 0)
    if isinstance(event.result, Skip):
        reason = event.result.reason
        tense = "skipped" if offset < committed else "will be skipped"
        return f"{tense}, {reason}: {SKIPS.get(reason, reason)}"
    if offset < committed:
        return (
            "MISSING: the committed offset has passed it, but it has no receipt. Run "
            "`wootric-stream verify`"
        )
    return _waiting(event, facts, offset - committed)


def _waiting(event: PreparedRecord, facts: TraceFacts, behind: int) -> str:
    lane = bounded(event.result.lane) if isinstance(event.result, Deliver) else ""
    intent = facts.lanes.get((event.record.partition.number, lane))
    if intent is not None:
        name = intent.entry.request_id if intent.entry is not None else "of a newer version"
        return f"it waits for request {name} of the same end user: {_open(intent, facts)}"
    return (
        f"not settled yet, {behind} records after the committed offset: see "
        "`wootric_consumer_lag_seconds` and /status of the workers"
    )


def _open(intent: OpenIntent, facts: TraceFacts) -> str:
    entry = intent.entry
    if entry is None:
        return "its request is open, and was written by a newer version"
    age = format_age(facts.now_ms - entry.first_attempt_at_ms)
    return (
        f"its request {entry.request_id} is in flight or in doubt, released {age} ago by "
        f"{entry.instance}; if no reply came, {next_action(entry.effect)}"
    )


def _receipt(receipt: EventEntry) -> str:
    at = format_time(receipt.at_ms)
    request = "" if receipt.request_id is None else f" in request {receipt.request_id}"
    status = "" if receipt.status is None else f", status {receipt.status}"
    match receipt.outcome:
        case EventOutcome.DELIVERED:
            remote = "" if receipt.remote_id is None else f", Wootric id {receipt.remote_id}"
            tries = "" if receipt.attempts < 2 else f", after {receipt.attempts} attempts"
            return f"delivered at {at}{request}{status}{remote}{tries}"
        case EventOutcome.SKIPPED:
            reason = receipt.reason or ""
            return f"skipped at {at}, {reason}: {SKIPS.get(reason, reason)}"
        case EventOutcome.REJECTED:
            return f"rejected at {at}{request}{status}: {receipt.reason}; it is a dead letter"
        case EventOutcome.PARKED:
            return f"parked at {at}{request}: {receipt.reason}; its effect is unknown"
        case _:
            assert_never(receipt.outcome)


def _matching(ids: Sequence[int] | None) -> str:
    """Return what a search by a survey's fields found; nothing if there was none."""
    match ids:
        case None:
            return ""
        case [one]:
            return f", Wootric id {one}, found by its fields"
        case []:
            return (
                "; its Wootric id is unknown: 0 surveys at Wootric match its fields (it is still "
                "queued there, or was deleted or changed)"
            )
        case _:
            listed = ", ".join(map(str, ids))
            return (
                f"; its Wootric id is unknown: {len(ids)} surveys at Wootric match its fields, "
                f"with the ids {listed}"
            )


def _why(letter: ListedDeadLetter, state: str) -> str:
    reason = f"{letter.letter.reason}, {letter.letter.detail or 'without detail'}"
    if state != OPEN:
        return reason
    match letter.kind:
        case LetterStatus.DEAD:
            return f"{reason}. After a fix: `dlq replay --reason {letter.letter.reason}`"
        case LetterStatus.PARKED:
            return f"{reason}. Decide: `in-doubt resolve {letter.place} --as resend` or `dismiss`"
        case _:
            assert_never(letter.kind)


# What is known about an end user


def explain_user(entry: UserEntry | None, now: int) -> list[str]:
    """Return what the ledger knows about an end user; ``now`` in milliseconds."""
    if entry is None:
        return ["the ledger has no entry of this user: the next event looks it up at Wootric"]
    if not entry.sent_at_ms:
        return [
            "the user's entry is not confirmed: the next event looks it up at Wootric",
            *_newest(entry),
        ]
    known = entry.end_user
    user = "no end user at Wootric" if known.id is None else f"Wootric's end user {known.id}"
    email = mask(known.email) or "no e-mail"
    names = "unknown" if known.properties is None else ", ".join(sorted(known.properties)) or "none"
    confirmed = f"confirmed {format_age(now - entry.sent_at_ms)} ago"
    return [f"{user}, {email}, {confirmed}; properties: {names}", *_newest(entry)]


def _newest(entry: UserEntry) -> list[str]:
    if entry.newest_event_at_ms is None:
        return []
    at = format_time(entry.newest_event_at_ms)
    return [f"newest event at {at}: a replayed identify that is older is stale"]


def explain_open(one: OpenIntent, now: int) -> str:
    """Return what an open request of an end user blocks; ``now`` in milliseconds."""
    if one.entry is None:
        return "the lane has an open request that a newer version wrote"
    age = format_age(now - one.entry.first_attempt_at_ms)
    return (
        f"the lane is blocked by request {one.entry.request_id} ({one.operation or 'large'}), "
        f"released {age} ago by {one.entry.instance}: if no reply came, "
        f"{next_action(one.entry.effect)}"
    )
