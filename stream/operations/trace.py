"""trace: where an event is and why, or what is known of an end user."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stream.engine.prepare import Judged
from stream.errors import StartupError
from stream.operations.analysis.dead_letters import Kind, Place
from stream.operations.analysis.explanations import Facts, ending, sentences
from stream.operations.analysis.open_intents import Doubts
from stream.operations.analysis.time_text import when
from stream.operations.mail import read_post
from stream.operations.output import letter_document, show
from stream.operations.session import Desk, entry_of, now_ms, watched
from stream.record import Record
from stream.state.ledger import EVENT, bounded
from stream.state.ledger_codec import EventEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How far the input is searched: from a time on, and past what the ledger names."""

    since_ms: int | None = None
    everywhere: bool = False


def trace_event(desk: Desk, message_id: str, search: Search, *, as_json: bool) -> bool:
    """Print where the events with a messageId are; return whether there are any."""
    facts = Facts(now_ms(), desk.survey.committed())
    _read_ledger(desk, facts, message_id)
    for kind in Kind:
        post = read_post(desk, kind)
        facts.letters += [
            (one, post.state(one)) for one in post.letters if one.letter.message_id == message_id
        ]
    facts.events = sorted(
        (one for one in _search(desk, facts, message_id, search) if one.message_id == message_id),
        key=lambda one: (one.record.partition, one.record.offset),
    )
    lines = list(sentences(facts))
    found = bool(lines)
    if not found:
        lines.append(
            f"no event {message_id} in {desk.config.topic}, its ledger, dead letters or parked "
            "events: it was never published here, retention has removed it, or it has another "
            "messageId"
        )
    document = {"message_id": message_id, "found": found, **_document(facts), "story": lines}
    show(document, lines, as_json=as_json)
    return found


def trace_place(desk: Desk, place: Place, *, as_json: bool) -> bool:
    """Print what has become of one record of the input.

    Raises:
        StartupError: there is no such record.
    """
    number, offset = place
    facts = Facts(now_ms(), desk.survey.committed())
    begins, ends = desk.survey.begins(desk.config.topic), desk.survey.ends(desk.config.topic)
    if number not in begins or not begins[number] <= offset < ends[number]:
        raise StartupError(f"{desk.config.topic} has no record at {place}", exit_code=1)
    facts.events = [desk.judge(record) for record in _at(desk, {place})]
    for event in facts.events:
        _read_ledger(desk, facts, event.event_id)
        for kind in Kind:
            post = read_post(desk, kind)
            facts.letters += [
                (one, post.state(one))
                for one in post.letters
                if (one.letter.origin.number, one.letter.offset) == place
            ]
    lines = list(sentences(facts)) or [f"{place} is a mark of a transaction, and no event"]
    show({"found": bool(facts.events), **_document(facts), "story": lines}, lines, as_json=as_json)
    return bool(facts.events)


def _read_ledger(desk: Desk, facts: Facts, name: str) -> None:
    """Take over receipts of an event and of its replays, and all open requests."""
    whole, replays = (EVENT + bounded(name)).encode(), f"{EVENT}{name}#".encode()
    doubts = Doubts()
    for record in desk.ledger():
        doubts.take(record)
        key = record.key or b""
        if key == whole or key.startswith(replays):
            entry = entry_of(record.value or b"")
            if isinstance(entry, EventEntry):
                event_id = key.decode().removeprefix(EVENT)
                facts.receipts[record.partition.number, event_id] = entry
    facts.take_intents(doubts.open())


def _search(desk: Desk, facts: Facts, message_id: str, search: Search) -> Iterator[Judged]:
    """Yield events whose bytes name a messageId: where the ledger says, else everywhere."""
    ends, begins = desk.survey.ends(desk.config.topic), desk.survey.begins(desk.config.topic)
    places = {Place(number, receipt.offset) for (number, _), receipt in facts.receipts.items()}
    if places and not search.everywhere:
        there = {one for one in places if begins[one.partition] <= one.offset}
        yield from (desk.judge(record) for record in _at(desk, there))
        begins = {n: max(begin, facts.committed.get(n, begin)) for n, begin in begins.items()}
    begins = {number: min(begin, ends[number]) for number, begin in begins.items()}
    needle = message_id.encode()
    for record in _records(desk, begins, ends, search):
        place = Place(record.partition.number, record.offset)
        seen = place in places and not search.everywhere
        if record.value is not None and needle in record.value and not seen:
            yield desk.judge(record)


def _records(
    desk: Desk, begins: dict[int, int], ends: dict[int, int], search: Search
) -> Iterator[Record]:
    if search.since_ms is not None:
        begins = desk.since(search.since_ms, begins, ends)
    total = sum(ends[number] - begin for number, begin in begins.items())
    records = desk.survey.read(desk.config.topic, begins=begins, stops=ends)
    return watched(records, f"records of {desk.config.topic} searched", total)


def _at(desk: Desk, places: set[Place]) -> Iterator[Record]:
    """Yield the records of the input at these places."""
    for number, offset in sorted(places):
        begins, stops = {number: offset}, {number: offset + 1}
        yield from desk.survey.read(desk.config.topic, begins=begins, stops=stops)


def _document(facts: Facts) -> dict[str, Any]:
    return {
        "input": [
            {
                "place": f"{one.record.partition.number}-{one.record.offset}",
                "published_at": when(one.record.timestamp_ms),
                "event_id": one.event_id,
                "replay": one.replayed,
                "state": ending(one, facts),
            }
            for one in facts.events
        ],
        "receipts": [
            {
                "event_id": name,
                "place": f"{number}-{entry.offset}",
                "outcome": entry.outcome.lower(),
                "reason": entry.reason,
                "at": when(entry.at_ms),
                "request_id": entry.request_id,
                "remote_id": entry.remote_id,
                "http_status": entry.status,
                "attempts": entry.attempts,
            }
            for (number, name), entry in facts.receipts.items()
        ],
        "letters": [
            {"kind": one.kind, **letter_document(one, state)} for one, state in facts.letters
        ],
    }
