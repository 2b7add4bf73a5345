"""in-doubt: requests that may or may not have been executed, and decisions about parked events.

Workers resolve open requests. Events whose outcome they could not determine are in the parked
topic until an operator decides. A decision is a record in the input or in the parked topic, never
in the ledger: only the owner of a partition writes its ledger.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from stream.errors import StartupError
from stream.operations import dlq
from stream.operations.analysis.dead_letters import (
    LetterFilter,
    LetterStatus,
    ListedDeadLetter,
    RecordPosition,
    Resolution,
)
from stream.operations.analysis.open_intents import OpenIntent, hashed, next_action, open_intents
from stream.operations.analysis.time_text import format_age, format_time
from stream.operations.audit import personal_data_shown
from stream.operations.dlq import read_dead_letters
from stream.operations.output import Table, letter_document, show
from stream.operations.session import OperatorSession, now_ms


class Decision(StrEnum):
    """What to do about a parked event."""

    RESEND = "resend"
    DISMISS = "dismiss"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveRequest:
    """A decision about the parked events at these places, or about all open ones."""

    decision: Decision
    selection: LetterFilter
    places: Collection[RecordPosition]
    text: str = ""
    rate: float | None = None


def list_open(session: OperatorSession, *, show_personal: bool, as_json: bool) -> None:
    """Print the open requests, the oldest first."""
    found = open_intents(session.ledger())
    documents = [_document(one, now_ms(), show_personal=show_personal) for one in found]
    rows = [
        (
            one["partition"],
            one["lane"],
            one["class"],
            one["operation"],
            one["request_id"],
            len(one["members"]),
            format_age(one["age_s"] * 1000),
            one["instance"],
        )
        for one in documents
    ]
    columns = ("partition", "lane", "class", "operation", "request", "events", "age", "worker")
    classes = {one.entry.effect for one in found if one.entry is not None}
    parts: list[Table | str] = [
        Table(f"requests in flight or in doubt: {len(found)}", columns, rows),
        *(f"class {effect}: {next_action(effect)}" for effect in sorted(classes)),
        "a running worker resolves these; no action is needed"
        if found
        else "no request is in flight or in doubt",
        "`in-doubt list --parked` lists the events that wait for a decision",
    ]
    if show_personal:
        personal_data_shown("in-doubt list --show-personal", records=len(found))
    show({"open": documents}, parts, as_json=as_json)


def _document(one: OpenIntent, now: int, *, show_personal: bool) -> dict[str, Any]:
    entry = one.entry
    members = () if entry is None else entry.members
    return {
        "partition": one.partition,
        "lane": one.lane if show_personal else hashed(one.lane),
        "class": "unreadable: of a newer version" if entry is None else entry.effect,
        "operation": one.operation,
        "request_id": None if entry is None else entry.request_id,
        "members": [{"event_id": name, "offset": offset} for name, offset in members],
        "first_attempt_at": None if entry is None else format_time(entry.first_attempt_at_ms),
        "age_s": 0.0 if entry is None else (now - entry.first_attempt_at_ms) / 1000,
        "instance": None if entry is None else entry.instance,
    }


def list_parked(session: OperatorSession, *, everything: bool, as_json: bool) -> None:
    """Print the parked events that wait for a decision, or all of them."""
    listing = read_dead_letters(session, LetterStatus.PARKED, named=everything)
    receipts = (
        session.receipts(n for one in listing.letters for n in one.names) if everything else {}
    )
    waiting = listing.open()
    shown = listing.letters if everything else waiting
    document = {
        "parked": [letter_document(one, listing.state(one, receipts)) for one in shown],
        "open": len(waiting),
        "decided": len(listing.letters) - len(waiting),
    }
    rows = [
        (
            one.place,
            format_time(one.letter.failed_at_ms),
            one.letter.reason,
            one.letter.message_id or "",
            f"{one.letter.origin.number}-{one.letter.offset}",
            listing.state(one, receipts),
            one.letter.detail,
        )
        for one in shown
    ]
    columns = ("place", "parked at", "reason", "message", "input", "state", "detail")
    parts: list[Table | str] = [
        Table(f"parked events: {len(shown)}", columns, rows),
        f"{len(waiting)} wait for a decision, {document['decided']} are decided",
    ]
    if waiting:
        parts.append(
            "decide with `in-doubt resolve PLACE --as resend` (the effect may then exist twice) "
            "or `--as dismiss`"
        )
    show(document, parts, as_json=as_json)


def resolve(session: OperatorSession, request: ResolveRequest, *, yes: bool, as_json: bool) -> None:
    """Resend or dismiss parked events; without ``yes``, show what would be done.

    Raises:
        StartupError: a place holds no parked event, or one to resend has no bytes.
    """
    listing = read_dead_letters(session, LetterStatus.PARKED, request.selection)
    found = {one.place for one in listing.letters}
    missing = [str(place) for place in request.places if place not in found]
    if missing:
        raise StartupError(
            f"{session.config.parked_topic} holds no parked event at {', '.join(missing)}: see "
            "`in-doubt list --parked`; workers resolve open requests",
            exit_code=1,
        )
    selected = listing.letters if request.places else listing.open()
    lost = [str(one.place) for one in selected if one.size is None]
    if request.decision is Decision.RESEND and lost:
        raise StartupError(
            f"the bytes of {', '.join(lost[:5])} were removed from the input before they could be "
            "kept: dismiss them, or publish their events again",
            exit_code=1,
        )
    count = _act(session, request, selected) if yes else 0
    document = {
        "decision": request.decision,
        "events": [letter_document(one, listing.state(one)) for one in selected],
        "done": count,
    }
    rows = [
        (one.place, one.letter.reason, one.letter.message_id or "", listing.state(one))
        for one in selected
    ]
    parts: list[Table | str] = [
        Table(
            f"to {request.decision}: {len(selected)}", ("place", "reason", "message", "state"), rows
        ),
        f"done: {count}" if yes else "nothing was done; repeat with --yes to execute",
    ]
    show(document, parts, as_json=as_json)


def _act(
    session: OperatorSession, request: ResolveRequest, letters: Collection[ListedDeadLetter]
) -> int:
    match request.decision:
        case Decision.RESEND:
            places = {one.place for one in letters}
            return dlq.replay_letters(session, LetterStatus.PARKED, places, rate=request.rate)
        case Decision.DISMISS:
            return dlq.note(
                session, LetterStatus.PARKED, letters, Resolution.DISMISSED, request.text
            )
        case _:
            assert_never(request.decision)
