"""dlq list, show, replay and dismiss: dead letters, their reasons and their resolution."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, assert_never

from stream.codec.event import SEGMENT_EVENT
from stream.codec.json_text import dump
from stream.engine.prepare import Invalid
from stream.errors import RecordError, StartupError
from stream.kafka.config import KafkaConfig
from stream.kafka.producer import BulkProducer
from stream.operations.analysis.dead_letters import (
    OPEN,
    LetterFilter,
    LetterStatus,
    ListedDeadLetter,
    RecordPosition,
    Resolution,
    counted,
    outcome,
    read_letter,
    read_note,
)
from stream.operations.analysis.time_text import format_time
from stream.operations.audit import personal_data_shown
from stream.operations.output import Table, letter_document, origin_text, print_message, show
from stream.operations.session import OperatorSession, now_ms, with_progress
from stream.state.ledger import EventEntry
from stream.transform import Deliver, Skip

# dlq show


def show_letter(
    session: OperatorSession, place: RecordPosition, *, raw: Path | None, as_json: bool
) -> None:
    """Print a dead letter: its headers, its event if decodable, the outcome of a replay.

    Raises:
        StartupError: there is no dead letter at the place, or the file cannot be written.
    """
    letter = _letter(session, place)
    selection = LetterFilter(places={place})
    listing = read_dead_letters(
        session, LetterStatus.DEAD, selection, partition=place.partition, named=True
    )
    state = listing.state(listing.letters[0], session.receipts(listing.letters[0].names))
    headers = {name: value.decode() for name, value in letter.letter.headers()}
    event = _event(session, letter)
    document = {
        **letter_document(letter, state),
        "headers": headers,
        "event": event,
        "replay_now": _replay_outcome(session, letter),
    }
    parts: list[Table | str] = [
        Table(f"dead letter {place}: {state}", ("", ""), list(headers.items())),
        Table(
            "event",
            ("", ""),
            [
                (name, value if isinstance(value, str) else dump(value))
                for name, value in (event or {}).items()
            ],
        ),
        *([] if event else ["its bytes cannot be decoded as an event"]),
        f"outcome of a replay now: {document['replay_now']}",
    ]
    personal_data_shown("dlq show", records=1)
    if raw is not None:
        _write(raw, letter.letter.value or b"")
        parts.append(f"wrote {letter.size or 0} bytes to {raw}")
    show(document, parts, as_json=as_json)


def _letter(session: OperatorSession, place: RecordPosition) -> ListedDeadLetter:
    topic = session.config.dead_letter_topic
    begins, ends = session.reader.begins(topic), session.reader.ends(topic)
    number, offset = place
    if number not in begins or not begins[number] <= offset < ends[number]:
        raise StartupError(f"{topic} has no record at {place}: see `dlq list`", exit_code=1)
    letter = next(iter(letters_at(session, LetterStatus.DEAD, {place})), None)
    if letter is None:
        raise StartupError(f"the record at {place} of {topic} is not a dead letter", exit_code=1)
    return letter


def _event(session: OperatorSession, letter: ListedDeadLetter) -> dict[str, Any] | None:
    """Return the event's fields that are not empty; None if the bytes cannot be decoded."""
    try:
        bridged = letter.letter.input_topic is not None
        value = letter.replay().value if bridged else letter.letter.value
        event = session.decoder.decode(value or b"")
    except RecordError:
        return None
    return {
        name: dict(value) if name == "extra" else value
        for name in event.__struct_fields__
        if (value := getattr(event, name)) or value == 0
    }


def _replay_outcome(session: OperatorSession, letter: ListedDeadLetter) -> str:
    if letter.letter.value is None:
        return "impossible: its bytes were not kept"
    if letter.obstacle:
        return f"impossible: {letter.obstacle}"
    result = session.prepare(letter.replay()).result
    match result:
        case Deliver(operation=operation):
            return f"sent to Wootric: {operation.type}"
        case Skip(reason):
            return f"skipped: {reason}"
        case Invalid(reason, detail):
            return f"rejected again: {reason}, {detail}"
        case _:
            assert_never(result)


def _write(file: Path, value: bytes) -> None:
    try:
        file.write_bytes(value)
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}", exit_code=66) from error


# Reading and replaying dead letters and parked records, shared by several commands.
#
# Values are read again when they are replayed instead of held in memory: there may be many.


ALL = LetterFilter()
NOTED_RECORDS_MAX = 100
"""Records sent before their notes are written: the most that a kill leaves without a note."""


