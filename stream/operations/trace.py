"""trace: where an event is and why, or what is known about an end user."""

import asyncio
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sink.delivery import EndUser, InDoubt
from sink.http_session import HttpSession
from sink.wootric.auth import AccessToken, TokenDenied, TokenUnavailable, WootricAccount
from sink.wootric.client import DeliveryFailedError
from sink.wootric.operations import CreateDecline, CreateResponse
from sink.wootric.sink import WootricSink
from sink.wootric.surveys import Survey
from stream.engine.prepare import PreparedRecord
from stream.errors import StartupError
from stream.kafka.lag import blocked_text
from stream.operations.analysis.dead_letters import LetterStatus, RecordPosition
from stream.operations.analysis.explanations import (
    TraceFacts,
    explain_event,
    explain_open,
    explain_outcome,
    explain_user,
)
from stream.operations.analysis.open_intents import OpenIntent, OpenIntents, hashed
from stream.operations.analysis.plans import mask, names_in
from stream.operations.analysis.time_text import format_time
from stream.operations.audit import personal_data_shown
from stream.operations.dlq import read_dead_letters
from stream.operations.output import Table, letter_document, show
from stream.operations.session import OperatorSession, now_ms, with_progress
from stream.record import Record
from stream.settings_loader import load_wootric
from stream.state.ledger import (
    EVENT,
    REMOTE_ID_HEADER,
    USER,
    EventEntry,
    EventOutcome,
    UserEntry,
    bounded,
    read_user,
    try_decode,
    user_key,
)
from stream.transform import Deliver
from stream.wootric import wootric_account


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How the input is searched: from a time on, and ``everywhere`` or as the ledger directs.

    With ``wootric``, Wootric is asked for the ids of surveys whose receipt has none.
    """

    since_ms: int | None = None
    everywhere: bool = False
    wootric: bool = False


def trace_event(
    session: OperatorSession, message_id: str, search: Search, *, as_json: bool
) -> bool:
    """Print where the events with a messageId are; return whether there are any."""
    facts = TraceFacts(now_ms(), session.reader.committed())
    _read_ledger(session, facts, message_id)
    for kind in LetterStatus:
        listing = read_dead_letters(session, kind)
        facts.letters += [
            (one, listing.state(one))
            for one in listing.letters
            if one.letter.message_id == message_id
        ]
    facts.events = sorted(
        (
            one
            for one in _search(session, facts, message_id, search)
            if one.message_id == message_id
        ),
        key=lambda one: (one.record.partition, one.record.offset),
    )
    if search.wootric:
        _find_surveys(session, facts)
    lines = list(explain_event(facts))
    found = bool(lines)
    if not found:
        lines.append(
            f"no event {message_id} in {session.config.topic}, its ledger, dead letters or parked "
            "events: it was never published here, retention has removed it, or its messageId is "
            "different"
        )
    lines += facts.blocked
    document = {"message_id": message_id, "found": found, **_document(facts), "story": lines}
    show(document, lines, as_json=as_json)
    return found


def trace_place(
    session: OperatorSession, place: RecordPosition, search: Search, *, as_json: bool
) -> bool:
    """Print the outcome of one record of the input; return whether it is an event.

    Raises:
        StartupError: there is no such record.
    """
    number, offset = place
    facts = TraceFacts(now_ms(), session.reader.committed())
    begins, ends = session.reader.begins(session.config.topic), _ends(session, facts)
    if number not in begins or not begins[number] <= offset < ends[number]:
        text = f"{session.config.topic} has no record at {place} that can be read"
        raise StartupError("\n".join([text, *facts.blocked]), exit_code=1)
    facts.events = [session.prepare(record) for record in _at(session, {place})]
    for event in facts.events:
        _read_ledger(session, facts, event.event_id)
        for kind in LetterStatus:
            listing = read_dead_letters(session, kind)
            facts.letters += [
                (one, listing.state(one))
                for one in listing.letters
                if one.letter.input_topic is None
                and (one.letter.origin.number, one.letter.offset) == place
            ]
    if search.wootric:
        _find_surveys(session, facts)
    lines = list(explain_event(facts)) or [f"{place} is a transaction marker, not an event"]
    show({"found": bool(facts.events), **_document(facts), "story": lines}, lines, as_json=as_json)
    return bool(facts.events)


def _read_ledger(session: OperatorSession, facts: TraceFacts, name: str) -> None:
    """Add the receipts of an event and of its replays, and all open requests, to the facts."""
    whole, replays = (EVENT + bounded(name)).encode(), f"{EVENT}{name}#".encode()
    open_intents = OpenIntents()
    for record in session.ledger():
        open_intents.take(record)
        key = record.key or b""
        if key == whole or key.startswith(replays):
            entry = try_decode(record.value or b"")
            if isinstance(entry, EventEntry):
                event_id = key.decode().removeprefix(EVENT)
                facts.receipts[record.partition.number, event_id] = entry
    facts.take_intents(open_intents.open())


def _search(
    session: OperatorSession, facts: TraceFacts, message_id: str, search: Search
) -> Iterator[PreparedRecord]:
    """Yield events whose bytes contain a messageId.

    Reads the positions of the receipts and what is not settled; everything if there are none.
    """
    ends, begins = _ends(session, facts), session.reader.begins(session.config.topic)
    places = {
        RecordPosition(number, receipt.offset) for (number, _), receipt in facts.receipts.items()
    }
    if places and not search.everywhere:
        readable = {one for one in places if begins[one.partition] <= one.offset}
        yield from (session.prepare(record) for record in _at(session, readable))
        begins = {n: max(begin, facts.committed.get(n, begin)) for n, begin in begins.items()}
    begins = {number: min(begin, ends[number]) for number, begin in begins.items()}
    needle = message_id.encode()
    for record in _records(session, begins, ends, search):
        place = RecordPosition(record.partition.number, record.offset)
        seen = place in places and not search.everywhere
        if record.value is not None and needle in record.value and not seen:
            yield session.prepare(record)


def _ends(session: OperatorSession, facts: TraceFacts) -> dict[int, int]:
    """Return the ends of the input that can be read; add what lies behind them to the facts."""
    topic = session.config.topic
    ends, stable = session.reader.ends(topic), session.reader.ends(topic, stable=True)
    facts.blocked = [
        blocked_text(session.config, topic, number, ends[number] - end)
        for number, end in stable.items()
        if end < ends[number]
    ]
    return stable


def _records(
    session: OperatorSession, begins: dict[int, int], ends: dict[int, int], search: Search
) -> Iterator[Record]:
    if search.since_ms is not None:
        begins = session.since(search.since_ms, begins, ends)
    total = sum(ends[number] - begin for number, begin in begins.items())
    records = session.reader.read(session.config.topic, begins=begins, stops=ends)
    return with_progress(records, f"records of {session.config.topic} searched", total)


def _at(session: OperatorSession, places: set[RecordPosition]) -> Iterator[Record]:
    """Yield the records of the input at these places."""
    for number, offset in sorted(places):
        begins, stops = {number: offset}, {number: offset + 1}
        yield from session.reader.read(session.config.topic, begins=begins, stops=stops)


def _document(facts: TraceFacts) -> dict[str, Any]:
    return {
        "input": [
            {
                "place": f"{one.record.partition.number}-{one.record.offset}",
                "published_at": format_time(one.record.timestamp_ms),
                "event_id": one.event_id,
                "replay": one.replayed,
                "state": explain_outcome(one, facts),
            }
            for one in facts.events
        ],
        "receipts": [
            {
                "event_id": name,
                "place": f"{number}-{entry.offset}",
                "outcome": entry.outcome.lower(),
                "reason": entry.reason,
                "at": format_time(entry.at_ms),
                "request_id": entry.request_id,
                **_remote_id(entry, facts.matches.get((number, name), ())),
                "http_status": entry.status,
                "attempts": entry.attempts,
            }
            for (number, name), entry in facts.receipts.items()
        ],
        "letters": [
            {"kind": one.kind, **letter_document(one, state)} for one, state in facts.letters
        ],
        "blocked": list(facts.blocked),
    }


def _remote_id(entry: EventEntry, matches: Sequence[int]) -> dict[str, Any]:
    if entry.remote_id is not None:
        return {"remote_id": entry.remote_id, "remote_id_source": "receipt"}
    if len(matches) == 1:
        return {"remote_id": matches[0], "remote_id_source": "found by its fields"}
    return {"remote_id": None, "remote_id_source": None}


# trace --wootric


ASK_S_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySearch:
    """A delivered survey without an id, its end user if known, and ids that it cannot have."""

    survey: Survey
    known: EndUser | None
    claimed: Container[int]


def _find_surveys(session: OperatorSession, facts: TraceFacts) -> None:
    """Add the ids at Wootric of delivered surveys whose receipts have none to the facts."""
    searches: dict[tuple[int, str], SurveySearch] = {}
    for event in facts.events:
        key = (event.record.partition.number, event.event_id)
        receipt, result = facts.receipts.get(key), event.result
        if (
            receipt is not None
            and receipt.offset == event.record.offset
            and (receipt.outcome, receipt.remote_id) == (EventOutcome.DELIVERED, None)
            and isinstance(result, Deliver)
            and isinstance(result.operation, CreateResponse | CreateDecline)
        ):
            searches[key] = _survey_search(session, key[0], result.operation)
    if not searches:
        return
    try:
        account = wootric_account(load_wootric())
    except StartupError as error:
        facts.search_failure = " ".join(str(error).split())
        return
    facts.search_failure = asyncio.run(_ask_wootric(account, searches, facts.matches))


def _survey_search(session: OperatorSession, number: int, survey: Survey) -> SurveySearch:
    """Read one partition of the ledger for the survey's end user and the ids in receipts."""
    topic = session.config.ledger_topic
    begins = {number: session.reader.begins(topic)[number]}
    key, value = (user_key(survey) or "").encode(), None
    claimed: set[int] = set()
    records = session.reader.read(topic, begins=begins)
    for record in with_progress(records, "ledger records read"):
        if record.key == key:
            value = record.value
        ids = (int(text or 0) for name, text in record.headers if name == REMOTE_ID_HEADER)
        claimed.update(one for one in ids if one > 0)  # others stand for fields, not for an id
    entry = read_user(value, survey)
    known = None if entry is None or entry.end_user.id is None else EndUser(id=entry.end_user.id)
    return SurveySearch(survey=survey, known=known, claimed=claimed)


