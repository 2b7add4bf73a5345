"""trace --user: what is known of an end user, and the last of their events."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from stream.engine.prepare import Judged
from stream.operations.analysis.explanations import Facts, ending
from stream.operations.analysis.identity import is_about, masked
from stream.operations.analysis.open_intents import Doubts, OpenIntent, hashed, what_follows
from stream.operations.analysis.time_text import ago, when
from stream.operations.output import Table, show
from stream.operations.session import Desk, entry_of, now_ms, watched
from stream.state.ledger import EVENT, USER, bounded
from stream.state.ledger_codec import EventEntry, UserEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Which end user, and how much of their events: since when, and how many at most."""

    user: str
    since_ms: int
    last: int


def trace_user(desk: Desk, person: Person, *, as_json: bool) -> bool:
    """Print what is known of an end user; return whether anything is."""
    facts = Facts(now_ms(), desk.survey.committed())
    facts.events = _last_events(desk, person)
    entry, intents = _read_ledger(desk, facts, person.user)
    found = bool(entry or intents or facts.events)
    lines = [
        *_known(entry, facts.now_ms),
        *(_open(one, facts.now_ms) for one in intents),
        *(
            []
            if facts.events
            else [f"no event of theirs was published since {when(person.since_ms)}"]
        ),
    ]
    rows = [
        (
            f"{one.record.partition.number}-{one.record.offset}",
            when(one.record.timestamp_ms),
            one.message_id or "",
            ending(one, facts),
        )
        for one in facts.events
    ]
    document = {
        "found": found,
        "entry": _entry(entry),
        "open": [
            {"partition": one.partition, "lane": hashed(one.lane), "text": _open(one, facts.now_ms)}
            for one in intents
        ],
        "events": [
            {"place": place, "published_at": at, "message_id": name or None, "state": state}
            for place, at, name, state in rows
        ],
    }
    columns = ("place", "published at", "message", "state")
    parts: list[Table | str] = [Table(f"the last {len(rows)} events", columns, rows), *lines]
    show(document, parts, as_json=as_json)
    return found


def _last_events(desk: Desk, person: Person) -> list[Judged]:
    """Return the last events of a person, by when they were published."""
    topic, names = desk.config.topic, {person.user}
    ends, begins = desk.survey.ends(topic), desk.survey.begins(topic)
    begins = desk.since(person.since_ms, begins, ends)
    total = sum(ends[number] - begin for number, begin in begins.items())
    records = desk.survey.read(topic, begins=begins, stops=ends)
    found: deque[Judged] = deque(maxlen=person.last)
    for record in watched(records, f"records of {topic} searched", total):
        if is_about(record, names, desk.decoder):
            found.append(desk.judge(record))
    return sorted(found, key=lambda one: (one.record.timestamp_ms, one.record.offset))


def _read_ledger(desk: Desk, facts: Facts, user: str) -> tuple[UserEntry | None, list[OpenIntent]]:
    """Return what the ledger holds of a user; take over the receipts of their events."""
    wanted = {(EVENT + one.event_id).encode() for one in facts.events}
    key, doubts = (USER + bounded(user)).encode(), Doubts()
    known: UserEntry | None = None
    for record in desk.ledger():
        doubts.take(record)
        entry = None if record.value is None else entry_of(record.value)
        if record.key == key:
            known = entry if isinstance(entry, UserEntry) else None
        elif record.key in wanted and isinstance(entry, EventEntry):
            name = record.key.decode().removeprefix(EVENT)
            facts.receipts[record.partition.number, name] = entry
    intents = doubts.open()
    facts.take_intents(intents)
    return known, [one for one in intents if one.lane == bounded(user)]


def _entry(entry: UserEntry | None) -> dict[str, Any] | None:
    """Return what is known of a user, with nothing by which a stranger would know them."""
    if entry is None:
        return None
    return {
        "wootric_id": entry.id,
        "email": masked(entry.email),
        "phone_number": masked(entry.phone_number),
        "external_id_known": entry.external_id is not None,
        "properties": sorted(entry.properties) if entry.properties is not None else None,
        "confirmed_at": when(entry.sent_at_ms),
        "newest_event_at": None
        if entry.newest_event_at_ms is None
        else when(entry.newest_event_at_ms),
    }


def _known(entry: UserEntry | None, now: int) -> list[str]:
    if entry is None:
        return ["the ledger holds no entry of theirs: the next event looks them up at Wootric"]
    if not entry.sent_at_ms:
        return [
            "nothing is certain of them: the next event looks them up at Wootric",
            *_newest(entry),
        ]
    who = "nobody at Wootric" if entry.id is None else f"Wootric's end user {entry.id}"
    email = masked(entry.email) or "no e-mail"
    names = "unknown" if entry.properties is None else ", ".join(sorted(entry.properties)) or "none"
    confirmed = f"confirmed {ago(now - entry.sent_at_ms)} ago"
    return [f"they are {who}, {email}, {confirmed}; properties: {names}", *_newest(entry)]


def _newest(entry: UserEntry) -> list[str]:
    if entry.newest_event_at_ms is None:
        return []
    at = when(entry.newest_event_at_ms)
    return [f"their newest event happened at {at}: a replayed identify of before is stale"]


def _open(one: OpenIntent, now: int) -> str:
    if one.entry is None:
        return "their lane has an open request that a newer version wrote"
    age = ago(now - one.entry.first_attempt_at_ms)
    return (
        f"their lane is closed by request {one.entry.request_id} ({one.operation or 'large'}), "
        f"released {age} ago by {one.entry.instance}: if no answer came, "
        f"{what_follows(one.entry.effect)}"
    )