@dataclass(slots=True)
class DeadLetterListing:
    """The selected dead letters or parked records of one topic, and all notes of that topic.

    ``foreign`` counts records that another program wrote or that belong to another input.
    """

    letters: list[ListedDeadLetter] = field(default_factory=list)
    notes: dict[RecordPosition, set[Resolution]] = field(default_factory=dict)
    foreign: int = 0

    def open(self) -> list[ListedDeadLetter]:
        """Return the selected letters that have no note."""
        return [one for one in self.letters if one.place not in self.notes]

    def state(
        self, letter: ListedDeadLetter, receipts: Mapping[str, EventEntry] | None = None
    ) -> str:
        """Return how a letter was resolved; with ``receipts``, also how its replay ended."""
        done = self.notes.get(letter.place)
        known = receipts or {}
        ended = outcome(known[name] for name in letter.names if name in known)
        state = ", ".join(sorted(done)) if done else "replayed" if ended else OPEN
        return f"{state}: {ended}" if ended else state


def topic_of(config: KafkaConfig, kind: LetterStatus) -> str:
    """Return the topic of a kind of letters."""
    return config.dead_letter_topic if kind is LetterStatus.DEAD else config.parked_topic


def read_dead_letters(
    session: OperatorSession,
    kind: LetterStatus,
    selection: LetterFilter = ALL,
    *,
    partition: int | None = None,
    named: bool = False,
) -> DeadLetterListing:
    """Return the letters that match the selection, in one partition of their topic or in all.

    ``named`` fills in ``names``, the event ids of their replays in the ledger.

    Raises:
        StartupError: the topic has no such partition.
    """
    topic = topic_of(session.config, kind)
    begins = session.reader.begins(topic)
    if partition is not None and partition not in begins:
        raise StartupError(f"{topic} has no partition {partition}", exit_code=1)
    if partition is not None:
        begins = {partition: begins[partition]}
    listing = DeadLetterListing()
    for record in with_progress(
        session.reader.read(topic, begins=begins), f"records of {topic} read"
    ):
        note = read_note(record)
        letter = None if note else read_letter(record, kind)
        if note is not None:
            listing.notes.setdefault(note.place, set()).add(note.done)
        elif letter is None or letter.letter.destination != session.config.topic:
            listing.foreign += 1
        elif selection.takes(letter):
            listing.letters.append(letter.bare(names(session, letter) if named else ()))
    return listing


def letters_at(
    session: OperatorSession, kind: LetterStatus, places: Collection[RecordPosition]
) -> Iterator[ListedDeadLetter]:
    """Yield the letters at these places with their values, in the order of their topic."""
    begins: dict[int, int] = {}
    stops: dict[int, int] = {}
    for number, offset in places:
        begins[number] = min(offset, begins.get(number, offset))
        stops[number] = max(offset + 1, stops.get(number, 0))
    if not places:
        return
    for record in session.reader.read(topic_of(session.config, kind), begins=begins, stops=stops):
        letter = read_letter(record, kind)
        if letter is not None and letter.place in places:
            yield letter


def replay_letters(
    session: OperatorSession,
    kind: LetterStatus,
    places: Collection[RecordPosition],
    *,
    rate: float | None = None,
    force: bool = False,
) -> int:
    """Send letters back to the input, and write a note for each; return the number sent.

    If the command is killed, at most ``NOTED_RECORDS_MAX`` are sent without a note. The ledger
    recognises them as duplicates when they are sent again.

    Raises:
        StartupError: Kafka did not accept all of them.
    """
    config, done = session.config, Resolution.FORCED if force else Resolution.REPLAYED
    sender = BulkProducer(config, rate=rate, on_progress=print_message)
    letters = letters_at(session, kind, places)
    framing: bytes | None = None
    while chunk := list(islice(letters, NOTED_RECORDS_MAX)):
        if framing is None and any(one.letter.input_topic is not None for one in chunk):
            framing = session.framing()
        header = framing or SEGMENT_EVENT.header
        sender.send(config.topic, (one.replay(force=force, header=header) for one in chunk))
        note(session, kind, chunk, done)
    return sender.acknowledged


def note(
    session: OperatorSession,
    kind: LetterStatus,
    letters: Collection[ListedDeadLetter],
    done: Resolution,
    text: str = "",
) -> int:
    """Write a note for each letter; return the number of notes.

    Raises:
        StartupError: Kafka did not accept all of them.
    """
    at_ms = now_ms()
    notes = (one.note(done, at_ms=at_ms, text=text) for one in letters)
    sender = BulkProducer(session.config)
    sender.send(topic_of(session.config, kind), notes)
    return sender.acknowledged


def names(session: OperatorSession, letter: ListedDeadLetter) -> tuple[str, ...]:
    """Return the event ids of a letter's replays, without and with force."""
    if letter.size is None or letter.obstacle:
        return ()
    plain, forced = (
        session.prepare(letter.replay(force=force)).event_id for force in (False, True)
    )
    return (plain,) if plain == forced else (plain, forced)


STALE = "skipped: stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQuery:
    """Selects dead letters, in one partition of the dead-letter topic or in all."""

    selection: LetterFilter
    partition: int | None = None