async def _ask_wootric(
    account: WootricAccount,
    searches: Mapping[tuple[int, str], SurveySearch],
    matches: dict[tuple[int, str], Sequence[int]],
) -> str | None:
    """Add the ids that match to ``matches``; return why Wootric cannot be searched, or None."""
    async with HttpSession(in_flight_max=1, request_timeout_s=account.request_timeout_s) as http:
        sink = WootricSink(account, session=http)
        try:
            async with asyncio.timeout(ASK_S_MAX):
                match await sink.authorize():
                    case TokenDenied(status, error):
                        return f"the token request was refused, status {status}, {error}"
                    case TokenUnavailable(detail, _):
                        return f"no token is available, {detail}"
                    case AccessToken():
                        pass
                for key, one in searches.items():
                    matches[key] = await sink.find_surveys(
                        one.survey, known=one.known, claimed=one.claimed
                    )
        except TimeoutError:
            return f"no reply within {ASK_S_MAX:g} s"
        except DeliveryFailedError as end:
            outcome = end.outcome
            return outcome.detail if isinstance(outcome, InDoubt) else outcome.reason
        finally:
            await sink.close()
    return None


# trace --user


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An end user, and the bounds of the search: events since when, and at most how many."""

    user: str
    since_ms: int
    last: int


def trace_user(session: OperatorSession, person: Person, *, as_json: bool) -> bool:
    """Print what is known about an end user; return whether anything is."""
    facts = TraceFacts(now_ms(), session.reader.committed())
    facts.events = _last_events(session, facts, person)
    entry, intents = _read_user_ledger(session, facts, person.user)
    found = bool(entry or intents or facts.events)
    lines = [
        *explain_user(entry, facts.now_ms),
        *(explain_open(one, facts.now_ms) for one in intents),
        *(
            []
            if facts.events
            else [f"no event of this user was published since {format_time(person.since_ms)}"]
        ),
        *facts.blocked,
    ]
    rows = [
        (
            f"{one.record.partition.number}-{one.record.offset}",
            format_time(one.record.timestamp_ms),
            one.message_id or "",
            explain_outcome(one, facts),
        )
        for one in facts.events
    ]
    document = {
        "found": found,
        "entry": _entry(entry),
        "open": [
            {
                "partition": one.partition,
                "lane": hashed(one.lane),
                "text": explain_open(one, facts.now_ms),
            }
            for one in intents
        ],
        "events": [
            {"place": place, "published_at": at, "message_id": name or None, "state": state}
            for place, at, name, state in rows
        ],
    }
    columns = ("place", "published at", "message", "state")
    parts: list[Table | str] = [Table(f"last {len(rows)} events", columns, rows), *lines]
    personal_data_shown("trace --user", records=len(rows))
    show(document, parts, as_json=as_json)
    return found


def _last_events(
    session: OperatorSession, facts: TraceFacts, person: Person
) -> list[PreparedRecord]:
    """Return the last events of an end user in the order of publication."""
    topic, names = session.config.topic, {person.user}
    ends, begins = _ends(session, facts), session.reader.begins(topic)
    begins = session.since(person.since_ms, begins, ends)
    total = sum(ends[number] - begin for number, begin in begins.items())
    records = session.reader.read(topic, begins=begins, stops=ends)
    found: deque[PreparedRecord] = deque(maxlen=person.last)
    for record in with_progress(records, f"records of {topic} searched", total):
        if names_in(record, names, session.decoder):
            found.append(session.prepare(record))
    return sorted(found, key=lambda one: (one.record.timestamp_ms, one.record.offset))


def _read_user_ledger(
    session: OperatorSession, facts: TraceFacts, user: str
) -> tuple[UserEntry | None, list[OpenIntent]]:
    """Return the user entry and open requests; add receipts of the user's events to the facts."""
    wanted = {(EVENT + one.event_id).encode() for one in facts.events}
    key, open_intents = (USER + bounded(user)).encode(), OpenIntents()
    known: UserEntry | None = None
    for record in session.ledger():
        open_intents.take(record)
        entry = None if record.value is None else try_decode(record.value)
        if record.key == key:
            known = entry if isinstance(entry, UserEntry) else None
        elif record.key in wanted and isinstance(entry, EventEntry):
            name = record.key.decode().removeprefix(EVENT)
            facts.receipts[record.partition.number, name] = entry
    intents = open_intents.open()
    facts.take_intents(intents)
    return known, [one for one in intents if one.lane == bounded(user)]


def _entry(entry: UserEntry | None) -> dict[str, Any] | None:
    """Return the user entry with e-mail and phone masked, and no values of properties."""
    if entry is None:
        return None
    return {
        "wootric_id": entry.end_user.id,
        "email": mask(entry.end_user.email),
        "phone_number": mask(entry.end_user.phone_number),
        "external_id_known": entry.end_user.external_id is not None,
        "properties": sorted(entry.end_user.properties)
        if entry.end_user.properties is not None
        else None,
        "confirmed_at": format_time(entry.sent_at_ms),
        "newest_event_at": None
        if entry.newest_event_at_ms is None
        else format_time(entry.newest_event_at_ms),
    }