def list_letters(
    session: OperatorSession, query: DeadLetterQuery, *, limit: int, outcomes: bool, as_json: bool
) -> None:
    """Print the number of dead letters by reason, and the newest of them."""
    listing = _read(session, query, named=outcomes)
    receipts = session.receipts(n for one in listing.letters for n in one.names) if outcomes else {}
    newest = sorted(listing.letters, key=lambda one: -one.letter.failed_at_ms)[:limit]
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(listing.letters).items()},
        "open": len(listing.open()),
        "total": len(listing.letters),
        "letters": [letter_document(one, listing.state(one, receipts)) for one in newest],
        "foreign": listing.foreign,
    }
    columns = ("place", "failed at", "reason", "message", "input", "state", "detail")
    rows = [
        (
            one.place,
            format_time(one.letter.failed_at_ms),
            one.letter.reason,
            one.letter.message_id or "",
            origin_text(one),
            listing.state(one, receipts),
            one.letter.detail,
        )
        for one in newest
    ]
    parts: list[Table | str] = [
        _by_reason(listing.letters, f"dead letters: {len(listing.letters)}"),
        Table(f"newest {len(newest)}", columns, rows),
        f"{document['open']} are open; `dlq show PLACE` shows the details of one"
        if listing.letters
        else "no dead letters",
        *_foreign(listing),
    ]
    show(document, parts, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Replay at most ``limit`` letters, ``rate`` per second; None: no limit."""

    limit: int | None = None
    rate: float | None = None
    force: bool = False


def replay(
    session: OperatorSession,
    query: DeadLetterQuery,
    options: ReplayOptions,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Send dead letters back to the input; without ``yes``, show which."""
    listing = _read(session, query, named=options.force)
    selected = _stale(session, listing) if options.force else listing.open()
    lost = [one for one in selected if one.size is None]
    unfit = [one for one in selected if one.obstacle]
    selected = [one for one in selected if one.size is not None and not one.obstacle]
    done_before = len(listing.letters) - len(selected) - len(lost) - len(unfit)
    selected = selected[: options.limit]
    places = {one.place for one in selected}
    sent = (
        replay_letters(session, LetterStatus.DEAD, places, rate=options.rate, force=options.force)
        if yes
        else 0
    )
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(selected).items()},
        "meant": len(selected),
        "sent": sent,
        "done_before": done_before,
        "without_bytes": len(lost),
        "no_event": len(unfit),
        "force": options.force,
    }
    parts: list[Table | str] = [_by_reason(selected, f"to replay: {len(selected)}")]
    if done_before:
        parts.append(f"{done_before} more are replayed or dismissed already, and are left alone")
    if lost:
        parts.append(f"{len(lost)} more have no bytes: publish their events again")
    if unfit:
        parts.append(
            f"{len(unfit)} more of the bridge are no events ({unfit[0].obstacle}): correct them "
            "where they come from, and dismiss them"
        )
    parts += _foreign(listing)
    parts.append(f"sent: {sent}" if yes else "nothing was sent; repeat with --yes to send")
    show(document, parts, as_json=as_json)


def dismiss(
    session: OperatorSession, query: DeadLetterQuery, *, text: str, yes: bool, as_json: bool
) -> None:
    """Note that dead letters need no replay; without ``yes``, show which."""
    listing = _read(session, query)
    selected = listing.open()
    count = note(session, LetterStatus.DEAD, selected, Resolution.DISMISSED, text) if yes else 0
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(selected).items()},
        "meant": len(selected),
        "dismissed": count,
    }
    parts: list[Table | str] = [
        _by_reason(selected, f"to dismiss: {len(selected)}"),
        f"dismissed: {count}" if yes else "nothing was dismissed; repeat with --yes to dismiss",
    ]
    show(document, parts, as_json=as_json)


def _read(
    session: OperatorSession, query: DeadLetterQuery, *, named: bool = False
) -> DeadLetterListing:
    return read_dead_letters(
        session, LetterStatus.DEAD, query.selection, partition=query.partition, named=named
    )


def _stale(session: OperatorSession, listing: DeadLetterListing) -> list[ListedDeadLetter]:
    """Return the letters to replay with force: not replayed yet, or stale when they were.

    A forced replay has another event id, so the ledger does not recognise one that was delivered.
    """
    receipts = session.receipts(name for one in listing.letters for name in one.names)

    def selected(one: ListedDeadLetter) -> bool:
        done = listing.notes.get(one.place, set())
        ended = outcome(receipts[name] for name in one.names if name in receipts)
        return ended == STALE and Resolution.FORCED not in done if ended else not done

    return [one for one in listing.letters if selected(one)]


def _by_reason(letters: Collection[ListedDeadLetter], title: str) -> Table:
    rows = [
        (count, reason, format_time(oldest), format_time(newest))
        for reason, (count, oldest, newest) in counted(letters).items()
    ]
    return Table(title, ("letters", "reason", "oldest", "newest"), rows)


def _foreign(listing: DeadLetterListing) -> Sequence[str]:
    text = "records are of another program or belong to another input, and are left alone"
    return [f"{listing.foreign} {text}"] if listing.foreign else []
